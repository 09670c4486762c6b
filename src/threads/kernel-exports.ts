/**
 * What the WebAssembly kernels export: generated from src/threads/kernels by scripts/build-kernels.ts, do not edit.
 * Results that are u32 in the source arrive as signed 32-bit numbers; `>>> 0` makes them unsigned.
 */

/** Exports of bitmap.wasm. */
export interface BitmapKernel {
  /** Sets one page's dirty bit. The page's new content must already be stored. */
  mark(dirty: number, page: number): void;

  /** Sets the dirty bits of `count` pages from `first` on. */
  markRange(dirty: number, first: number, count: number): void;

  /** Plain (not atomic) set of a range, for bitmaps with one owner. */
  setRange(bitmap: number, first: number, count: number): void;

  /** Moves dirty bits into `pending` and remembers them in `written`; returns how many were not pending before. */
  harvest(dirty: number, pending: number, written: number, words: number): number;

  /** Returns pending bits to the dirty bitmap and clears them: a failed migration loses nothing. */
  giveBack(dirty: number, pending: number, words: number): void;

  /** Number of set bits. */
  count(bitmap: number, words: number): number;

  /** First group of 32 pages at or after `group` that has a bit set, or `groups` when there is none. */
  nextGroup(bitmap: number, group: number, groups: number): number;

  /**
   * Appends RAM records (spec/wire.md §4.1) for the pages in `mask` of group `group`: zero records for `zero`, headers and
   * an (address, length) entry for the others. Entries strictly alternate: record bytes, page, record bytes, page …
   * `headersBase` and `ramBase` are what the entries' addresses count from.
   */
  emit(
    scratch: number,
    iov: number,
    group: number,
    mask: number,
    zero: number,
    headersBase: number,
    ramBase: number,
  ): void;

  /** Closes the last run of record bytes; after it the entries hold everything emitted. */
  finish(scratch: number, iov: number, headersBase: number): void;

  /** First set bit of the `count` pages from `first` on, or `first + count` when none is set. */
  firstSet(bitmap: number, first: number, count: number): number;

  /**
   * Moves pending pages from `first` on, at most `limit`, into the list of u32 page numbers at `out`; returns how many. A
   * page never written gets bit 31, because it is zero without looking.
   */
  takeList(pending: number, written: number, first: number, end: number, limit: number, out: number): number;
}

/** Exports of guest.wasm and guest64.wasm. */
export interface GuestKernel {
  /** Adds one to the byte at `address` and to the same byte of the `pages - 1` pages after it. */
  sweep(address: number, pages: number): void;

  /**
   * Clears the byte at `address` and the same byte of the following pages, at most 32 pages in all; bit i of the result
   * is set where page i changed. Pages that hold zero already are only read.
   */
  clearBytes(address: number, pages: number): number;

  /** The byte at `address`. */
  peek(address: number): number;

  /** Fills `length` bytes (a multiple of 16) with the pair (n, ~n), each a little-endian u64. */
  stamp(address: number, n: number, length: number): void;
}

/** Exports of packets.wasm. */
export interface PacketsKernel {
  /**
   * Makes packets of the `count` pages in the list at `pages`, 128 in each but the last: fields and tables in the headers at
   * `headers`, how many pages and runs each has at `packets`, and the runs of the n-th at `runs` + 1024 n. Unless `detectZero` is 0, zero
   * pages go behind the others in the tables, and into no run. `number` is the first one's. `marks` has 128 bytes of work space.
   * Returns how many packets there are.
   */
  makePackets(
    pages: number,
    count: number,
    detectZero: number,
    number: number,
    headers: number,
    packets: number,
    runs: number,
    marks: number,
  ): number;

  /**
   * Headers and pages of `count` packets as made by `makePackets`, in order, as (address, length) entries at `iov`; returns how many.
   * `areaBase` and `ramBase` are what addresses in this memory and in the block count from.
   */
  gather(
    count: number,
    headers: number,
    packets: number,
    runs: number,
    iov: number,
    areaBase: number,
    ramBase: number,
  ): number;

  /**
   * The `count` offsets at `table` as runs; returns how many. The first that is no multiple of the page size, or not within
   * the `length` bytes of the block, gives minus one, minus its index.
   */
  runsOfTable(table: number, count: number, length: number, runs: number): number;

  /**
   * 1 when the header at `header` is of pages in the way `method`, of the block whose field of 256 bytes is at `name`, and nothing about its
   * fields is wrong; compressed data have `mostData` bytes at most. Others are to be looked at field by field.
   */
  isUsual(header: number, method: number, name: number, mostData: number): number;

  /** Stores the zero pages of `count` runs: those that were never written, by the bitmaps `written` and `dirty`, are zero as they are. */
  storeZero(runs: number, count: number, written: number, dirty: number): void;

  /** Sets the bits of all pages of `count` runs in the bitmap `written`. */
  markWritten(runs: number, count: number, written: number): void;
}

/** Exports of pages.wasm and pages64.wasm. */
export interface PagesKernel {
  /** Of the 32 pages from `address` on, tests those whose bit is set in `wanted`; returns the bits of the all-zero ones. */
  zeroMask(address: number, wanted: number): number;

  /** Fills `length` bytes at `address` with zero. */
  clear(address: number, length: number): void;
}

/** Exports of records.wasm. */
export interface RecordsKernel {
  /**
   * How many zero-page records of the same block (spec/wire.md §4.1: CONTINUE, fill byte 0) stand at `at`, for `page`,
   * `page` + 1, … in order; at most `limit`, none of them reaching beyond `end`.
   */
  zeroRun(at: number, end: number, page: number, limit: number): number;
}

/** Exports of xbzrle.wasm and xbzrle64.wasm. */
export interface XbzrleKernel {
  /**
   * Writes to `out` the delta that makes the page at `newPage` from the one at `oldPage`; returns its length, 0 when they are equal, -1
   * when it would be longer than a page. Behind both pages and behind a page of `out` there are 16 bytes that may be
   * touched.
   */
  encode(oldPage: number, newPage: number, out: number): number;

  /** Copies a page. */
  copyPage(to: number, from: number): void;
}

/** Every kernel by name. */
export interface KernelExports {
  readonly bitmap: BitmapKernel;
  readonly guest: GuestKernel;
  readonly packets: PacketsKernel;
  readonly pages: PagesKernel;
  readonly records: RecordsKernel;
  readonly xbzrle: XbzrleKernel;
}
