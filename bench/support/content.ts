/**
 * Content for guest RAM from a seed, as files that QEMU and `switchover vm` load the same way. One file is at most 1 GiB,
 * because QEMU reads a file with one read(2), which ends at 2 GiB.
 */

import { type Cipheriv, createCipheriv, createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { pick } from '../../src/hw/guest/prng.ts';
import { PAGE_SIZE } from '../../src/wire/ram.ts';

const GIB = 1024 ** 3;
const CHUNK_BYTES = 4 * 1024 ** 2;
const PAGES_PER_CHUNK = CHUNK_BYTES / PAGE_SIZE;
/** Length of a run of pages of one kind is 2 to the power of 0 … this. */
const LONGEST_RUN_LOG2 = 9;
const POOL_BYTES = 1024 ** 2;
const WORD_BYTES = 8;
const SAMPLE_CHUNKS = 8;
const PAGE_KINDS = ['zero', 'random', 'text', 'heap'] as const satisfies readonly PageKind[];
const VOCABULARY_WORDS = 2048;
const LETTERS = 'etaoinshrdlucmfwypvbgkjqxz';

/** What a page holds. `text` packs like files (zlib 1: to 40 %), `heap` like programs' data (to 25 %). */
type PageKind = 'zero' | 'random' | 'text' | 'heap';
/** Shares of the kinds, which add up to 1. */
type Mix = Readonly<Record<PageKind, number>>;

/** RAM contents by name. What `guest` is made of, and why: README.md. */
export const CONTENTS = {
  random: { zero: 0, random: 1, text: 0, heap: 0 },
  zero: { zero: 1, random: 0, text: 0, heap: 0 },
  text: { zero: 0, random: 0, text: 1, heap: 0 },
  mixed: { zero: 0.45, random: 0.35, text: 0.2, heap: 0 },
  guest: { zero: 0.45, random: 0.05, text: 0.3, heap: 0.2 },
} as const satisfies Record<string, Mix>;
/** Name of a content. */
export type ContentName = keyof typeof CONTENTS;

/** RAM content: `-device loader` arguments that fill it, and how many of its bytes are not in zero pages. */
export interface Content {
  readonly memoryBytes: number;
  readonly loaderArgs: readonly string[];
  readonly dataBytes: number;
  readonly files: readonly string[];
}

/** Writes `memoryBytes` of content in pages of the given kinds to files in `directory`; the same seed, the same bytes. */
export async function writeContent(options: {
  directory: string;
  name: string;
  memoryBytes: number;
  mix: Mix;
  seed: number;
}): Promise<Content> {
  const { directory, name, memoryBytes, mix, seed } = options;
  const pages = new PageSource(mix, seed);
  const files: string[] = [];
  const loaderArgs: string[] = [];
  for (let start = 0; start < memoryBytes; start += GIB) {
    const path = `${directory}/${name}-${files.length}`;
    await using file = await open(path, 'w');
    const length = Math.min(GIB, memoryBytes - start);
    for (let offset = 0; offset < length; offset += CHUNK_BYTES) await file.write(pages.nextChunk());
    files.push(path);
    loaderArgs.push('-device', `loader,file=${path},addr=${start},force-raw=on`);
  }
  return { memoryBytes, loaderArgs, dataBytes: pages.dataPages * PAGE_SIZE, files };
}

/** The beginning of a content, long enough to have every kind of page. */
export function sampleOf(name: ContentName, seed: number): Buffer {
  const pages = new PageSource(CONTENTS[name], seed);
  return Buffer.concat(Array.from({ length: SAMPLE_CHUNKS }, () => Buffer.from(pages.nextChunk())));
}

/** An endless sequence of pages in runs of one kind. */
class PageSource {
  /** Pages made so far that are not zero. */
  dataPages = 0;
  readonly #mix: Mix;
  readonly #seed: number;
  readonly #random: Cipheriv;
  readonly #pools: Readonly<Record<'text' | 'heap', Buffer>>;
  readonly #zeros = Buffer.alloc(CHUNK_BYTES);
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);
  #draws = 0;
  #kind: PageKind = 'zero';
  #left = 0;

  constructor(mix: Mix, seed: number) {
    this.#mix = mix;
    this.#seed = seed;
    const key = createHash('sha256').update(`bench ${seed}`).digest();
    // AES in counter mode over zeros is the fastest seeded generator at hand.
    this.#random = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
    this.#pools = { text: textPool(seed), heap: heapPool(seed) };
  }

  /** The next 4 MiB; valid until the next call. */
  nextChunk(): Buffer {
    for (let page = 0; page < PAGES_PER_CHUNK; ) {
      if (this.#left === 0) this.#startRun();
      const count = Math.min(this.#left, PAGES_PER_CHUNK - page);
      this.#fill(this.#chunk.subarray(page * PAGE_SIZE, (page + count) * PAGE_SIZE));
      this.#left -= count;
      page += count;
    }
    return this.#chunk;
  }

  #startRun(): void {
    let share = this.#draw(1_000_000) / 1_000_000;
    for (const kind of PAGE_KINDS) {
      this.#kind = kind;
      share -= this.#mix[kind];
      if (share < 0) break;
    }
    const longest = 2 ** this.#draw(LONGEST_RUN_LOG2 + 1);
    this.#left = 1 + this.#draw(longest);
  }

  #fill(target: Buffer): void {
    if (this.#kind === 'zero') {
      target.fill(0);
      return;
    }
    this.dataPages += target.length / PAGE_SIZE;
    if (this.#kind === 'random') {
      this.#random.update(this.#zeros.subarray(0, target.length)).copy(target);
      return;
    }
    const pool = this.#pools[this.#kind];
    for (let offset = 0; offset < target.length; offset += PAGE_SIZE) {
      const from = this.#draw((POOL_BYTES - PAGE_SIZE) / WORD_BYTES) * WORD_BYTES;
      pool.copy(target, offset, from, from + PAGE_SIZE);
    }
  }

  #draw(limit: number): number {
    this.#draws += 1;
    return pick(this.#seed, this.#draws, limit);
  }
}

