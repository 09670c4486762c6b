/**
 * Kernel over the work area of a multifd channel (AssemblyScript, 32-bit memory; see multifd/packet-batch.ts and packet-table.ts
 * for the layouts): packets (spec/wire.md §5.2) from a list of pages, and the table of a packet back. Pages that follow each
 * other become one run, a pair of u32 (first page, number of pages).
 */

const PAGE_SHIFT: u64 = 12;
const PAGE_MASK: u64 = 4095;
const MAGIC: u32 = 0x11223344;
const VERSION: u32 = 1;
const PACKET_PAGES: u32 = 128;
const RAM_PACKET_BYTES: u32 = 1344;
/** Of a packet in `packets`: four u32, normal pages, zero pages, runs of normal pages, and how much of the table is in use. */
const PACKET_SHIFT: u32 = 4;
/** Bit of a list's entry: the page was never written, so it is zero. */
const UNWRITTEN: u32 = 0x80000000;

/** Puts page `page` behind the last of `runs`, `count` so far; returns how many there are then. */
// @ts-ignore: decorator
@inline
function addToRuns(runs: u32, count: u32, page: u32): u32 {
  if (count != 0) {
    const last = runs + ((count - 1) << 3);
    const length = load<u32>(last, 4);
    if (load<u32>(last) + length == page) {
      store<u32>(last, length + 1, 4);
      return count;
    }
  }
  const next = runs + (count << 3);
  store<u32>(next, page);
  store<u32>(next, 1, 4);
  return count + 1;
}

/** `zeroMask` of the kernel over the block's memory: of 32 pages from a byte address on, the all-zero ones among `wanted`. */
// @ts-ignore: decorator
@external("ram", "zeroMask")
declare function zeroMask(address: f64, wanted: u32): u32;

/**
 * Moves the all-zero ones of the `count` pages in the list at `pages` to its end, by exchange, and takes the mark of pages
 * never written off all; returns how many others there are. `marks` has a byte of work space for each.
 */
function partition(pages: u32, count: u32, marks: u32): u32 {
  findZero(pages, count, marks);
  let left: u32 = 0;
  let right: u32 = count;
  while (left < right) {
    if (load<u8>(marks + left) == 0) {
      left++;
      continue;
    }
    right--;
    const here = pages + (left << 2);
    const there = pages + (right << 2);
    const page = load<u32>(here);
    store<u32>(here, load<u32>(there));
    store<u32>(there, page);
    store<u8>(marks + left, load<u8>(marks + right));
    store<u8>(marks + right, 1);
  }
  return left;
}

/** Fills `marks`: 1 for a zero page. */
function findZero(pages: u32, count: u32, marks: u32): void {
  let start: u32 = 0;
  while (start < count) {
    const group = (load<u32>(pages + (start << 2)) & ~UNWRITTEN) >> 5;
    let zero: u32 = 0;
    let wanted: u32 = 0;
    let end = start;
    for (; end < count; end++) {
      const entry = load<u32>(pages + (end << 2));
      const page = entry & ~UNWRITTEN;
      if (page >> 5 != group) break;
      const bit = <u32>1 << (page & 31);
      if (entry != page) zero |= bit;
      else wanted |= bit;
    }
    if (wanted != 0) zero |= zeroMask(<f64>((<u64>group << 5) << PAGE_SHIFT), wanted);
    for (; start < end; start++) {
      const page = load<u32>(pages + (start << 2)) & ~UNWRITTEN;
      store<u32>(pages + (start << 2), page);
      store<u8>(marks + start, <u8>((zero >> (page & 31)) & 1));
    }
  }
}

/** Takes the mark of pages never written off the `count` pages in the list at `pages`: nobody asks which are zero. */
function unmark(pages: u32, count: u32): void {
  for (let at = pages, end = pages + (count << 2); at < end; at += 4) store<u32>(at, load<u32>(at) & ~UNWRITTEN);
}

/** Writes the offsets of the `count` pages at `pages` into `table`, whose entries up to `before` were used and become zero. */
function writeTable(pages: u32, count: u32, table: u32, before: u32): void {
  for (let index: u32 = 0; index < count; index++) {
    store<u64>(table + (index << 3), bswap<u64>(<u64>load<u32>(pages + (index << 2)) << PAGE_SHIFT));
  }
  if (before > count) memory.fill(table + (count << 3), 0, (before - count) << 3);
}

/** The `count` pages at `pages` as runs; returns how many. */
function runsOfList(pages: u32, count: u32, runs: u32): u32 {
  let found: u32 = 0;
  for (let index: u32 = 0; index < count; index++) found = addToRuns(runs, found, load<u32>(pages + (index << 2)));
  return found;
}

/**
 * Makes packets of the `count` pages in the list at `pages`, 128 in each but the last: fields and tables in the headers at
 * `headers`, how many pages and runs each has at `packets`, and the runs of the n-th at `runs` + 1024 n. Unless `detectZero` is 0, zero
 * pages go behind the others in the tables, and into no run. `number` is the first one's. `marks` has 128 bytes of work space.
 * Returns how many packets there are.
 */
export function makePackets(
  pages: u32,
  count: u32,
  detectZero: u32,
  number: f64,
  headers: u32,
  packets: u32,
  runs: u32,
  marks: u32,
): u32 {
  let made: u32 = 0;
  for (let first: u32 = 0; first < count; first += PACKET_PAGES) {
    const list = pages + (first << 2);
    const length = min<u32>(PACKET_PAGES, count - first);
    const header = headers + made * RAM_PACKET_BYTES;
    const packet = packets + (made << PACKET_SHIFT);
    let normal = length;
    if (detectZero != 0) normal = partition(list, length, marks);
    else unmark(list, length);
    writeTable(list, length, header + 320, load<u32>(packet, 12));
    store<u32>(header, bswap<u32>(normal), 16);
    store<u32>(header, bswap<u32>(normal << 12), 20);
    store<u64>(header, bswap<u64>(<u64>number + made), 24);
    store<u32>(header, bswap<u32>(length - normal), 32);
    store<u32>(packet, normal);
    store<u32>(packet, length - normal, 4);
    store<u32>(packet, runsOfList(list, normal, runs + made * 1024), 8);
    store<u32>(packet, length, 12);
    made++;
  }
  return made;
}

