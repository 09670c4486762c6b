/**
 * A RAM block as threads see it that send and receive pages: its bytes, and a kernel for the packets of one of them. In the bitmap
 * of written pages several may set bits at once.
 */

import { assert } from '../base/assert.ts';
import { loadKernel } from '../threads/kernel.ts';
import type { BitmapKernel, PacketsKernel, PagesKernel } from '../threads/kernel-exports.ts';
import { native } from '../threads/native.ts';
import type { PinnedBytes } from '../threads/segments.ts';
import type { RamShare } from './ram.ts';

/** One thread's view of a block. */
export class RamWindow implements PinnedBytes {
  readonly name: string;
  readonly length: number;
  readonly bytes: Uint8Array;
  readonly address: number;
  /** Where in the bitmaps' memory those of dirty pages and of written ones are, for kernels. */
  readonly dirtyOffset: number;
  readonly writtenOffset: number;
  readonly #bitmap: BitmapKernel;
  readonly #pages: PagesKernel;

  constructor(share: RamShare) {
    this.name = share.name;
    this.length = share.length;
    this.bytes = new Uint8Array(share.memory.buffer, 0, share.length);
    this.address = native?.addressOf(this.bytes) ?? 0;
    this.dirtyOffset = share.dirtyOffset;
    this.writtenOffset = share.writtenOffset;
    this.#bitmap = loadKernel('bitmap', share.bitmaps);
    this.#pages = loadKernel('pages', share.memory, share.address);
  }

  /** A kernel for the packets in `memory`, which finds this block's zero pages, and stores and marks what arrived. */
  packetsKernel(memory: WebAssembly.Memory): PacketsKernel {
    const { zeroMask, clear } = this.#pages;
    const { firstSet, markRange } = this.#bitmap;
    return loadKernel('packets', memory, 'i32', { ram: { zeroMask, clear }, bitmap: { firstSet, markRange } });
  }

  /** Records that pages hold received data, or may hold some from now on: call it before storing. */
  markLoaded(page: number, count: number): void {
    this.#bitmap.markRange(this.writtenOffset, page, count);
  }
}

/** All blocks of a machine, as one thread sees them. */
export class RamWindows {
  readonly #byName: ReadonlyMap<string, RamWindow>;

  constructor(ram: readonly RamShare[]) {
    this.#byName = new Map(ram.map((share) => [share.name, new RamWindow(share)]));
  }

  /** Those with these names, in this order. */
  named(names: readonly string[]): RamWindow[] {
    return names.map((name) => {
      const window = this.#byName.get(name);
      assert(window !== undefined, `the machine has a RAM block '${name}'`);
      return window;
    });
  }
}
