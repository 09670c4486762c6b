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

/** Of the 32 pages from `address` on, tests those whose bit is set in `wanted`; returns the bits of the all-zero ones. */
export function zeroMask(address: f64, wanted: u32): u32 {
  const base = <u64>address;
  let left = wanted;
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
