/** Streams made hostile on purpose: fields with the values that checks forget, and pieces lost, doubled, swapped or cut. */

import type { FieldSpan } from './struct-spans.ts';

/** Chance from a seed (seeded.ts). */
export type Chance = (below: number) => number;

/** Where comparisons go wrong: around sizes of pages, packets, buffers and tables. */
const EDGES = [0, 1, 2, 127, 128, 129, 255, 256, 4095, 4096, 4097, 524_288, 1_048_576, 1_048_577, 1_048_588].map(
  BigInt,
);
/** Longest field that is a number. */
const NUMBER_BYTES = 8;

/** Gives a field another value, in place; tells which. */
export function changeField(bytes: Buffer, span: FieldSpan, below: Chance): string {
  const { at, length } = span;
  if (length > NUMBER_BYTES) return `${span.name} ${changeBytes(bytes.subarray(at, at + length), below)}`;
  const limit = 1n << BigInt(8 * length);
  const old = bigEndian(bytes.subarray(at, at + length));
  const value = (((candidate(old, limit, below) % limit) + limit) % limit) as bigint;
  for (let n = 0; n < length; n++) bytes[at + n] = Number((value >> BigInt(8 * (length - 1 - n))) & 0xffn);
  return `${span.name} ${old} → ${value}`;
}

function bigEndian(bytes: Uint8Array): bigint {
  return bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
}

function candidate(old: bigint, limit: bigint, below: Chance): bigint {
  switch (below(6)) {
    case 0:
      return old + 1n;
    case 1:
      return old - 1n;
    case 2:
      return old ^ (1n << BigInt(below(limit.toString(2).length - 1)));
    case 3:
      return limit - 1n - BigInt(below(3));
    case 4:
      return limit / 2n - BigInt(below(2));
    default:
      return EDGES[below(EDGES.length)]!;
  }
}

function changeBytes(bytes: Buffer, below: Chance): string {
  const kind = below(4);
  if (kind === 0) bytes.fill(0);
  else if (kind === 1) bytes.fill(0x61);
  else if (kind === 2) for (let at = 0; at < bytes.length; at++) bytes[at] = below(256);
  else bytes[below(bytes.length)]! ^= 1 + below(255);
  return ['zeroed', 'filled', 'random', 'one byte'][kind]!;
}

/** Loses, doubles, swaps or cuts pieces, or puts other bytes between them; in place. Tells what was done. */
export function rearrange(pieces: Buffer[], below: Chance): string {
  const at = below(pieces.length);
  switch (below(5)) {
    case 0:
      pieces.splice(at, 1);
      return `piece ${at} lost`;
    case 1:
      pieces.splice(at, 0, pieces[at]!);
      return `piece ${at} doubled`;
    case 2:
      pieces.splice(at, 0, ...pieces.splice(below(pieces.length), 1));
      return `piece ${at} is another`;
    case 3:
      pieces[at] = pieces[at]!.subarray(0, below(pieces[at]!.length));
      return `piece ${at} cut to ${pieces[at].length}`;
    default: {
      const garbage = Buffer.from(Array.from({ length: 1 + below(2000) }, () => below(256)));
      pieces.splice(at, 0, garbage);
      return `${garbage.length} bytes before piece ${at}`;
    }
  }
}
