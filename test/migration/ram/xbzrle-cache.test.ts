/** Deltas against what was sent (spec/wire.md §4.4): byte for byte those of the grammar's own encoder, and they decode. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { applyXbzrle } from '../../../src/migration/ram/xbzrle.ts';
import { XbzrleCache } from '../../../src/migration/ram/xbzrle-cache.ts';
import { StreamReader } from '../../../src/migration/transport/stream-reader.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { seeded } from '../../support/seeded.ts';
import { memorySource } from '../../support/stream-loading.ts';

const reader = new StreamReader(memorySource(new Uint8Array(0)));
const NOW = { age: 1, isLast: false };

/** The specification's encoder, byte by byte. */
function reference(before: Uint8Array, after: Uint8Array): number[] | 'identical' | 'overflow' {
  const out: number[] = [];
  const uleb = (value: number) => out.push(...(value < 0x80 ? [value] : [(value & 0x7f) | 0x80, value >> 7]));
  for (let at = 0; at < PAGE_SIZE; ) {
    if (out.length + 2 > PAGE_SIZE) return 'overflow';
    let end = at;
    while (end < PAGE_SIZE && before[end] === after[end]) end += 1;
    if (end === PAGE_SIZE) return out.length === 0 ? 'identical' : out;
    uleb(end - at);
    if (out.length + 2 > PAGE_SIZE) return 'overflow';
    at = end;
    while (end < PAGE_SIZE && before[end] !== after[end]) end += 1;
    uleb(end - at);
    if (out.length + end - at > PAGE_SIZE) return 'overflow';
    out.push(...after.subarray(at, end));
    at = end;
  }
  return out;
}

function changedPage(before: Uint8Array, seed: number, changes: number, longest: number): Uint8Array {
  const below = seeded(seed);
  const after = before.slice();
  for (let change = 0; change < changes; change++) {
    const start = below(PAGE_SIZE);
    const end = Math.min(PAGE_SIZE, start + 1 + below(longest));
    for (let at = start; at < end; at++) after[at] = below(256);
  }
  return after;
}

function expectAsReference(before: Uint8Array, after: Uint8Array): void {
  const cache = new XbzrleCache({ bytes: 65_536n, ramPages: 16 });
  expect(cache.lookUp(3, before, NOW).kind).toBe('miss');
  const found = cache.lookUp(3, after, NOW);
  const wanted = reference(before, after);
  if (typeof wanted === 'string' || found.kind !== 'delta') {
    expect(found.kind).toBe(wanted);
    return;
  }
  expect(Buffer.from(found.delta).toString('hex')).toBe(Buffer.from(wanted).toString('hex'));
  const page = before.slice();
  applyXbzrle(page, found.delta, { reader, at: 0 });
  expect(Buffer.compare(page, after)).toBe(0);
}

test('any change encodes as the specification says, and decodes', () => {
  const sizes = [1, 2, 16, 17, 300, PAGE_SIZE];
  fc.assert(
    fc.property(fc.nat(), fc.nat(700), fc.constantFrom(...sizes), (seed, changes, longest) => {
      const before = changedPage(new Uint8Array(PAGE_SIZE), seed, 200, 40);
      expectAsReference(before, changedPage(before, seed + 1, changes, longest));
    }),
    { numRuns: 300 },
  );
});

describe('at the edges', () => {
  const page = (...changes: readonly (readonly [number, number])[]) => {
    const bytes = new Uint8Array(PAGE_SIZE);
    for (const [from, to] of changes) bytes.fill(0xff, from, to);
    return bytes;
  };
  test.for([
    ['nothing', page()],
    ['everything', page([0, PAGE_SIZE])],
    ['the first byte', page([0, 1])],
    ['the last byte', page([PAGE_SIZE - 1, PAGE_SIZE])],
    ['128 bytes, whose length takes two', page([500, 628])],
    ['from one 64-byte word to the next', page([63, 65], [127, 193])],
    ['all but four bytes: the longest delta there is', page([4, PAGE_SIZE])],
    ['all but three', page([3, PAGE_SIZE])],
    ['every other byte', page(...Array.from({ length: 2048 }, (_, at) => [at * 2, at * 2 + 1] as const))],
  ] as const)('%s', ([, after]) => {
    expectAsReference(new Uint8Array(PAGE_SIZE), after);
  });
});

describe('the cache', () => {
  const content = (value: number) => new Uint8Array(PAGE_SIZE).fill(value);

  test('keeps a page until two syncs went by without it, then gives its slot to another', () => {
    const cache = new XbzrleCache({ bytes: BigInt(PAGE_SIZE), ramPages: 8 }); // one slot
    expect(cache.lookUp(0, content(1), { age: 5, isLast: false }).kind).toBe('miss');
    expect(cache.lookUp(1, content(2), { age: 6, isLast: false }).kind).toBe('miss'); // refused: page 0 is too young
    expect(cache.lookUp(0, content(1), { age: 6, isLast: false }).kind).toBe('identical'); // and young again
    expect(cache.lookUp(1, content(2), { age: 7, isLast: false }).kind).toBe('miss');
    expect(cache.lookUp(1, content(2), { age: 8, isLast: false }).kind).toBe('miss'); // now it took the slot
    expect(cache.lookUp(1, content(2), { age: 8, isLast: false }).kind).toBe('identical');
    expect(cache.lookUp(0, content(1), { age: 8, isLast: false }).kind).toBe('miss');
  });

  test('keeps what was sent, in the last stage what was sent before', () => {
    const cache = new XbzrleCache({ bytes: 65_536n, ramPages: 8 });
    cache.lookUp(2, content(1), NOW);
    expect(cache.lookUp(2, content(2), { age: 2, isLast: true }).kind).toBe('overflow');
    expect(cache.current[0]).toBe(2);
    expect(cache.lookUp(2, content(1), { age: 2, isLast: false }).kind).toBe('identical');
    expect(cache.lookUp(7, content(1), { age: 2, isLast: true }).kind).toBe('miss');
    expect(cache.lookUp(7, content(1), { age: 2, isLast: true }).kind).toBe('miss');
    cache.insertZero(2, 3);
    expect(cache.lookUp(2, content(0), { age: 3, isLast: false }).kind).toBe('identical');
  });
});
