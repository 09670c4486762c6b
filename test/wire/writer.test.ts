/** The big-endian writer. */

import { expect, test } from 'vitest';
import { ByteWriter } from '../../src/wire/writer.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test('integers are big-endian and wrap to their size', () => {
  const writer = new ByteWriter().u8(0x12).u16(0x1234).u32(0x89ab_cdef).u64(0x0123_4567_89ab_cdefn);
  expect(writer.length).toBe(15);
  expect(hex(writer.take())).toBe('12 1234 89abcdef 0123456789abcdef'.replaceAll(' ', ''));
  expect(hex(new ByteWriter().u64(-1n).take())).toBe('ff'.repeat(8));
});

test('text has one length byte and counts bytes, not characters', () => {
  expect(hex(new ByteWriter().text8('ram').text8('').text8('é').take())).toBe('0372616d 00 02c3a9'.replaceAll(' ', ''));
});

test('it grows as needed and keeps what it has', () => {
  const writer = new ByteWriter();
  const expected: number[] = [];
  for (let n = 0; n < 100; n++) {
    const piece = new Uint8Array(n).fill(n);
    writer.bytes(piece).u8(n);
    expected.push(...piece, n);
  }
  writer.bytes(new Uint8Array(100_000)).u32(7);
  expect(hex(writer.take())).toBe(`${hex(Uint8Array.from(expected))}${'00'.repeat(100_000)}00000007`);
});

test('what was taken is a copy, and the writer starts over', () => {
  const writer = new ByteWriter().u32(1);
  const first = writer.take();
  expect(hex(writer.u32(2).take())).toBe('00000002');
  expect(hex(first)).toBe('00000001');
  expect(writer.length).toBe(0);
  expect(hex(writer.take())).toBe('');
});
