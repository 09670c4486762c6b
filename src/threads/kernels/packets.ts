/**
 * Kernel over the work area of a multifd channel (AssemblyScript, 32-bit memory; see multifd/packet-table.ts for the layout):
 * the table of a packet (spec/wire.md §5.2) from a list of pages and back. Pages that follow each other become one run, a
 * pair of u32 (first page, number of pages).
 */

const PAGE_SHIFT: u64 = 12;
const PAGE_MASK: u64 = 4095;
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
export function partition(pages: u32, count: u32, marks: u32): u32 {
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
export function unmark(pages: u32, count: u32): void {
  for (let at = pages, end = pages + (count << 2); at < end; at += 4) store<u32>(at, load<u32>(at) & ~UNWRITTEN);
}

/** Writes the offsets of the `count` pages at `pages` into `table`, whose entries up to `before` were used and become zero. */
export function writeTable(pages: u32, count: u32, table: u32, before: u32): void {
  for (let index: u32 = 0; index < count; index++) {
    store<u64>(table + (index << 3), bswap<u64>(<u64>load<u32>(pages + (index << 2)) << PAGE_SHIFT));
  }
  if (before > count) memory.fill(table + (count << 3), 0, (before - count) << 3);
}

/** The `count` pages at `pages` as runs; returns how many. */
export function runsOfList(pages: u32, count: u32, runs: u32): u32 {
  let found: u32 = 0;
  for (let index: u32 = 0; index < count; index++) found = addToRuns(runs, found, load<u32>(pages + (index << 2)));
  return found;
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
