/** The benchmarks as a set: they load, their rows can be chosen, they are documented; and the numbers they rest on. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { BENCHES } from '../../bench/benches.ts';
import { CONTENTS, type ContentName, sampleOf } from '../../bench/support/content.ts';
import { mannWhitneyP, spreadOf } from '../../bench/support/statistics.ts';
import { PAGE_SIZE } from '../../src/wire/ram.ts';

const README = readFileSync(new URL('../../bench/README.md', import.meta.url), 'utf8');

describe.each(Object.keys(BENCHES))('benchmark %s', (name) => {
  test('has rows of different names, and a line in the README', async () => {
    const bench = await BENCHES[name]?.();
    expect(bench?.rows.length).toBeGreaterThan(0);
    expect(new Set(bench?.rows).size).toBe(bench?.rows.length);
    expect(README).toContain(`| \`${name}\` |`);
  });
});

describe('RAM contents', () => {
  test('are the same for the same seed and others for another', () => {
    const hash = (seed: number) => createHash('sha256').update(sampleOf('guest', seed)).digest('hex');
    expect(hash(1)).toBe(hash(1));
    expect(hash(2)).not.toBe(hash(1));
  });

  test.each(['random', 'zero', 'text', 'guest'] as const)('%s has the share of zero pages that it says', (name) => {
    expect(zeroShare(name)).toBeCloseTo(CONTENTS[name].zero, 0.7); // within 0.1: runs of pages are long
  });
});

describe('statistics', () => {
  test('quartiles are interpolated', () => {
    expect(spreadOf([4, 1, 3, 2])).toEqual({ min: 1, q1: 1.75, median: 2.5, q3: 3.25, max: 4 });
  });

  const hasTest = mannWhitneyP([1], [1]) !== undefined;
  test.skipIf(!hasTest)('samples that do not overlap are told apart, equal ones are not', () => {
    const [low, high] = [
      [10, 11, 12, 13, 14, 15, 16],
      [20, 21, 22, 23, 24, 25, 26],
    ] as const;
    expect(mannWhitneyP(low, high)).toBeLessThan(0.01);
    expect(mannWhitneyP(low, low)).toBeGreaterThan(0.5);
  });
});

function zeroShare(name: ContentName): number {
  const bytes = sampleOf(name, 1);
  const zero = Buffer.alloc(PAGE_SIZE);
  let zeroPages = 0;
  for (let offset = 0; offset < bytes.length; offset += PAGE_SIZE) {
    if (bytes.subarray(offset, offset + PAGE_SIZE).equals(zero)) zeroPages += 1;
  }
  return zeroPages / (bytes.length / PAGE_SIZE);
}
