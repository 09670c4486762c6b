/**
 * What guest RAM holds before the guest starts, as a file for `-device loader`. The bytes follow from the seed
 * (AES-128 in counter mode, several GB/s), so a run can be repeated.
 */

import { createCipheriv, createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

/** Fills: `none` leaves RAM untouched; `zero` touches every page with zeros. */
export const FILLS = ['random', 'zero', 'mixed', 'none'] as const;
/** One of `FILLS`. */
export type Fill = (typeof FILLS)[number];

const CHUNK_BYTES = 1024 * 1024;
/** `mixed` repeats this, a mebibyte each: half incompressible, a quarter repetitive, a quarter zero. */
const MIX = ['random', 'text', 'random', 'zero'] as const;

/** Writes `bytes` bytes of the fill to a new file. */
export async function writeFill(
  path: string,
  fill: { kind: Exclude<Fill, 'none'>; bytes: number; seed: number },
): Promise<void> {
  const key = createHash('sha256').update(`switchover fill ${fill.seed}`).digest().subarray(0, 16);
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  const zeros = Buffer.alloc(CHUNK_BYTES);
  const text = Buffer.alloc(CHUNK_BYTES, 'The guest wrote this line before it was moved. ');
  await using file = await open(path, 'wx');
  for (let at = 0, chunk = 0; at < fill.bytes; at += CHUNK_BYTES, chunk += 1) {
    const kind = fill.kind === 'mixed' ? (MIX[chunk % MIX.length] ?? 'zero') : fill.kind;
    const content = kind === 'random' ? cipher.update(zeros) : kind === 'text' ? text : zeros;
    await file.write(content, 0, Math.min(CHUNK_BYTES, fill.bytes - at));
  }
}