/** Words of an invented language, common letters and common words more often: compresses about as prose does. */
function textPool(seed: number): Buffer {
  let draws = 0;
  const skewed = (limit: number) => {
    draws += 2;
    return Math.floor((pick(seed ^ 1, draws, limit) * pick(seed ^ 1, draws + 1, limit)) / limit);
  };
  const word = () => Array.from({ length: 2 + skewed(12) }, () => LETTERS[skewed(LETTERS.length)]).join('');
  const vocabulary = Array.from({ length: VOCABULARY_WORDS }, word);
  const pool = Buffer.alloc(POOL_BYTES);
  for (let offset = 0; offset < pool.length; ) offset += pool.write(`${vocabulary[skewed(VOCABULARY_WORDS)]} `, offset);
  return pool;
}

/** Words as on a heap: empty ones, pointers into a few regions, small numbers, now and then something else. */
function heapPool(seed: number): Buffer {
  let draws = 0;
  const draw = (limit: number) => {
    draws += 1;
    return pick(seed ^ 2, draws, limit);
  };
  const bases = Array.from({ length: 16 }, () => 0x7f0000000000n + BigInt(draw(2 ** 16)) * 0x1000000n);
  const pool = Buffer.alloc(POOL_BYTES);
  for (let offset = 0; offset < POOL_BYTES; offset += WORD_BYTES) {
    const kind = draw(100);
    if (kind < 55) continue;
    if (kind < 60)
      pool.writeBigUInt64LE((bases[draw(bases.length)] ?? 0n) + BigInt(draw(2 ** 16) * WORD_BYTES), offset);
    else if (kind < 95) pool.writeUInt8(draw(256), offset);
    else pool.writeUInt32LE(draw(2 ** 31), offset);
  }
  return pool;
}
