/**
 * A RAM block: pages in one shared WebAssembly.Memory that holds nothing else (64-bit above 4 GiB), and beside it a
 * second shared memory with its bitmaps and a scratch area for the migration. Writes go through `write`, `fill`,
 * `readFile` or a vCPU's kernel; each stores first and marks second, so a concurrent harvest can only resend, never lose.
 * Pages that were never written are zero without being read.
 */

import { readSync } from 'node:fs';
import { assert } from '../base/assert.ts';
import { HarnessError, isHarnessError } from '../base/errors.ts';
import { loadKernel } from '../threads/kernel.ts';
import type { BitmapKernel, PagesKernel } from '../threads/kernel-exports.ts';
import { IOV_MAX, native } from '../threads/native.ts';
import type { GatherList } from '../threads/segments.ts';
import { PAGE_SIZE } from '../wire/ram.ts';
import { bitCount, GROUP, lowestBits } from './bit-masks.ts';
import { DirtyWatch } from './dirty-watch.ts';
import { attachRamFile, type RamFile } from './ram-file.ts';
import type { RamScout } from './ram-scout.ts';

const WASM_PAGE = 65_536;
const MAX_PAGES_32 = 65_536;
const MAX_PAGES_64 = 262_144;

/** Largest RAM block (bytes): V8's limit for one 64-bit WebAssembly memory. */
const MAX_RAM_BLOCK_BYTES = MAX_PAGES_64 * WASM_PAGE;

// The scratch area: slots of the emitter (kernels/bitmap.ts has the same numbers), record bytes, iovec entries.
const SLOT = {
  HEADER_USED: 0,
  IOV_COUNT: 1,
  SEGMENT_START: 2,
  SAME_BLOCK: 3,
  NORMAL_PAGES: 4,
  ZERO_PAGES: 5,
  NAME_LENGTH: 6,
};
const NAME_OFFSET = 32;
const HEADERS_OFFSET = 512;
/** Holds the records of 14,000 zero pages: with fewer a write every half millisecond costs more than the records. */
const HEADERS_BYTES = 131_072;
const IOV_OFFSET = HEADERS_OFFSET + HEADERS_BYTES;
const SCRATCH_BYTES = IOV_OFFSET + IOV_MAX * 16;
/** Most record bytes one group can add: 32 zero records, one with a block name. */
const GROUP_HEADER_BYTES = GROUP * 9 + 256;

/** A RAM block as it is posted to another thread. */
export interface RamShare {
  readonly name: string;
  readonly length: number;
  readonly memory: WebAssembly.Memory;
  readonly address: 'i32' | 'i64';
  readonly bitmaps: WebAssembly.Memory;
  /** Byte offset of the dirty bitmap in `bitmaps`. */
  readonly dirtyOffset: number;
  /** Byte offset of the bitmap of pages that a running migration has to send. */
  readonly pendingOffset: number;
  /** Byte offset of the bitmap of pages that were ever written. */
  readonly writtenOffset: number;
}

/**
 * Records and pages ready to be written: entries alternate between record bytes and a page of guest RAM. Valid until the
 * next `takePages` of the same block.
 */
export interface PageBatch extends GatherList {
  readonly normalPages: number;
  readonly zeroPages: number;
}

/** Pages that were taken, by group of 32: bit n of a mask is page `group` · 32 + n. */
export interface PageMasks {
  readonly groups: { readonly group: number; readonly data: number; readonly zero: number }[];
  dataPages: number;
  zeroPages: number;
  nextPage: number;
}

/** Bit of an entry of a page list: the page was never written, so it is zero. */
export const UNWRITTEN_PAGE = 0x8000_0000;

/** One block of guest RAM. Offsets are bytes from the block's start. */
export class RamBlock {
  readonly share: RamShare;
  readonly name: string;
  readonly length: number;
  readonly pageCount: number;
  /** True when it is a file that other processes may have as their RAM as well. */
  readonly isSharedFile: boolean;
  /** All bytes of the block. Reading is free; writing must go through the methods so that it is marked. */
  readonly bytes: Uint8Array;

