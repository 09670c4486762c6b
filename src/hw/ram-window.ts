/**
 * A RAM block as threads see it that send and receive pages: its bytes, the zero scan, and the bitmap of written pages,
 * which several of them may set bits in at once.
 */

import { loadKernel } from '../threads/kernel.ts';
import type { PagesKernel } from '../threads/kernel-exports.ts';
import { native } from '../threads/native.ts';
import type { PinnedBytes } from '../threads/segments.ts';
import { PAGE_SIZE } from '../wire/ram.ts';
import type { RamShare } from './ram.ts';

/** One thread's view of a block. */
export class RamWindow implements PinnedBytes {
  readonly name: string;
  readonly length: number;
  readonly bytes: Uint8Array;
  readonly address: number;
  readonly #dirty: Int32Array;
  readonly #written: Int32Array;
  readonly #pages: PagesKernel;

  constructor(share: RamShare) {
    this.name = share.name;
    this.length = share.length;
    this.bytes = new Uint8Array(share.memory.buffer, 0, share.length);
    this.address = native?.addressOf(this.bytes) ?? 0;
    const words = Math.ceil(share.length / PAGE_SIZE / 32);
    this.#dirty = new Int32Array(share.bitmaps.buffer, share.dirtyOffset, words);
    this.#written = new Int32Array(share.bitmaps.buffer, share.writtenOffset, words);
    this.#pages = loadKernel('pages', share.memory, share.address);
  }

  /** Of the 32 pages from `firstPage` on, tests those whose bit is set in `wanted`; the bits of the all-zero ones. */
  zeroMask(firstPage: number, wanted: number): number {
    return this.#pages.zeroMask(firstPage * PAGE_SIZE, wanted);
  }

  /** Records that a page holds received data, or may hold some from now on: call it before storing. */
  markLoaded(page: number): void {
    Atomics.or(this.#written, page >>> 5, 1 << (page & 31));
  }

  /** A received zero page: one never written needs nothing. */
  loadZeroPage(page: number): void {
    const word = page >>> 5;
    const bits = Atomics.load(this.#written, word) | Atomics.load(this.#dirty, word);
    if (((bits >>> (page & 31)) & 1) === 1) this.#pages.clear(page * PAGE_SIZE, PAGE_SIZE);
  }
}
