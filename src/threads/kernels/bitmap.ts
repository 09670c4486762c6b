/**
 * Kernels over a RAM block's bitmaps and the scratch area beside them (AssemblyScript, 32-bit memory; see hw/ram.ts for
 * the layout). One bit is one 4 KiB page; byte p/8, bit p mod 8. The dirty bitmap is shared with running vCPUs, so it is
 * only touched with atomics; `pending` and `written` belong to the thread that runs the migration.
 */

const PAGE_SHIFT: u64 = 12;
const FLAG_ZERO: u64 = 0x02;
const FLAG_PAGE: u64 = 0x08;
const FLAG_CONTINUE: u64 = 0x20;

// Slots of the emitter, u32 each, at the start of the scratch area; hw/ram.ts names the same slots.
const HEADER_USED: usize = 0;
const IOV_COUNT: usize = 4;
const SEGMENT_START: usize = 8;
const SAME_BLOCK: usize = 12;
const NORMAL_PAGES: usize = 16;
const ZERO_PAGES: usize = 20;
const NAME_LENGTH: usize = 24;
const NAME: usize = 32;
const HEADERS: usize = 512;

/** Sets one page's dirty bit. The page's new content must already be stored. */
export function mark(dirty: u32, page: f64): void {
  const index = <u32>page;
  atomic.or<u32>(dirty + ((index >> 5) << 2), <u32>1 << (index & 31));
}

/** Sets the dirty bits of `count` pages from `first` on. */
export function markRange(dirty: u32, first: f64, count: f64): void {
  let page = <u32>first;
  const end = page + <u32>count;
  while (page < end) {
    const bit = page & 31;
    const n = min<u32>(32 - bit, end - page);
    const mask = n == 32 ? <u32>0xffffffff : ((<u32>1 << n) - 1) << bit;
    atomic.or<u32>(dirty + ((page >> 5) << 2), mask);
    page += n;
  }
}

/** Plain (not atomic) set of a range, for bitmaps with one owner. */
export function setRange(bitmap: u32, first: f64, count: f64): void {
  let page = <u32>first;
  const end = page + <u32>count;
  while (page < end) {
    const bit = page & 31;
    const n = min<u32>(32 - bit, end - page);
    const mask = n == 32 ? <u32>0xffffffff : ((<u32>1 << n) - 1) << bit;
    const at = bitmap + ((page >> 5) << 2);
    store<u32>(at, load<u32>(at) | mask);
    page += n;
  }
}

/** Moves dirty bits into `pending` and remembers them in `written`; returns how many were not pending before. */
export function harvest(dirty: u32, pending: u32, written: u32, words: u32): f64 {
  let fresh: u64 = 0;
  for (let at: u32 = 0, end = words << 3; at < end; at += 8) {
    if (load<u64>(dirty + at) == 0) continue;
    const taken = atomic.xchg<u64>(dirty + at, 0);
    const before = load<u64>(pending + at);
    fresh += popcnt<u64>(taken & ~before);
    store<u64>(pending + at, before | taken);
    store<u64>(written + at, load<u64>(written + at) | taken);
  }
  return <f64>fresh;
}

/** Returns pending bits to the dirty bitmap and clears them: a failed migration loses nothing. */
export function giveBack(dirty: u32, pending: u32, words: u32): void {
  for (let at: u32 = 0, end = words << 3; at < end; at += 8) {
    const bits = load<u64>(pending + at);
    if (bits == 0) continue;
    atomic.or<u64>(dirty + at, bits);
    store<u64>(pending + at, 0);
  }
}

/** Number of set bits. */
export function count(bitmap: u32, words: u32): f64 {
  let total: u64 = 0;
  for (let at: u32 = 0, end = words << 3; at < end; at += 8) total += popcnt<u64>(load<u64>(bitmap + at));
  return <f64>total;
}

/** First group of 32 pages at or after `group` that has a bit set, or `groups` when there is none. */
export function nextGroup(bitmap: u32, group: u32, groups: u32): u32 {
  let at = group;
  while (at < groups && (at & 1) != 0) {
    if (load<u32>(bitmap + (at << 2)) != 0) return at;
    at++;
  }
  while (at + 1 < groups && load<u64>(bitmap + (at << 2)) == 0) at += 2;
  while (at < groups && load<u32>(bitmap + (at << 2)) == 0) at++;
  return at;
}