  readonly #words: number;
  readonly #groups: number;
  readonly #pendingOffset: number;
  readonly #writtenOffset: number;
  readonly #scratchOffset: number;
  readonly #dirty: Uint32Array;
  readonly #pending: Uint32Array;
  readonly #written: Uint32Array;
  readonly #slots: Uint32Array;
  readonly #scratch: Uint8Array;
  readonly #entries: BigUint64Array;
  readonly #pages: PagesKernel;
  readonly #bitmap: BitmapKernel;
  readonly #ramBase: number;
  readonly #scratchBase: number;
  #pendingPages = 0;
  #watch: DirtyWatch | undefined;
  /** Looks for zero pages ahead of `takePages` and `takeMasks`, where there is one. */
  scout: RamScout | undefined;

  /**
   * Allocates a block of `length` bytes (a multiple of 4 KiB), all zero and never written, or with a file's content.
   * Throws `ram/too-large` above MAX_RAM_BLOCK_BYTES or when the address space is not to be had, and `ram/file`.
   */
  static create(options: { name: string; length: number; file?: RamFile | undefined }): RamBlock {
    const { name, length, file } = options;
    assert(
      length > 0 && length % PAGE_SIZE === 0,
      `RAM block '${name}' must be a positive multiple of ${PAGE_SIZE} bytes`,
    );
    const wasmPages = Math.ceil(length / WASM_PAGE);
    const address = wasmPages > MAX_PAGES_32 ? 'i64' : 'i32';
    if (wasmPages > MAX_PAGES_64)
      throw new HarnessError('ram/too-large', { ramBlock: name, length, maximum: MAX_RAM_BLOCK_BYTES });
    const bitmapBytes = Math.ceil(length / PAGE_SIZE / 64) * 8;
    const bitmapPages = Math.ceil((bitmapBytes * 3 + SCRATCH_BYTES) / WASM_PAGE);
    try {
      const memory = sharedMemory(wasmPages, address);
      const bitmaps = sharedMemory(bitmapPages, 'i32');
      const bytes = new Uint8Array(memory.buffer, 0, length);
      if (file === undefined) native?.adviseHugePages(bytes);
      else attachRamFile(bytes, file);
      const share: RamShare = {
        name,
        length,
        memory,
        address,
        bitmaps,
        dirtyOffset: 0,
        pendingOffset: bitmapBytes,
        writtenOffset: bitmapBytes * 2,
      };
      const block = new RamBlock(share, file?.share === true);
      if (file !== undefined) block.markLoaded(0, block.pageCount);
      return block;
    } catch (cause) {
      if (isHarnessError(cause)) throw cause;
      throw new HarnessError('ram/too-large', { ramBlock: name, length, maximum: MAX_RAM_BLOCK_BYTES }, { cause });
    }
  }

  private constructor(share: RamShare, isSharedFile: boolean) {
    this.isSharedFile = isSharedFile;
    this.share = share;
    this.name = share.name;
    this.length = share.length;
    this.pageCount = share.length / PAGE_SIZE;
    this.bytes = new Uint8Array(share.memory.buffer, 0, share.length);
    this.#words = Math.ceil(this.pageCount / 64);
    this.#groups = Math.ceil(this.pageCount / GROUP);
    this.#pendingOffset = share.pendingOffset;
    this.#writtenOffset = share.writtenOffset;
    this.#scratchOffset = this.#words * 24;
    const { buffer } = share.bitmaps;
    this.#dirty = new Uint32Array(buffer, share.dirtyOffset, this.#words * 2);
    this.#pending = new Uint32Array(buffer, this.#pendingOffset, this.#words * 2);
    this.#written = new Uint32Array(buffer, this.#writtenOffset, this.#words * 2);
    this.#slots = new Uint32Array(buffer, this.#scratchOffset, 8);
    this.#scratch = new Uint8Array(buffer, this.#scratchOffset, SCRATCH_BYTES);
    this.#entries = new BigUint64Array(buffer, this.#scratchOffset + IOV_OFFSET, IOV_MAX * 2);
    this.#pages = loadKernel('pages', share.memory, share.address);
    this.#bitmap = loadKernel('bitmap', share.bitmaps);
    this.#ramBase = native?.addressOf(this.bytes) ?? 0;
    this.#scratchBase = native?.addressOf(this.#scratch) ?? 0;
    const name = new TextEncoder().encode(this.name);
    assert(name.length > 0 && name.length < 256, 'a RAM block name is 1 to 255 bytes');
    this.#slots[SLOT.NAME_LENGTH] = name.length;
    this.#scratch.set(name, NAME_OFFSET);
  }

