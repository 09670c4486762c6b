/** The cursor over an incoming stream: fields across chunks, places in errors, bytes put back, a full staging buffer. */

import { describe, expect, test } from 'vitest';
import { HarnessError, isHarnessError } from '../../../src/base/errors.ts';
import type { ByteSource } from '../../../src/migration/transport/channel.ts';
import { StreamReader, stagingBuffer } from '../../../src/migration/transport/stream-reader.ts';
import { memorySource } from '../../support/stream-loading.ts';

const STAGING_BYTES = stagingBuffer().bytes.length;

const fromHex = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

test.for([1, 2, 3, 100])('fields are big-endian and may lie across chunks of %i bytes', async (size) => {
  const bytes = fromHex('12 1234 89abcdef fedcba9876543210 03 72 61 ff aabbcc');
  const reader = new StreamReader(memorySource(bytes, () => size));
  expect(await reader.u8('a')).toBe(0x12);
  expect(await reader.u16('b')).toBe(0x1234);
  expect(await reader.u32('c')).toBe(0x89ab_cdef);
  expect(await reader.u64('d')).toBe(0xfedc_ba98_7654_3210n);
  expect(await reader.text8('e')).toBe('ra\u00ff');
  expect(toHex(await reader.bytes(3, 'f'))).toBe('aabbcc');
  expect(reader.offset).toBe(bytes.length);
  expect(await reader.fill()).toBe(false);
});

describe('the end of the stream inside a field', () => {
  test.for([
    ['u8', '', 0],
    ['u16', '01', 0],
    ['u32', '010203', 0],
    ['u64', '01020304050607', 0],
    ['text8', '', 0],
    ['text8', '05 616263', 4],
  ] as const)('%s of %s', async ([method, hex, at]) => {
    const reader = new StreamReader(memorySource(fromHex(hex)), { offset: 1000 });
    reader.section = 'a section';
    const error = await errorOf(reader[method]('a field'));
    if (!isHarnessError(error, 'stream/truncated')) throw error;
    expect(error.details).toMatchObject({ at: 1000 + at, section: 'a section' });
    expect(error.details.field).toContain('a field');
  });

  test('bytes says how many are missing', async () => {
    const reader = new StreamReader(memorySource(fromHex('aabb')));
    const error = await errorOf(reader.bytes(10, 'a field'));
    if (!isHarnessError(error, 'stream/truncated')) throw error;
    expect(error.details).toMatchObject({ at: 2, needed: 8, available: 0 });
  });
});

test('an error of the source is not taken for the end of the stream', async () => {
  const source: ByteSource = {
    readv: undefined,
    read: async () => {
      throw new HarnessError('transport/closed', { uri: 'memory:', at: 0, why: 'reset' });
    },
  };
  for (const read of [(reader: StreamReader) => reader.bytes(3, 'a'), (reader: StreamReader) => reader.u32('a')]) {
    expect(isHarnessError(await errorOf(read(new StreamReader(source))), 'transport/closed')).toBe(true);
  }
});

test('bytes that were put back come next, once', async () => {
  const reader = new StreamReader(memorySource(fromHex('0102 0708')));
  expect(await reader.u16('a')).toBe(0x0102);
  expect(await reader.u16('b')).toBe(0x0708);
  reader.pushBack([fromHex('0304'), fromHex(''), fromHex('05')]);
  expect(reader.offset).toBe(4); // what was put back was not counted as consumed
  expect({ available: reader.available, first: reader.peekU8(0), last: reader.peekU8(2) }).toEqual({
    available: 3,
    first: 3,
    last: 5,
  });
  expect(toHex(await reader.bytes(3, 'c'))).toBe('030405');
  expect(await reader.fill()).toBe(false);
});

test('a field longer than a chunk stays whole when the staging buffer is used up again and again', async () => {
  const words = (STAGING_BYTES * 2.5) / 8;
  const bytes = new Uint8Array(words * 8 + 3);
  const view = new DataView(bytes.buffer);
  bytes.set([1, 2, 3]);
  for (let n = 0; n < words; n++) view.setUint32(3 + n * 8 + 4, n);
  // Chunks that never end with a word: something is always left when the next chunk comes.
  const reader = new StreamReader(memorySource(bytes, () => 65_534));
  await reader.bytes(3, 'head');
  let wrong = 0;
  for (let n = 0; n < words; n++) {
    if (reader.available < 8) await reader.need(8, 'word');
    if (reader.peekU32(4) !== n) wrong += 1;
    reader.skipStaged(8);
  }
  expect(wrong).toBe(0);
  expect(reader.offset).toBe(bytes.length);
});

test('more than the staging buffer holds can be read at once', async () => {
  const bytes = new Uint8Array(STAGING_BYTES + 12_345).map((_, at) => at % 251);
  const reader = new StreamReader(memorySource(bytes));
  await reader.need(STAGING_BYTES, 'all that fits');
  expect(Buffer.compare(await reader.bytes(bytes.length, 'everything'), bytes)).toBe(0);
});

test('readers may use one staging buffer in turn', async () => {
  const staging = stagingBuffer();
  const first = new StreamReader(memorySource(fromHex('0102030405')), { staging });
  expect(await first.u32('a')).toBe(0x0102_0304);
  const second = new StreamReader(memorySource(fromHex('0a0b')), { staging });
  expect(await second.u16('b')).toBe(0x0a0b);
});
