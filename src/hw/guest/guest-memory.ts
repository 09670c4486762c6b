/**
 * A guest's window on RAM: page operations on its region that store first and then set the dirty bits (in this order a
 * concurrent harvest can only resend a page, never lose it). Page numbers count from the region's start.
 */

import { HarnessError } from '../../base/errors.ts';
import { loadKernel } from '../../threads/kernel.ts';
import type { BitmapKernel, GuestKernel } from '../../threads/kernel-exports.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { RamShare } from '../ram.ts';
import { GuestHeader, type GuestIdentity } from './guest-header.ts';
import type { GuestRegion } from './guest-program.ts';

/** Pages `clearBytes` looks at in one call of the kernel. */
const CLEAR_PAGES = 32;

/** The region of one guest. One per vCPU thread. */
export class GuestMemory {
  readonly pageCount: number;
  readonly #header: GuestHeader;
  readonly #startByte: number;
  readonly #firstPage: number;
  readonly #dirtyOffset: number;
  readonly #pages: GuestKernel;
  readonly #bitmap: BitmapKernel;

  constructor(ram: RamShare, region: GuestRegion) {
    this.pageCount = region.sizeBytes / PAGE_SIZE;
    this.#header = new GuestHeader(new Uint8Array(ram.memory.buffer, region.startByte, PAGE_SIZE));
    this.#startByte = region.startByte;
    this.#firstPage = region.startByte / PAGE_SIZE;
    this.#dirtyOffset = ram.dirtyOffset;
    this.#pages = loadKernel('guest', ram.memory, ram.address);
    this.#bitmap = loadKernel('bitmap', ram.bitmaps);
  }

  /** Adds one to the first byte of each page. */
  sweep(page: number, count: number): void {
    this.#pages.sweep(this.#startByte + page * PAGE_SIZE, count);
    this.#bitmap.markRange(this.#dirtyOffset, this.#firstPage + page, count);
  }

  /** Makes the first byte of each page 0; pages where it is 0 already are neither written nor marked. */
  clearFirstBytes(page: number, count: number): void {
    for (let done = 0; done < count; done += CLEAR_PAGES) {
      const first = page + done;
      let changed = this.#pages.clearBytes(this.#startByte + first * PAGE_SIZE, Math.min(CLEAR_PAGES, count - done));
      while (changed !== 0) {
        const bit = 31 - Math.clz32(changed & -changed);
        changed &= changed - 1;
        this.#bitmap.mark(this.#dirtyOffset, this.#firstPage + first + bit);
      }
    }
  }

  /** Fills the first `length` bytes (a multiple of 16) of a page with the pair (n, ~n). */
  stamp(page: number, n: number, length: number): void {
    this.#pages.stamp(this.#startByte + page * PAGE_SIZE, n, length);
    this.#bitmap.mark(this.#dirtyOffset, this.#firstPage + page);
  }

  /** The first byte of a page. */
  firstByte(page: number): number {
    return this.#pages.peek(this.#startByte + page * PAGE_SIZE);
  }

  /** True when a guest of this identity set the region up. */
  isReady(identity: GuestIdentity): boolean {
    return this.#header.matches(identity);
  }

  /** Records that the region is set up for this identity, with no write made yet. */
  setReady(identity: GuestIdentity): void {
    this.#header.initialize(identity);
    this.#bitmap.mark(this.#dirtyOffset, this.#firstPage);
  }

  /** Records that the region is not set up; the rest of it may then be in any state. */
  setUnready(): void {
    this.#header.erase();
    this.#bitmap.mark(this.#dirtyOffset, this.#firstPage);
  }

  /** The number of writes recorded in the header. Throws `thread/failed` when the record is torn: going on would hide it. */
  readCount(): number {
    const { count } = this.#header;
    if (count === undefined)
      throw new HarnessError('thread/failed', { thread: 'guest', why: 'the count of writes in its RAM is torn' });
    return count;
  }

  /** Records the number of writes. */
  writeCount(count: number): void {
    this.#header.setCount(count);
    this.#bitmap.mark(this.#dirtyOffset, this.#firstPage);
  }
}