  /** Stores `data` at `offset` and marks its pages dirty. Throws `ram/out-of-range`. */
  write(offset: number, data: Uint8Array): void {
    this.#check(offset, data.length);
    this.bytes.set(data, offset);
    this.markDirty(offset, data.length);
  }

  /** Reads up to `length` bytes of an open file straight into the block; returns the bytes read. Throws `ram/out-of-range`. */
  readFile(fd: number, offset: number, length: number): number {
    this.#check(offset, length);
    let done = 0;
    while (done < length) {
      const step = Math.min(length - done, 1 << 28);
      const read = readSync(fd, this.bytes, offset + done, step, done);
      if (read === 0) break;
      done += read;
    }
    this.markDirty(offset, done);
    return done;
  }

  /** Marks the pages that `length` bytes from `offset` touch. The bytes must already be stored. */
  markDirty(offset: number, length: number): void {
    if (length === 0) return;
    const first = Math.floor(offset / PAGE_SIZE);
    const last = Math.floor((offset + length - 1) / PAGE_SIZE);
    this.#bitmap.markRange(this.share.dirtyOffset, first, last - first + 1);
  }

  // ── source side ────────────────────────────────────────────────────────────────────────────────────────────────

  /** Number of pages the running migration still has to send. */
  get pendingPages(): number {
    return this.#pendingPages;
  }

