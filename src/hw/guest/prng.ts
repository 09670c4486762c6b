/**
 * Chance for guests: a number that follows from a seed and a counter alone. A guest keeps only its counter in RAM, and
 * whoever checks that RAM can compute every write the guest ever made. Not for secrets.
 */

/** A whole number from 0 to `limit - 1` for draw `n` (up to 2^53) of `seed`; `limit` is at most 2^22. */
export function pick(seed: number, n: number, limit: number): number {
  const low = n >>> 0;
  const high = Math.floor(n / 4_294_967_296);
  // 31 bits, so that the product below stays exact.
  const hash = mix(low ^ mix(seed ^ mix(high))) >>> 1;
  return Math.floor((hash * limit) / 2_147_483_648);
}

/** A permutation of the 32-bit numbers in which every input bit sways every output bit. */
function mix(value: number): number {
  let hash = (value + 0x9e37_79b9) | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb_352d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x846c_a68b);
  return hash ^ (hash >>> 16);
}
