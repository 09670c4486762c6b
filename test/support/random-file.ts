/** Content for guest RAM: random from a seed, with a zero page here and there so that both kinds of page travel. */

import { createCipheriv, createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { PAGE_SIZE } from '../../src/wire/ram.ts';

const CHUNK_BYTES = 1024 * 1024;
const MIB = 1024 * 1024;
/** Every so many pages one is left zero, unless told otherwise; a prime, so that the zero pages fall everywhere in a chunk. */
const ZERO_PAGE_EVERY = 13;

/** What was written: where, how much, and the SHA-256 of it in hex. */
export interface RandomFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** Writes `mib` MiB of seeded content to `path`; the same seed gives the same bytes. About 1 GB/s. */
export async function writeRandomFile(options: {
  path: string;
  mib: number;
  seed?: number;
  zeroPageEvery?: number;
}): Promise<RandomFile> {
  const { path, mib, seed = 1, zeroPageEvery = ZERO_PAGE_EVERY } = options;
  const key = createHash('sha256').update(`switchover ${seed}`).digest();
  // AES in counter mode over zeros is the fastest seeded generator at hand.
  const generator = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  const zeros = Buffer.alloc(CHUNK_BYTES);
  const hash = createHash('sha256');
  await using file = await open(path, 'w');
  const bytes = mib * MIB;
  for (let offset = 0; offset < bytes; offset += CHUNK_BYTES) {
    const chunk = generator.update(zeros);
    blankPages(chunk, offset / PAGE_SIZE, zeroPageEvery);
    hash.update(chunk);
    await file.write(chunk);
  }
  return { path, bytes, sha256: hash.digest('hex') };
}

function blankPages(chunk: Buffer, firstPage: number, every: number): void {
  for (let page = 0; page < chunk.length / PAGE_SIZE; page += 1) {
    if ((firstPage + page) % every === 0) chunk.fill(0, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }
}
