/** One packet's data through the receiving end of a compression, into RAM of its own. */

import { RamBlock } from '../../src/hw/ram.ts';
import { RamWindow } from '../../src/hw/ram-window.ts';
import type { PageDecompressor } from '../../src/migration/multifd/compression.ts';
import { pinned } from '../../src/threads/segments.ts';
import { PAGE_SIZE } from '../../src/wire/ram.ts';

/** The pages that `data` becomes when a packet has so many of them. Throws what the decompressor throws. */
export function expandPages(decompressor: PageDecompressor, data: Uint8Array, pages: number): Buffer {
  const block = RamBlock.create({ name: 'ram', length: pages * PAGE_SIZE });
  const input = pinned(data.length);
  input.bytes.set(data);
  const runs = { runCount: 1, totalPages: pages, firstPage: () => 0, pageCount: () => pages };
  decompressor.expand(input, data.length, new RamWindow(block.share), runs);
  return Buffer.from(block.bytes);
}
