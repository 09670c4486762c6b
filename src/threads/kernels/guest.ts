/**
 * Inner loops of the scripted guests, over the memory that holds nothing but a RAM block (AssemblyScript; compiled for
 * 32-bit and for 64-bit memories, so every address is u64 until the load itself). The caller sets the dirty bits after.
 */

const PAGE: u64 = 4096;

/** Adds one to the byte at `address` and to the same byte of the `pages - 1` pages after it. */
export function sweep(address: f64, pages: f64): void {
  let at = <u64>address;
  const end = at + <u64>pages * PAGE;
  for (; at < end; at += PAGE) store<u8>(<usize>at, load<u8>(<usize>at) + 1);
}

/**
 * Clears the byte at `address` and the same byte of the following pages, at most 32 pages in all; bit i of the result
 * is set where page i changed. Pages that hold zero already are only read.
 */
export function clearBytes(address: f64, pages: u32): u32 {
  const base = <u64>address;
  let changed: u32 = 0;
  for (let i: u32 = 0; i < pages; i++) {
    const at = base + <u64>i * PAGE;
    if (load<u8>(<usize>at) != 0) {
      store<u8>(<usize>at, 0);
      changed |= <u32>1 << i;
    }
  }
  return changed;
}

/** The byte at `address`. */
export function peek(address: f64): u32 {
  return load<u8>(<usize>(<u64>address));
}

/** Fills `length` bytes (a multiple of 16) with the pair (n, ~n), each a little-endian u64. */
export function stamp(address: f64, n: f64, length: u32): void {
  const value = <u64>n;
  const pair = i64x2.replace_lane(i64x2.splat(<i64>value), 1, <i64>~value);
  let at = <u64>address;
  const end = at + <u64>length;
  for (; at < end; at += 16) v128.store(<usize>at, pair);
}
