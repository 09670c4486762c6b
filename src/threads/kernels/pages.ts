/**
 * Kernels that touch guest pages, over the memory that holds nothing but a RAM block (AssemblyScript; compiled for
 * 32-bit and for 64-bit memories, so every address is u64 until the load itself). Numbers cross the border as f64.
 */

const PAGE: u64 = 4096;

// @ts-ignore: decorator
@inline
function isZeroPage(page: u64): bool {
  const end = page + PAGE;
  for (let at = page; at < end; at += 64) {
    let any = v128.load(<usize>at);
    any = v128.or(any, v128.load(<usize>at, 16));
    any = v128.or(any, v128.load(<usize>at, 32));
    any = v128.or(any, v128.load(<usize>at, 48));
    if (v128.any_true(any)) return false;
  }
  return true;
}

/** Those of the `pages` from `base` on whose first bytes are zero. The reads do not wait for each other, as those of a page do. */
// @ts-ignore: decorator
@inline
function beginWithZero(base: u64, pages: u32): u32 {
  let found: u32 = 0;
  for (let left = pages; left != 0; left &= left - 1) {
    const bit = ctz(left);
    found |= <u32>(load<u64>(<usize>(base + <u64>bit * PAGE)) == 0) << bit;
  }
  return found;
}

/** Of the 32 pages from `address` on, tests those whose bit is set in `wanted`; returns the bits of the all-zero ones. */
export function zeroMask(address: f64, wanted: u32): u32 {
  if (wanted == 0) return 0;
  const base = <u64>address;
  let left = wanted;
  // Pages with data come in runs. Zero pages are better read one after the other at once.
  const ends = (<u32>1 << ctz(wanted)) | (<u32>1 << (31 - clz(wanted)));
  if (beginWithZero(base, ends) == 0) left = beginWithZero(base, wanted);
  let zero: u32 = 0;
  while (left != 0) {
    const bit = ctz(left);
    left &= left - 1;
    if (isZeroPage(base + <u64>bit * PAGE)) zero |= <u32>1 << bit;
  }
  return zero;
}

/** Fills `length` bytes at `address` with zero. */
export function clear(address: f64, length: f64): void {
  memory.fill(<usize>(<u64>address), 0, <usize>(<u64>length));
}
