/**
 * A process of its own: touches as many bytes of fresh memory as it is told, with huge pages where they are, and ends.
 * A machine that is itself a guest gives freed memory back to its host after a while, and getting it again costs ten
 * times a page fault; what this process freed is still there for whoever comes next.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { RamBlock } from '../../src/hw/ram.ts';
import { PAGE_SIZE } from '../../src/wire/ram.ts';

const HOLD_MS = 2500;
const LARGEST_BLOCK_BYTES = 1024 ** 3;

const bytes = Number(process.argv[2]);
// Kept, so that no block's memory is freed for the next one to take.
const blocks: RamBlock[] = [];
for (let left = bytes; left > 0; left -= LARGEST_BLOCK_BYTES) {
  const length = Math.min(left, LARGEST_BLOCK_BYTES);
  const block = RamBlock.create({ name: 'warm-up', length });
  blocks.push(block);
  for (let offset = 0; offset < length; offset += PAGE_SIZE) block.bytes[offset] = 1;
}
// Linux tells the host of freed memory two seconds after the first of it was freed. Outlasting a round that others'
// frees have already set going leaves all of the two seconds to whoever comes next.
await delay(HOLD_MS);
console.log(`touched ${blocks.length} blocks`);
