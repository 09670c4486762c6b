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

/** First position at or after `from` whose bit in the page's 64 mask words at `masks` is `1 ^ flip`; the page's end if none. */
// @ts-ignore: decorator
@inline
function find(masks: u64, from: u32, flip: u64): u32 {
  let word = from >> 6;
  if (word >= 64) return PAGE;
  let bits = (load<u64>(<usize>(masks + ((<u64>word) << 3))) ^ flip) & (<u64>-1 << (<u64>from & 63));
  while (bits == 0) {
    word++;
    if (word == 64) return PAGE;
    bits = load<u64>(<usize>(masks + ((<u64>word) << 3))) ^ flip;
  }
  return (word << 6) + <u32>ctz(bits);
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

/**
 * Writes to `out` the delta that makes the page at `newPage` from the one at `oldPage`; returns its length, 0 when they are equal, -1
 * when it would be longer than a page. Behind both pages and behind a page of `out` there are 16 bytes that may be
 * touched; `masks` has 512 bytes of work space.
 */
export function encode(oldPage: f64, newPage: f64, out: f64, masks: f64): i32 {
  const before = <u64>oldPage;
  const after = <u64>newPage;
  const start = <u64>out;
  const work = <u64>masks;
  for (let word: u64 = 0; word < 64; word++) {
    store<u64>(<usize>(work + (word << 3)), differences(before + (word << 6), after + (word << 6)));
  }
  const last = start + PAGE;
  let to = start;
  let at: u32 = 0;
  while (at < PAGE) {
    if (to + 2 > last) return OVERFLOW;
    const changed = find(work, at, 0);
    if (changed == PAGE) return to == start ? IDENTICAL : <i32>(to - start);
    to = uleb(to, changed - at);
    if (to + 2 > last) return OVERFLOW;
    const same = find(work, changed, <u64>-1);
    const count = same - changed;
    to = uleb(to, count);
    if (to + count > last) return OVERFLOW;
    if (count <= 16) v128.store(<usize>to, v128.load(<usize>(after + changed)));
    else memory.copy(<usize>to, <usize>(after + changed), <usize>count);
    to += count;
    at = same;
  }
  return <i32>(to - start);
}

/** Copies a page. */
export function copyPage(to: f64, from: f64): void {
  memory.copy(<usize>(<u64>to), <usize>(<u64>from), 4096);
}