  /** Starts a migration: every page is pending. */
  beginSave(): void {
    this.#watch?.look();
    this.#bitmap.harvest(this.share.dirtyOffset, this.#pendingOffset, this.#writtenOffset, this.#words);
    this.#bitmap.setRange(this.#pendingOffset, 0, this.pageCount);
    this.#pendingPages = this.pageCount;
    this.scout?.beginPass(this.#pendingPages);
    this.forgetBlockName();
  }

  /** Moves dirty bits to the pending bitmap; returns the number of pages that were not pending before. */
  syncDirty(): number {
    this.#watch?.look();
    const fresh = this.#bitmap.harvest(this.share.dirtyOffset, this.#pendingOffset, this.#writtenOffset, this.#words);
    this.#pendingPages += fresh;
    this.scout?.beginPass(this.#pendingPages);
    return fresh;
  }

  /** Whether there are dirty bits that nobody has collected. */
  get isDirty(): boolean {
    return this.#dirty.some((word) => word !== 0);
  }

  /** After a failed or cancelled migration: what was not sent is dirty again. */
  endSave(): void {
    this.#bitmap.giveBack(this.share.dirtyOffset, this.#pendingOffset, this.#words);
    this.#pendingPages = 0;
    this.scout?.endPass();
  }

  /**
   * Watches which pages become dirty from now on, until `endWatch`. Not while a migration runs, whose bits it would take away;
   * one that starts meanwhile does no harm.
   */
  watchDirty(): DirtyWatch {
    this.#bitmap.harvest(this.share.dirtyOffset, this.#pendingOffset, this.#writtenOffset, this.#words);
    this.#pending.fill(0); // means nothing between migrations: the next one sends every page
    this.#watch = new DirtyWatch(this.#dirty);
    return this.#watch;
  }

  /** Ends what `watchDirty` began. */
  endWatch(): void {
    this.#watch = undefined;
  }

  /** Makes the next record repeat the block's name (first record on a channel, another block came between). */
  forgetBlockName(): void {
    this.#slots[SLOT.SAME_BLOCK] = 0;
  }

  /** The first page at or after `page`, in whole groups, that may be pending; `pageCount` when there is none. */
  nextPending(page: number): number {
    return Math.min(
      this.pageCount,
      this.#bitmap.nextGroup(this.#pendingOffset, Math.floor(page / GROUP), this.#groups) * GROUP,
    );
  }

  /**
   * Takes pending pages from `firstPage` (a multiple of 32) on, at most `maxPages` data pages, and makes their RAM
   * records. Without `detectZero` every page is sent as data. Returns where to go on, and the batch.
   */
  takePages(options: { firstPage: number; maxPages: number; detectZero: boolean }): {
    nextPage: number;
    batch: PageBatch;
  } {
    const slots = this.#slots;
    slots[SLOT.HEADER_USED] = 0;
    slots[SLOT.IOV_COUNT] = 0;
    slots[SLOT.SEGMENT_START] = 0;
    slots[SLOT.NORMAL_PAGES] = 0;
    slots[SLOT.ZERO_PAGES] = 0;
    const headersBase = this.#scratchBase === 0 ? 0 : this.#scratchBase + HEADERS_OFFSET;
    const iov = this.#scratchOffset + IOV_OFFSET;
    const lastEntry = Math.min(IOV_MAX - 2 * GROUP - 1, options.maxPages * 2 - 2);
    // Records count like the pages that a rate limit allows.
    const headerBytes = Math.min(HEADERS_BYTES, Math.max(1, options.maxPages) * PAGE_SIZE) - GROUP_HEADER_BYTES;
    let group = options.firstPage / GROUP;
    for (;;) {
      group = this.#bitmap.nextGroup(this.#pendingOffset, group, this.#groups);
      if (group >= this.#groups) break;
      const mask = lowestBits(this.#pending[group]!, Math.max(1, options.maxPages - slots[SLOT.NORMAL_PAGES]!));
      const unwritten = options.detectZero ? mask & ~this.#written[group]! : 0;
      const zero = options.detectZero ? unwritten | this.#zerosOf(group, mask & ~unwritten) : 0;
      this.#bitmap.emit(this.#scratchOffset, iov, group, mask, zero, headersBase, this.#ramBase);
      this.#pending[group] = this.#pending[group]! & ~mask;
      if (this.#pending[group] !== 0) break;
      group += 1;
      if (slots[SLOT.IOV_COUNT]! > lastEntry || slots[SLOT.HEADER_USED]! > headerBytes) break;
    }
    this.#bitmap.finish(this.#scratchOffset, iov, headersBase);
    const batch = this.#batch();
    this.#pendingPages -= batch.normalPages + batch.zeroPages;
    return { nextPage: Math.min(group * GROUP, this.pageCount), batch };
  }

  /**
   * Takes pending pages from `firstPage` (a multiple of 32) on as masks of their groups of 32, at most `maxPages` data
   * pages (and a group's zero pages), for whoever knows where they go. Returns where to go on.
   */
  takeMasks(options: { firstPage: number; maxPages: number; detectZero: boolean }): PageMasks {
    const taken: PageMasks = { groups: [], dataPages: 0, zeroPages: 0, nextPage: this.pageCount };
    let group = options.firstPage / GROUP;
    while (taken.dataPages < options.maxPages && taken.groups.length < options.maxPages) {
      group = this.#bitmap.nextGroup(this.#pendingOffset, group, this.#groups);
      if (group >= this.#groups) return taken;
      const mask = lowestBits(this.#pending[group]!, options.maxPages - taken.dataPages);
      const unwritten = options.detectZero ? mask & ~this.#written[group]! : 0;
      const zero = options.detectZero ? unwritten | this.#zerosOf(group, mask & ~unwritten) : 0;
      this.#pending[group] = this.#pending[group]! & ~mask;
      taken.groups.push({ group, data: mask & ~zero, zero });
      taken.dataPages += bitCount(mask & ~zero);
      taken.zeroPages += bitCount(zero);
      this.#pendingPages -= bitCount(mask);
      if (this.#pending[group] === 0) group += 1;
    }
    taken.nextPage = Math.min(group * GROUP, this.pageCount);
    return taken;
  }

  /**
   * Takes pending pages from `firstPage` on as page numbers, at most `limit` (up to 128), for another thread to send.
   * Pages never written have UNWRITTEN_PAGE set. Returns how many there are in `into`, less than `limit` only at the end.
   */
  takeList(firstPage: number, limit: number, into: Uint32Array): number {
    const out = this.#scratchOffset + HEADERS_OFFSET;
    const count = this.#bitmap.takeList(
      this.#pendingOffset,
      this.#writtenOffset,
      firstPage,
      this.pageCount,
      limit,
      out,
    );
    into.set(new Uint32Array(this.share.bitmaps.buffer, out, count));
    this.#pendingPages -= count;
    return count;
  }

  /** The zero ones of the group's pages in `wanted`, which were pending until now. */
  #zerosOf(group: number, wanted: number): number {
    const { scout } = this;
    if (scout?.knows(group) === true) return scout.zerosOf(group) & wanted;
    const zeros = this.#pages.zeroMask(group * GROUP * PAGE_SIZE, wanted);
    scout?.found(zeros);
    return zeros;
  }

  /** True when the page holds nothing but zeros. */
  isZeroPage(page: number): boolean {
    const bit = 1 << (page % GROUP);
    return this.isUnwritten(page) || this.#pages.zeroMask((page - (page % GROUP)) * PAGE_SIZE, bit) !== 0;
  }

  /** Takes the zero pages out of a page list and makes their RAM records. Returns how many pages are left in the list. */
  splitZeroPages(list: Uint32Array, count: number): { left: number; zeros: PageBatch } {
    const slots = this.#slots;
    for (const slot of [SLOT.HEADER_USED, SLOT.IOV_COUNT, SLOT.SEGMENT_START, SLOT.NORMAL_PAGES, SLOT.ZERO_PAGES])
      slots[slot] = 0;
    const headersBase = this.#scratchBase === 0 ? 0 : this.#scratchBase + HEADERS_OFFSET;
    const iov = this.#scratchOffset + IOV_OFFSET;
    let left = 0;
    for (let start = 0, end = 0; start < count; start = end) {
      const group = (list[start]! & ~UNWRITTEN_PAGE) >>> 5;
      let [mask, unwritten] = [0, 0];
      for (end = start; end < count && (list[end]! & ~UNWRITTEN_PAGE) >>> 5 === group; end++) {
        const bit = 1 << (list[end]! & 31);
        mask |= bit;
        if (list[end]! >= UNWRITTEN_PAGE) unwritten |= bit;
      }
      const zero = unwritten | this.#pages.zeroMask(group * GROUP * PAGE_SIZE, mask & ~unwritten);
      this.#bitmap.emit(this.#scratchOffset, iov, group, zero, zero, headersBase, this.#ramBase);
      for (let at = start; at < end; at++) {
        if (((zero >>> (list[at]! & 31)) & 1) === 0) list[left++] = list[at]!;
      }
    }
    this.#bitmap.finish(this.#scratchOffset, iov, headersBase);
    return { left, zeros: this.#batch() };
  }

  #batch(): PageBatch {
    const slots = this.#slots;
    const normalPages = slots[SLOT.NORMAL_PAGES]!;
    const relativeBase = native === undefined ? 0 : 1;
    const entries = this.#entries;
    return {
      entryCount: slots[SLOT.IOV_COUNT]!,
      byteLength: slots[SLOT.HEADER_USED]! + normalPages * PAGE_SIZE,
      normalPages,
      zeroPages: slots[SLOT.ZERO_PAGES]!,
      iovAddress: this.#scratchBase === 0 ? 0 : this.#scratchBase + IOV_OFFSET,
      entries,
      view: (index) => {
        const isPage = index % 2 === 1;
        const base = relativeBase === 0 ? 0 : isPage ? this.#ramBase : this.#scratchBase + HEADERS_OFFSET;
        const start = Number(entries[index * 2]!) - base;
        const end = start + Number(entries[index * 2 + 1]!);
        return isPage
          ? this.bytes.subarray(start, end)
          : this.#scratch.subarray(HEADERS_OFFSET + start, HEADERS_OFFSET + end);
      },
    };
  }

  // ── destination side ───────────────────────────────────────────────────────────────────────────────────────────

  /** Address of the block's first byte for native reads; 0 without native calls. */
  get address(): number {
    return this.#ramBase;
  }

  /** True when nothing was ever stored in the page: it is zero without looking. */
  isUnwritten(page: number): boolean {
    const bits = this.#written[page >>> 5]! | Atomics.load(this.#dirty, page >>> 5);
    return ((bits >>> (page & 31)) & 1) === 0;
  }

  /** How many pages from `page` on, at most `limit`, were never written. */
  unwrittenRun(page: number, limit: number): number {
    const count = Math.min(limit, this.pageCount - page);
    if (count <= 0) return 0;
    const written = this.#bitmap.firstSet(this.#writtenOffset, page, count) - page;
    return this.#bitmap.firstSet(this.share.dirtyOffset, page, written) - page;
  }

  /** Records that `count` pages from `page` hold received data (the kernel or a copy stored it). */
  markLoaded(page: number, count: number): void {
    if (count === 1) this.#written[page >>> 5]! |= 1 << (page & 31);
    else this.#bitmap.setRange(this.#writtenOffset, page, count);
  }

  /** Stores one received page. */
  loadPage(page: number, data: Uint8Array): void {
    this.bytes.set(data, page * PAGE_SIZE);
    this.markLoaded(page, 1);
  }

  /** `count` received zero pages from `page` on: pages never written need nothing. */
  loadZeroPages(page: number, count: number): void {
    const end = page + count;
    for (let next = page; next < end; next++) {
      next += this.unwrittenRun(next, end - next);
      if (next < end) this.#pages.clear(next * PAGE_SIZE, PAGE_SIZE);
    }
  }

  /** Zeroes pages that a mispredicted read may have touched but that hold no data of their own. */
  scrub(page: number, count: number): void {
    this.#pages.clear(page * PAGE_SIZE, count * PAGE_SIZE);
  }

  /**
   * Gives the memory back at once: the garbage collector, which sees only small objects, may leave it for a long time.
   * Nothing may use the block afterwards, no thread either; its bytes are gone.
   */
  [Symbol.dispose](): void {
    native?.releasePages(this.bytes);
    native?.releasePages(new Uint8Array(this.share.bitmaps.buffer));
  }

  #check(offset: number, length: number): void {
    if (offset < 0 || offset + length > this.length) {
      throw new HarnessError('ram/out-of-range', { ramBlock: this.name, offset, length, blockLength: this.length });
    }
  }
}

function sharedMemory(pages: number, address: 'i32' | 'i64'): WebAssembly.Memory {
  // `address` is newer than the types; a 64-bit memory wants its sizes as bigint.
  const size = (address === 'i64' ? BigInt(pages) : pages) as unknown as number;
  return new WebAssembly.Memory({
    initial: size,
    maximum: size,
    shared: true,
    address,
  } as WebAssembly.MemoryDescriptor);
}
