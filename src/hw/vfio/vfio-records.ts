/**
 * The data stream of the emulated VFIO devices: records as mlx5 has them, `{size le64, flags le32, tag le32}` and `size` bytes
 * (spec/vfio.md §6). The flags number the records of a session, and contents follow from a seed, the record and an offset, so
 * that a destination can tell whether what arrived is what was sent.
 */

import { HarnessError } from '../../base/errors.ts';

/** What a record carries. */
const TAG = { MATCH: 1, SETUP: 2, STOP_COPY_SIZE: 3, IMAGE: 4, INCREMENT: 5, FINAL: 6 } as const;
/** Name of a record's kind. */
export type TagName = keyof typeof TAG;

/** Bytes before a record's payload. */
export const RECORD_HEADER_BYTES = 16;

const NAMES = new Map<number, TagName>(Object.entries(TAG).map(([name, tag]) => [tag, name as TagName]));

/** A record to be sent: `generation` chooses its contents. */
export interface RecordPlan {
  readonly tag: TagName;
  readonly generation: number;
  /** Payload bytes. */
  readonly size: number;
}

/** A record's header as it arrived. */
export interface RecordHeader extends RecordPlan {}

/** Writes a record's header at the start of `bytes`. The flags carry the generation. */
export function writeHeader(bytes: Uint8Array, { tag, generation, size }: RecordPlan): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setBigUint64(0, BigInt(size), true);
  view.setUint32(8, generation, true);
  view.setUint32(12, TAG[tag], true);
}

/** Reads a record's header. Throws `vfio/data` for a kind that there is not or a size over `maximumBytes`. */
export function readHeader(
  bytes: Uint8Array,
  rules: { device: string; at: number; maximumBytes: number },
): RecordHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const { device, at, maximumBytes } = rules;
  const tag = NAMES.get(view.getUint32(12, true));
  if (tag === undefined) {
    const actual = `${view.getUint32(12, true)}`;
    throw new HarnessError('vfio/data', {
      device,
      at: at + 12,
      field: 'tag',
      expected: [...NAMES.keys()].join(', '),
      actual,
    });
  }
  const size = view.getBigUint64(0, true);
  if (size > BigInt(maximumBytes)) {
    const expected = `at most ${maximumBytes}`;
    throw new HarnessError('vfio/data', { device, at, field: `size of ${tag}`, expected, actual: `${size}` });
  }
  return { tag, generation: view.getUint32(8, true), size: Number(size) };
}

/** The longest view of the contents that there always is (bytes). */
const VIEW_BYTES = 4 << 20;
/**
 * Contents repeat after so many bytes (64 times a prime): pieces of a round size that change places do not look alike, whole
 * cache lines are copied, and what is compared stays in the processor's cache.
 */
const PERIOD_BYTES = 64 * 2039;
/** 64 times primes, so that no two records of a session begin alike for a long time. */
const GENERATION_STRIDE = 64 * 67;
const TAG_STRIDE = 64 * 1637;

/** Where in a session's contents: the record, and bytes from its payload's start. */
interface ContentPlace {
  readonly record: Pick<RecordPlan, 'tag' | 'generation'>;
  readonly offset: number;
}

/** Bulk contents of one device, in shared memory, so that other threads can read them where they are. */
export class BulkPattern {
  /** The period again and again: every place in it is followed by VIEW_BYTES. */
  readonly #repeated: Uint8Array<SharedArrayBuffer>;

  constructor(seed: number) {
    const words = new Uint32Array(PERIOD_BYTES / 4);
    let state = (seed ^ 0x9e37_79b9) >>> 0 || 1;
    for (let n = 0; n < words.length; n++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[n] = state >>> 0;
    }
    const period = new Uint8Array(words.buffer);
    this.#repeated = new Uint8Array(new SharedArrayBuffer(PERIOD_BYTES + VIEW_BYTES));
    for (let at = 0; at < this.#repeated.length; at += PERIOD_BYTES) {
      this.#repeated.set(period.subarray(0, this.#repeated.length - at), at);
    }
  }

  /** The contents of a record's payload from a place on: `length` bytes, or as many as there are in a piece. */
  view(place: ContentPlace, length: number): Uint8Array<SharedArrayBuffer> {
    const start = startOf(place, 0);
    return this.#repeated.subarray(start, start + Math.min(length, VIEW_BYTES));
  }

  /** Puts the contents of a record's payload from `offset` on into `target`. */
  fill(target: Uint8Array, place: ContentPlace): void {
    for (let done = 0; done < target.length; ) {
      const piece = this.#piece(place, done, target.length - done);
      target.set(piece, done);
      done += piece.length;
    }
  }

  /** The offset in `bytes` of the first byte that is not what `fill` puts there; -1 when all are. */
  mismatch(bytes: Uint8Array, place: ContentPlace): number {
    for (let done = 0; done < bytes.length; ) {
      const piece = this.#piece(place, done, bytes.length - done);
      const arrived = bytes.subarray(done, done + piece.length);
      if (Buffer.compare(piece, arrived) !== 0) return done + piece.findIndex((byte, n) => byte !== arrived[n]);
      done += piece.length;
    }
    return -1;
  }

  #piece(place: ContentPlace, done: number, left: number): Uint8Array {
    const start = startOf(place, done);
    return this.#repeated.subarray(start, start + Math.min(PERIOD_BYTES, left));
  }
}

function startOf({ record, offset }: ContentPlace, done: number): number {
  const shift = record.generation * GENERATION_STRIDE + TAG[record.tag] * TAG_STRIDE;
  return (shift + offset + done) % PERIOD_BYTES;
}
