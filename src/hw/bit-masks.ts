/** Masks of 32 pages, as RAM's bitmaps have them. */

/** Pages per group: the kernels work on 32 at a time. */
export const GROUP = 32;

/** How many bits are set. */
export function bitCount(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}

/** The lowest `count` set bits: small limits must not send a whole group. */
export function lowestBits(mask: number, count: number): number {
  if (count >= 32) return mask;
  let kept = 0;
  let rest = mask;
  for (let n = 0; n < count && rest !== 0; n++) {
    const bit = rest & -rest;
    kept |= bit;
    rest &= ~bit;
  }
  return kept >>> 0;
}
