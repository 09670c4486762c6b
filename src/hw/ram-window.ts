/**
 * A RAM block as threads see it that send and receive pages: its bytes, the zero scan, and the bitmap of written pages,
 * which several of them may set bits in at once.
 */

import { loadKernel } from '../threads/kernel.ts';
import type { BitmapKernel, PacketsKernel, PagesKernel } from '../threads/kernel-exports.ts';
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
  readonly #dirtyOffset: number;
  readonly #writtenOffset: number;
  readonly #bitmap: BitmapKernel;
  readonly #pages: PagesKernel;

  constructor(share: RamShare) {
    this.name = share.name;
    this.length = share.length;
    this.bytes = new Uint8Array(share.memory.buffer, 0, share.length);
    this.address = native?.addressOf(this.bytes) ?? 0;
    this.#dirtyOffset = share.dirtyOffset;
    this.#writtenOffset = share.writtenOffset;
    this.#bitmap = loadKernel('bitmap', share.bitmaps);
    this.#pages = loadKernel('pages', share.memory, share.address);
  }

  /** A kernel for the packets in `memory`, which finds this block's zero pages. */
  packetsKernel(memory: WebAssembly.Memory): PacketsKernel {
    return loadKernel('packets', memory, 'i32', { ram: { zeroMask: this.#pages.zeroMask } });
  }

  /** Records that pages hold received data, or may hold some from now on: call it before storing. */
  markLoaded(page: number, count: number): void {
    this.#bitmap.markRange(this.#writtenOffset, page, count);
  }

  /** `count` received zero pages from `page` on: pages never written need nothing. */
  loadZeroPages(page: number, count: number): void {
    const end = page + count;
    for (let next = page; next < end; next++) {
      const unwritten = this.#bitmap.firstSet(this.#writtenOffset, next, end - next) - next;
      next = this.#bitmap.firstSet(this.#dirtyOffset, next, unwritten);
      if (next < end) this.#pages.clear(next * PAGE_SIZE, PAGE_SIZE);
    }
  }
}
