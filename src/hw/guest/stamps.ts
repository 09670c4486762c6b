/**
 * The common part of guests that stamp pages: write n fills the start of one page with the pair (n, ~n), and which page
 * follows from n alone. Only the number of writes is state; it is in the header page, which carries no stamps.
 * The check replays the latest writes backwards: each page must hold exactly the last stamp it was given.
 */

import { PAGE_SIZE } from '../../wire/ram.ts';
import { GuestHeader, type GuestIdentity, hashSettings } from './guest-header.ts';
import type {
  GuestCheck,
  GuestContext,
  GuestEvidence,
  GuestProgram,
  GuestSetting,
  GuestSettings,
} from './guest-program.ts';

/** Writes the check replays at most; pages whose last write is older stay unchecked. */
const MAX_REPLAY = 1 << 24;

/** The setting every stamping guest has. */
export const STAMP_BYTES: GuestSetting = {
  kind: 'size',
  preset: PAGE_SIZE,
  minimum: 16,
  maximum: PAGE_SIZE,
  multiple: 16,
  help: 'how much of a page one write fills',
};

/** What tells stamping guests apart. */
export interface StampPattern {
  readonly programId: number;
  /** The data page (0 … dataPages − 1) that write `n` goes to. */
  pageOf(n: number, dataPages: number, guest: { readonly seed: number; readonly settings: GuestSettings }): number;
  /** Writes from write `n` on before the guest rests, and for how long then; never when absent. */
  rest?(settings: GuestSettings, n: number): { readonly writesLeft: number; readonly restMs: number };
}

/** The program that follows `pattern`. */
export function stampProgram(pattern: StampPattern, context: GuestContext): GuestProgram {
  return new StampProgram(pattern, context);
}

class StampProgram implements GuestProgram {
  restMs = 0;
  readonly #pattern: StampPattern;
  readonly #context: GuestContext;
  readonly #identity: GuestIdentity;
  readonly #stampBytes: number;
  #count = 0;

  constructor(pattern: StampPattern, context: GuestContext) {
    this.#pattern = pattern;
    this.#context = context;
    this.#identity = identityOf(pattern, context, context.memory.pageCount);
    this.#stampBytes = stampBytesOf(context.settings);
  }

  resume(): void {
    const { memory } = this.#context;
    if (!memory.isReady(this.#identity)) memory.setReady(this.#identity);
    this.#count = memory.readCount();
    this.restMs = 0;
  }

  run(maxPages: number): number {
    const { memory, settings } = this.#context;
    const pause = this.#pattern.rest?.(settings, this.#count);
    const writes = Math.min(maxPages, pause?.writesLeft ?? maxPages);
    const dataPages = memory.pageCount - 1;
    for (let n = this.#count; n < this.#count + writes; n += 1) {
      memory.stamp(1 + this.#pattern.pageOf(n, dataPages, this.#context), n, this.#stampBytes);
    }
    this.#count += writes;
    memory.writeCount(this.#count);
    this.restMs = pause !== undefined && pause.writesLeft === writes ? pause.restMs : 0;
    return writes;
  }
}

/** Verifies a stamping guest's RAM. */
export function checkStamps(pattern: StampPattern, evidence: GuestEvidence): GuestCheck {
  const pageCount = evidence.bytes.length / PAGE_SIZE;
  const header = new GuestHeader(evidence.bytes);
  const mismatch = header.mismatch(identityOf(pattern, evidence, pageCount));
  if (mismatch !== undefined) return { ok: false, detail: mismatch };
  const { count } = header;
  if (count === undefined) return { ok: false, detail: 'the count of writes in the header is torn' };

  const dataPages = pageCount - 1;
  const seen = new Uint8Array(dataPages);
  const words = wordsOf(evidence.bytes);
  const stampBytes = stampBytesOf(evidence.settings);
  let pagesSeen = 0;
  for (let n = count - 1; n >= Math.max(0, count - MAX_REPLAY) && pagesSeen < dataPages; n -= 1) {
    const dataPage = pattern.pageOf(n, dataPages, evidence);
    if (seen[dataPage] === 1) continue;
    seen[dataPage] = 1;
    pagesSeen += 1;
    const wrong = wrongStamp(words, { page: dataPage + 1, n, stampBytes });
    if (wrong !== undefined) return { ok: false, detail: wrong };
  }
  return { ok: true, detail: `${pagesSeen} pages hold exactly the last of ${count} writes` };
}

function wrongStamp(words: Uint32Array, write: { page: number; n: number; stampBytes: number }): string | undefined {
  const low = write.n >>> 0;
  const high = Math.floor(write.n / 4_294_967_296);
  const start = (write.page * PAGE_SIZE) / 4;
  for (let at = start; at < start + write.stampBytes / 4; at += 4) {
    const foundLow = words[at]!;
    const foundHigh = words[at + 1]!;
    if (foundLow === low && foundHigh === high && words[at + 2] === ~low >>> 0 && words[at + 3] === ~high >>> 0)
      continue;
    const isPair = words[at + 2] === ~foundLow >>> 0 && words[at + 3] === ~foundHigh >>> 0;
    const found = isPair ? `write ${foundHigh * 4_294_967_296 + foundLow}` : 'no stamp';
    return `page ${write.page}, byte ${at * 4 - start * 4}: expected write ${write.n}, found ${found}`;
  }
  return undefined;
}

/** Guests store little-endian, as every machine this runs on; a view that is not aligned is copied. */
function wordsOf(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
}

function identityOf(
  pattern: StampPattern,
  guest: { readonly seed: number; readonly settings: GuestSettings },
  pageCount: number,
): GuestIdentity {
  return { programId: pattern.programId, seed: guest.seed, pageCount, settingsHash: hashSettings(guest.settings) };
}

function stampBytesOf(settings: GuestSettings): number {
  return settings['bytes'] ?? PAGE_SIZE;
}
