import { expect, test } from 'vitest';
import { pick } from '../../../src/hw/guest/prng.ts';

test('draws follow from seed and counter alone', () => {
  expect(pick(1, 1000, 1 << 22)).toBe(pick(1, 1000, 1 << 22));
  expect(pick(1, 1000, 1 << 22)).not.toBe(pick(2, 1000, 1 << 22));
  expect(pick(1, 1000, 1 << 22)).not.toBe(pick(1, 1000 + 2 ** 32, 1 << 22));
});

test('draws are spread evenly and stay below the limit', () => {
  const bins = new Array<number>(100).fill(0);
  for (let n = 0; n < 100_000; n += 1) bins[pick(42, n, 100)]! += 1;
  // Chi-square with 99 degrees of freedom: 160 is beyond one in ten thousand, and the seed is fixed.
  const chiSquare = bins.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
  expect(chiSquare).toBeLessThan(160);
  expect(bins).toHaveLength(100);
});
