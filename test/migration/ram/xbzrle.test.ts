/** XBZRLE deltas by the rules of spec/wire.md §4.4. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../../src/base/errors.ts';
import { applyXbzrle } from '../../../src/migration/ram/xbzrle.ts';
import { StreamReader } from '../../../src/migration/transport/stream-reader.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { memorySource } from '../../support/stream-loading.ts';

const reader = new StreamReader(memorySource(new Uint8Array(0)));
const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

function apply(hex: string, page = new Uint8Array(PAGE_SIZE).fill(0xee)): Uint8Array {
  applyXbzrle(page, bytes(hex), { reader, at: 1000 });
  return page;
}

/** Runs of a page that are not `0xee`, as `offset: hex`. */
function changes(page: Uint8Array): string[] {
  const found: string[] = [];
  for (let at = 0; at < page.length; ) {
    let end = at;
    while (end < page.length && page[end] !== 0xee) end += 1;
    if (end > at) found.push(`${at}: ${Buffer.from(page.subarray(at, end)).toString('hex')}`);
    at = end + 1;
  }
  return found;
}

test.for([
  ['an empty delta changes nothing', '', []],
  ['new bytes at the start after a zero run of 0', '00 03 010203', ['0: 010203']],
  ['new bytes further on', '05 01 aa', ['5: aa']],
  ['several runs', '02 01 aa  03 02 bbcc', ['2: aa', '6: bbcc']],
  ['lengths of two bytes', '80 01 01 aa  ff 0f 01 bb', ['128: aa', `${129 + 2047}: bb`]],
  ['lengths longer than they need be', '85 00 81 00 aa', ['5: aa']],
  ['the last byte of the page', 'ff 1f 01 aa', ['4095: aa']],
] as const)('%s', ([, hex, expected]) => {
  expect(changes(apply(hex))).toEqual(expected);
});

test('a whole page of new bytes', () => {
  const page = apply(`00 80 20 ${'11'.repeat(PAGE_SIZE)}`);
  expect(page.every((byte) => byte === 0x11)).toBe(true);
});

describe('refused, with the offset in the stream', () => {
  test.for([
    ['a lone byte', '05', 1000],
    ['a trailing lone byte', '02 01 aa 03', 1003],
    ['a zero run alone', '02 80', 1001],
    ['a run of new bytes cut after its length', '00 02 aa', 1002],
    ['one byte left for a run of new bytes', '80 01 05', 1002],
    ['an empty run of new bytes', '01 00 00', 1002],
    ['an inner zero run of 0', '01 01 aa 00 01 bb', 1004],
    ['a first zero run of 0 spelled with two bytes is fine, but not an inner one', '80 00 01 aa 80 00 01 bb', 1006],
    ['a zero run past the page', '81 20 01 aa', 1002],
    ['new bytes past the page', 'ff 1f 02 aabb', 1003],
    ['new bytes past the delta', '00 05 aabb', 1002],
    ['a length of three bytes', '80 80 01 01 aa', 1002],
  ] as const)('%s', ([, hex, at]) => {
    let error: unknown;
    try {
      apply(hex);
    } catch (caught) {
      error = caught;
    }
    if (!isHarnessError(error, 'stream/bad-value')) throw error ?? new Error('it was applied');
    expect(error.details).toMatchObject({ at, field: 'xbzrle delta' });
  });
});

test('any delta is applied or refused, and never reaches beyond the page', () => {
  const guarded = new Uint8Array(PAGE_SIZE * 3);
  const delta = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    fc
      .array(fc.tuple(fc.integer({ min: 0, max: 0x7f }), fc.uint8Array({ minLength: 1, maxLength: 0x7f })), {
        maxLength: 80,
      })
      .map((runs) => Buffer.concat(runs.map(([zero, literal]) => Buffer.from([zero, literal.length, ...literal])))),
  );
  fc.assert(
    fc.property(delta, (bytesOfDelta) => {
      guarded.fill(0);
      try {
        applyXbzrle(guarded.subarray(PAGE_SIZE, 2 * PAGE_SIZE), bytesOfDelta, { reader, at: 0 });
      } catch (error) {
        if (!isHarnessError(error, 'stream/bad-value')) throw error;
      }
      const outside = [guarded.subarray(0, PAGE_SIZE), guarded.subarray(2 * PAGE_SIZE)];
      return outside.every((page) => page.every((byte) => byte === 0));
    }),
    { numRuns: 300, seed: 4 },
  );
});
