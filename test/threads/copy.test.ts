import { describe, expect, test } from 'vitest';
import { copyBytes, copyPinned } from '../../src/threads/copy.ts';
import { pinned } from '../../src/threads/segments.ts';

/** Shorter and longer than what is libc's to copy. */
const LENGTHS = [0, 1, 100, 2047, 2048, 2049, 4096, 100_000];
const GAP = 64;

describe('a copy between shared memories', () => {
  const source = pinned(200_000);
  source.bytes.forEach((_, at) => {
    source.bytes[at] = (at * 7 + (at >> 8)) & 0xff;
  });

  test.each(LENGTHS)('has the same %i bytes and touches no others, aligned or not', (length) => {
    for (const toAt of [0, 1, 4, 8, 13]) {
      for (const fromAt of [0, 1, 4, 8, 28]) {
        const expected = new Uint8Array(length + GAP);
        expected.set(source.bytes.subarray(fromAt, fromAt + length), toAt);
        const to = pinned(length + GAP);
        copyPinned(to, toAt, source, fromAt, length);
        expect(Buffer.compare(to.bytes, expected)).toBe(0);
        const view = pinned(length + GAP).bytes;
        copyBytes(view.subarray(toAt), source.bytes.subarray(fromAt, fromAt + length));
        expect(Buffer.compare(view, expected)).toBe(0);
      }
    }
  });

  test('works without addresses', () => {
    const to = { bytes: new Uint8Array(5000), address: 0 };
    copyPinned(to, 3, { bytes: source.bytes, address: 0 }, 1, 4096);
    expect(Buffer.compare(to.bytes.subarray(3, 4099), source.bytes.subarray(1, 4097))).toBe(0);
  });

  test('is refused where there is too little room, whatever its length', () => {
    for (const length of [100, 4096]) {
      const to = pinned(length - 1).bytes;
      expect(() => copyBytes(to, source.bytes.subarray(0, length))).toThrow(RangeError);
    }
  });
});
