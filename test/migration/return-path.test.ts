/** Return-path messages, spec/wire.md §3: what a source takes, and what makes its migration fail. */

import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../src/base/errors.ts';
import { ReturnPathWriter, readReturnPath } from '../../src/migration/return-path.ts';
import { RETURN_PATH, type ReturnPathName } from '../../src/wire/stream.ts';
import { MemorySink, memorySource } from '../support/stream-loading.ts';

const BLOCKS = [
  { name: 'ram', length: 0x100000 },
  { name: 'rom', length: 0x1000 },
];
const SHUT = '0001 0004 00000000';
const RAM = '03 72616d';
const ask = (block: string, start: string, length: string) =>
  `0003 ${(12 + block.replaceAll(' ', '').length / 2).toString(16).padStart(4, '0')} ${start} ${length} ${block}`;

async function read(hex: string, chunkBytes?: number): Promise<string[]> {
  const heard: string[] = [];
  await readReturnPath({
    source: memorySource(
      Buffer.from(hex.replaceAll(' ', ''), 'hex'),
      chunkBytes === undefined ? undefined : () => chunkBytes,
    ),
    uri: 'memory:',
    blocks: BLOCKS,
    listener: {
      pong: (value) => heard.push(`pong ${value}`),
      switchoverAck: () => heard.push('ack'),
      extension: (name) => heard.push(name),
    },
  });
  return heard;
}

test.for([undefined, 1, 3])('messages arrive in order, in chunks of %s bytes', async (chunkBytes) => {
  const hex = `0007 0000  0002 0004 00000001  0002 0004 fffffffe  ${SHUT}`;
  expect(await read(hex, chunkBytes)).toEqual(['ack', 'pong 1', 'pong 4294967294']);
});

test('nothing after SHUT is read', async () => {
  expect(await read(`${SHUT} ffff ffff`)).toEqual([]);
});

test.for([
  ['a PONG nobody asked for', '0002 0004 0000002a', ['pong 42']],
  ['SWITCHOVER_ACK without the capability', '0007 0000', ['ack']],
  ['RESUME_ACK 1 outside a recovery', '0006 0004 00000001', []],
  ['a request for pages of a named block', ask(RAM, '0000000000001000', '00001000'), []],
  ['the last page of a block', ask(RAM, '00000000000ff000', '00001000'), []],
  [
    'a request without a name after one with',
    `${ask(RAM, '0000000000001000', '00001000')} 0004 000c 00000000000fe000 00002000`,
    [],
  ],
] as const)('tolerated: %s', async ([, message, heard]) => {
  expect(await read(`${message} ${SHUT}`)).toEqual(heard);
});

describe('fails', () => {
  const PONG = '0002 0004 00000001';
  const after = 8;
  test.for([
    ['type 0', '0000 0000', 'message type'],
    ['type 8', '0008 0000', 'message type'],
    ['type 0xffff', 'ffff 0000', 'message type'],
    ['SHUT of 3 bytes', '0001 0003 000000', 'length of SHUT'],
    ['PONG of 8 bytes', '0002 0008 0000000000000000', 'length of PONG'],
    ['REQ_PAGES of 13 bytes', `0004 000d ${'00'.repeat(13)}`, 'length of REQ_PAGES'],
    ['RESUME_ACK without a value', '0006 0000', 'length of RESUME_ACK'],
    ['SWITCHOVER_ACK with data', '0007 0001 00', 'length of SWITCHOVER_ACK'],
    ['more than 512 bytes', '0003 0201', 'length of REQ_PAGES_ID'],
    ['REQ_PAGES before any REQ_PAGES_ID', '0004 000c 0000000000001000 00001000', 'REQ_PAGES'],
    [
      'REQ_PAGES_ID whose name is shorter than its length says',
      ask('04 72616d', '0000000000000000', '00001000'),
      'length of REQ_PAGES_ID',
    ],
    ['REQ_PAGES_ID without a name', '0003 000c 0000000000000000 00001000', 'length of REQ_PAGES_ID'],
    ['an unknown block', ask('03 726178', '0000000000000000', '00001000'), 'RAM block of REQ_PAGES_ID'],
    ['an empty block name', ask('00', '0000000000000000', '00001000'), 'RAM block of REQ_PAGES_ID'],
    ['a start inside a page', ask(RAM, '0000000000000800', '00001000'), 'requested pages'],
    ['a length that is no whole page', ask(RAM, '0000000000001000', '00000fff'), 'requested pages'],
    ['pages beyond the block', ask(RAM, '00000000000ff000', '00002000'), 'requested pages'],
    ['a start beyond 2^63', ask(RAM, 'fffffffffffff000', '00001000'), 'requested pages'],
    ['RECV_BITMAP outside a recovery', '0005 0004 03 72616d', 'RECV_BITMAP'],
    ['RESUME_ACK 0', '0006 0004 00000000', 'RESUME_ACK'],
  ] as const)('%s', async ([, message, field]) => {
    const error: unknown = await read(`${PONG} ${message} ${SHUT}`).catch((reason: unknown) => reason);
    if (!isHarnessError(error, 'migration/return-path')) throw error;
    expect({ field: error.details.field, at: error.details.at }).toEqual({ field, at: after });
  });

  test('a REQ_PAGES beyond the block that was named last', async () => {
    const messages = `${ask('03 726f6d', '0000000000000000', '00001000')} 0004 000c 0000000000001000 00001000`;
    const error: unknown = await read(messages).catch((reason: unknown) => reason);
    if (!isHarnessError(error, 'migration/return-path')) throw error;
    expect(error.details).toMatchObject({ at: 20, expected: "pages within the 4096 bytes of 'rom'" });
  });

  test('SHUT with another status than 0', async () => {
    const error: unknown = await read('0001 0004 00000001').catch((reason: unknown) => reason);
    expect(isHarnessError(error, 'migration/peer-failed')).toBe(true);
  });

  test('a connection that ends without SHUT', async () => {
    const error: unknown = await read(PONG).catch((reason: unknown) => reason);
    if (!isHarnessError(error, 'transport/closed')) throw error;
    expect(error.details.at).toBe(8);
  });

  test('a connection that ends inside a message', async () => {
    const error: unknown = await read(`${PONG} 0001 0004 00`).catch((reason: unknown) => reason);
    if (!isHarnessError(error, 'stream/truncated')) throw error;
    expect(error.details).toMatchObject({ section: 'return path', field: 'SHUT' });
  });
});

test('the writer makes what the reader takes, for every message of fixed length', async () => {
  const sink = new MemorySink();
  const writer = new ReturnPathWriter(sink);
  await writer.send('SWITCHOVER_ACK');
  await writer.sendU32('PONG', 1);
  await writer.sendU32('RESUME_ACK', 1);
  await writer.sendU32('SHUT', 0);
  const hex = Buffer.from(sink.bytes()).toString('hex');
  expect(hex).toBe('00070000 0002000400000001 0006000400000001 0001000400000000'.replaceAll(' ', ''));
  expect(await read(hex)).toEqual(['ack', 'pong 1']);
});

test('names and numbers of messages are those of the wire', () => {
  const byNumber = Object.entries(RETURN_PATH).map(([name, { type }]) => [type, name]);
  const names: ReturnPathName[] = [
    'SHUT',
    'PONG',
    'REQ_PAGES_ID',
    'REQ_PAGES',
    'RECV_BITMAP',
    'RESUME_ACK',
    'SWITCHOVER_ACK',
  ];
  expect(byNumber).toEqual(names.map((name, index) => [index + 1, name]));
});