/** Puts the place of `length` bytes behind the last of the `count` in `iov`, or makes that one longer; returns how many there are then. */
// @ts-ignore: decorator
@inline
function addToEntries(iov: u32, count: u32, address: u64, length: u64): u32 {
  const next = iov + (count << 4);
  if (count != 0 && load<u64>(next - 16) + load<u64>(next - 8) == address) {
    store<u64>(next - 8, load<u64>(next - 8) + length);
    return count;
  }
  store<u64>(next, address);
  store<u64>(next, length, 8);
  return count + 1;
}

/**
 * Headers and pages of `count` packets as made by `makePackets`, in order, as (address, length) entries at `iov`; returns how many.
 * `areaBase` and `ramBase` are what addresses in this memory and in the block count from.
 */
export function gather(
  count: u32,
  headers: u32,
  packets: u32,
  runs: u32,
  iov: u32,
  areaBase: f64,
  ramBase: f64,
): u32 {
  let entries: u32 = 0;
  for (let index: u32 = 0; index < count; index++) {
    const header = <u64>areaBase + headers + index * RAM_PACKET_BYTES;
    entries = addToEntries(iov, entries, header, RAM_PACKET_BYTES);
    let run = runs + index * 1024;
    const end = run + (load<u32>(packets + (index << PACKET_SHIFT), 8) << 3);
    for (; run < end; run += 8) {
      const address = <u64>ramBase + (<u64>load<u32>(run) << PAGE_SHIFT);
      entries = addToEntries(iov, entries, address, <u64>load<u32>(run, 4) << PAGE_SHIFT);
    }
  }
  return entries;
}

/**
 * The `count` offsets at `table` as runs; returns how many. The first that is no multiple of the page size, or not within
 * the `length` bytes of the block, gives minus one, minus its index.
 */
export function runsOfTable(table: u32, count: u32, length: f64, runs: u32): i32 {
  const last = <u64>length - 4096;
  let found: u32 = 0;
  for (let index: u32 = 0; index < count; index++) {
    const offset = bswap<u64>(load<u64>(table + (index << 3)));
    if (offset > last || (offset & PAGE_MASK) != 0) return -1 - <i32>index;
    found = addToRuns(runs, found, <u32>(offset >> PAGE_SHIFT));
  }
  return <i32>found;
}

/**
 * 1 when the header at `header` is of pages in the way `method`, of the block whose field of 256 bytes is at `name`, and nothing about its
 * fields is wrong; compressed data have `mostData` bytes at most. Others are to be looked at field by field.
 */
export function isUsual(header: u32, method: u32, name: u32, mostData: u32): u32 {
  if (load<u32>(header) != bswap<u32>(MAGIC) || load<u32>(header, 4) != bswap<u32>(VERSION)) return 0;
  if (load<u32>(header, 8) != bswap<u32>(method)) return 0;
  const pagesAlloc = bswap<u32>(load<u32>(header, 12));
  const normal = bswap<u32>(load<u32>(header, 16));
  const dataBytes = bswap<u32>(load<u32>(header, 20));
  const zero = bswap<u32>(load<u32>(header, 32));
  if (pagesAlloc > PACKET_PAGES || normal > pagesAlloc || zero > pagesAlloc - normal || normal + zero == 0) return 0;
  if (method == 0 || normal == 0) {
    if (dataBytes != normal << <u32>PAGE_SHIFT) return 0;
  } else if (dataBytes > mostData) return 0;
  for (let at: u32 = 0; at < 256; at += 8) {
    if (load<u64>(header + 64 + at) != load<u64>(name + at)) return 0;
  }
  return 1;
}

/** `clear` of the kernel over the block's memory: fills `length` bytes from a byte address on with zero. */
// @ts-ignore: decorator
@external("ram", "clear")
declare function clear(address: f64, length: f64): void;

/** Of the kernel over the block's bitmaps: the first set bit of `count` from `first` on, `first + count` when none is set. */
// @ts-ignore: decorator
@external("bitmap", "firstSet")
declare function firstSet(bitmap: u32, first: f64, count: f64): f64;

/** Of the same: sets `count` bits from `first` on. */
// @ts-ignore: decorator
@external("bitmap", "markRange")
declare function markRange(bitmap: u32, first: f64, count: f64): void;

/** Stores the zero pages of `count` runs: those that were never written, by the bitmaps `written` and `dirty`, are zero as they are. */
export function storeZero(runs: u32, count: u32, written: u32, dirty: u32): void {
  for (let run = runs, last = runs + (count << 3); run < last; run += 8) {
    let page = <f64>load<u32>(run);
    const end = page + <f64>load<u32>(run, 4);
    while (page < end) {
      page = firstSet(dirty, page, firstSet(written, page, end - page) - page);
      if (page < end) clear(page * 4096, 4096);
      page++;
    }
  }
}

/** Sets the bits of all pages of `count` runs in the bitmap `written`. */
export function markWritten(runs: u32, count: u32, written: u32): void {
  for (let run = runs, last = runs + (count << 3); run < last; run += 8) {
    markRange(written, <f64>load<u32>(run), <f64>load<u32>(run, 4));
  }
}
