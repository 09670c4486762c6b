import { expect, test } from 'vitest';
import { RamBlock } from '../../src/hw/ram.ts';
import { native } from '../../src/threads/native.ts';

const BYTES = 128 << 20;

test.skipIf(native === undefined)('a disposed block gives its memory back at once, not when it is collected', () => {
  const block = RamBlock.create({ name: 'ram', length: BYTES });
  const before = process.memoryUsage.rss();
  block.bytes.fill(1);
  const filled = process.memoryUsage.rss();
  expect(filled - before).toBeGreaterThan(BYTES * 0.9);
  block[Symbol.dispose]();
  expect(filled - process.memoryUsage.rss()).toBeGreaterThan(BYTES * 0.9);
  expect(block.length).toBe(BYTES); // it was alive all the time
});
