/**
 * XBZRLE encoder (spec/wire.md §4.4) over a memory that holds old and new page side by side (AssemblyScript; compiled for
 * 32-bit and for 64-bit memories, so every address is u64 until the load itself). Byte for byte what QEMU's encoder makes.
 */

const PAGE: u32 = 4096;
/** Results of `encode` that are no length. */
const IDENTICAL: i32 = 0;
const OVERFLOW: i32 = -1;

/** One bit for each of the 64 bytes at the two places: set where they differ. */
// @ts-ignore: decorator
@inline
function differences(a: u64, b: u64): u64 {
  const m0 = <u64>(<u32>i8x16.bitmask(i8x16.ne(v128.load(<usize>a), v128.load(<usize>b))) & 0xffff);
  const m1 = <u64>(<u32>i8x16.bitmask(i8x16.ne(v128.load(<usize>a, 16), v128.load(<usize>b, 16))) & 0xffff);
  const m2 = <u64>(<u32>i8x16.bitmask(i8x16.ne(v128.load(<usize>a, 32), v128.load(<usize>b, 32))) & 0xffff);
  const m3 = <u64>(<u32>i8x16.bitmask(i8x16.ne(v128.load(<usize>a, 48), v128.load(<usize>b, 48))) & 0xffff);
  return m0 | (m1 << 16) | (m2 << 32) | (m3 << 48);
}

/** Writes a length of at most two bytes; returns where to go on. */
// @ts-ignore: decorator
@inline
function uleb(at: u64, value: u32): u64 {
  if (value < 0x80) {
    store<u8>(<usize>at, <u8>value);
    return at + 1;
  }
  store<u8>(<usize>at, <u8>(value | 0x80));
  store<u8>(<usize>at, <u8>(value >> 7), 1);
  return at + 2;
}

/** Where the run that ends at `end` and began at `begin` goes, if its length and bytes still fit before `last`; 0 if not. */
// @ts-ignore: decorator
@inline
function literals(to: u64, last: u64, begin: u64, end: u64): u64 {
  if (to + 2 > last) return 0;
  const count = end - begin;
  const at = uleb(to, <u32>count);
  if (at + count > last) return 0;
  if (count <= 16) v128.store(<usize>at, v128.load(<usize>begin));
  else memory.copy(<usize>at, <usize>begin, <usize>count);
  return at + count;
}

/**
 * Writes to `out` the delta that makes the page at `newPage` from the one at `oldPage`; returns its length, 0 when they are equal, -1
 * when it would be longer than a page. Behind both pages and behind a page of `out` there are 16 bytes that may be
 * touched.
 */
export function encode(oldPage: f64, newPage: f64, out: f64): i32 {
  const before = <u64>oldPage;
  const after = <u64>newPage;
  const start = <u64>out;
  const last = start + PAGE;
  let to = start;
  /** Where the run began that is not written yet, and whether its bytes differ. */
  let begin = after;
  let isChanged: u64 = 0;
  for (let word = after; word < after + PAGE; word += 64) {
    const changed = differences(before + (word - after), word);
    // A run ends wherever a byte's bit is not that of the byte before.
    for (let ends = changed ^ ((changed << 1) | isChanged); ends != 0; ends &= ends - 1) {
      const end = word + ctz(ends);
      if (isChanged == 0) to = uleb(to, <u32>(end - begin));
      else {
        to = literals(to, last, begin, end);
        if (to == 0 || to + 2 > last) return OVERFLOW;
      }
      begin = end;
      isChanged ^= 1;
    }
  }
  if (isChanged == 0) return to == start ? IDENTICAL : <i32>(to - start);
  to = literals(to, last, begin, after + PAGE);
  return to == 0 ? OVERFLOW : <i32>(to - start);
}

/** Copies a page. */
export function copyPage(to: f64, from: f64): void {
  memory.copy(<usize>(<u64>to), <usize>(<u64>from), 4096);
}
