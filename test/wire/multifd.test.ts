import { expect, test } from 'vitest';
import {
  MULTIFD_HELLO,
  MULTIFD_MAGIC,
  PACKET_START,
  RAM_PACKET_BYTES,
  RAM_PACKET_OFFSET,
  RAM_PACKET_REST,
} from '../../src/wire/multifd.ts';
import { recordedStream } from '../support/recorded-stream.ts';

test('a greeting has 64 bytes, the table of a RAM packet begins at 320 and its data at 1344', () => {
  expect(MULTIFD_HELLO.size).toBe(64);
  expect(PACKET_START.size + RAM_PACKET_REST.size).toBe(RAM_PACKET_OFFSET.TABLE);
  expect(RAM_PACKET_BYTES).toBe(1344);
});

test('a recorded greeting decodes to what was recorded, and encodes to the same bytes', () => {
  const recorded = recordedStream('none-4m-validate-uuid.mfd0').slice(0, 64);
  const greeting = MULTIFD_HELLO.decode(recorded);
  expect(greeting).toMatchObject({ magic: MULTIFD_MAGIC, version: 1, id: 0 });
  expect(Buffer.from(greeting.uuid).toString('hex')).toBe('112233445566778899aabbccddeeff00');
  expect(Buffer.from(MULTIFD_HELLO.encode(greeting))).toEqual(Buffer.from(recorded));
});