// @ts-ignore: decorator
@inline
function closeSegment(scratch: usize, iov: usize, headersBase: u64): void {
  const start = load<u32>(scratch + SEGMENT_START);
  const used = load<u32>(scratch + HEADER_USED);
  const n = load<u32>(scratch + IOV_COUNT);
  const entry = iov + (<usize>n << 4);
  store<u64>(entry, headersBase + <u64>start);
  store<u64>(entry, <u64>(used - start), 8);
  store<u32>(scratch + IOV_COUNT, n + 1);
  store<u32>(scratch + SEGMENT_START, used);
}

/**
 * Appends RAM records (spec/wire.md §4.1) for the pages in `mask` of group `group`: zero records for `zero`, headers and
 * an (address, length) entry for the others. Entries strictly alternate: record bytes, page, record bytes, page …
 * `headersBase` and `ramBase` are what the entries' addresses count from.
 */
export function emit(scratch: u32, iov: u32, group: u32, mask: u32, zero: u32, headersBase: f64, ramBase: f64): void {
  const headers = scratch + HEADERS;
  const names = <u64>headersBase;
  const pages = <u64>ramBase;
  let used = load<u32>(scratch + HEADER_USED);
  let left = mask;
  while (left != 0) {
    const bit = ctz(left);
    left &= left - 1;
    const offset = (<u64>group * 32 + <u64>bit) << PAGE_SHIFT;
    const isZero = (zero >> bit) & 1;
    const same = load<u32>(scratch + SAME_BLOCK);
    const flags = (isZero ? FLAG_ZERO : FLAG_PAGE) | (same ? FLAG_CONTINUE : 0);
    store<u64>(headers + used, bswap<u64>(offset | flags));
    used += 8;
    if (!same) {
      const length = load<u32>(scratch + NAME_LENGTH);
      store<u8>(headers + used, <u8>length);
      memory.copy(headers + used + 1, scratch + NAME, length);
      used += 1 + length;
      store<u32>(scratch + SAME_BLOCK, 1);
    }
    if (isZero) {
      store<u8>(headers + used, 0);
      used += 1;
      store<u32>(scratch + ZERO_PAGES, load<u32>(scratch + ZERO_PAGES) + 1);
      continue;
    }
    store<u32>(scratch + HEADER_USED, used);
    closeSegment(scratch, iov, names);
    const n = load<u32>(scratch + IOV_COUNT);
    const entry = iov + (<usize>n << 4);
    store<u64>(entry, pages + offset);
    store<u64>(entry, 4096, 8);
    store<u32>(scratch + IOV_COUNT, n + 1);
    store<u32>(scratch + NORMAL_PAGES, load<u32>(scratch + NORMAL_PAGES) + 1);
  }
  store<u32>(scratch + HEADER_USED, used);
}

/** Closes the last run of record bytes; after it the entries hold everything emitted. */
export function finish(scratch: u32, iov: u32, headersBase: f64): void {
  if (load<u32>(scratch + HEADER_USED) > load<u32>(scratch + SEGMENT_START)) closeSegment(scratch, iov, <u64>headersBase);
}

/** First set bit of the `count` pages from `first` on, or `first + count` when none is set. */
export function firstSet(bitmap: u32, first: f64, count: f64): f64 {
  let page = <u32>first;
  const end = page + <u32>count;
  while (page < end) {
    const bits = load<u32>(bitmap + ((page >> 5) << 2)) >> (page & 31);
    if (bits != 0) return <f64>min<u32>(end, page + ctz(bits));
    page = (page | 31) + 1;
  }
  return <f64>end;
}

/**
 * Moves pending pages from `first` on, at most `limit`, into the list of u32 page numbers at `out`; returns how many. A
 * page never written gets bit 31, because it is zero without looking.
 */
export function takeList(pending: u32, written: u32, first: f64, end: f64, limit: u32, out: u32): u32 {
  let page = <u32>first;
  const last = <u32>end;
  let count: u32 = 0;
  while (page < last && count < limit) {
    const at = (page >> 5) << 2;
    const bits = load<u32>(pending + at) >> (page & 31);
    if (bits == 0) {
      page = (page | 31) + 1;
      while (page + 64 <= last && load<u64>(pending + ((page >> 5) << 2)) == 0) page += 64;
      continue;
    }
    page += ctz(bits);
    const bit = <u32>1 << (page & 31);
    store<u32>(pending + at, load<u32>(pending + at) & ~bit);
    const unwritten = (load<u32>(written + at) & bit) == 0;
    store<u32>(out + (count << 2), unwritten ? page | 0x80000000 : page);
    count++;
    page++;
  }
  return count;
}
