/** What a destination answers to a PING (spec/wire.md §2, §3), and to those that only a Switchover sends (wire/extension.ts). */

import { expect, test } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { CommandLoader } from '../../src/migration/loadvm-commands.ts';
import { ReturnPathWriter } from '../../src/migration/return-path.ts';
import { StreamReader } from '../../src/migration/transport/stream-reader.ts';
import { BACKLOG_PING, EXTENSION, PROBE_PING, PROBE_PONG } from '../../src/wire/extension.ts';
import { COMMANDS, RETURN_PATH } from '../../src/wire/stream.ts';
import { MemorySink, memorySource } from '../support/stream-loading.ts';

const DEVICES = 0x1234;

/** What a destination says to these PINGs: pairs of type and value; a device tells of itself with a message of type DEVICES. */
async function answers(pings: readonly number[], answersProbe = true): Promise<number[][]> {
  const sink = new MemorySink();
  const writer = new ReturnPathWriter(sink);
  const loader = new CommandLoader({
    openReturnPath: async () => writer,
    answersProbe,
    ack: { isOn: true, mode: 'legacy' },
    tellDevices: () => writer.sendMessage(DEVICES, new Uint8Array(4)),
    clock: new ManualClock(),
    switchover: () => undefined,
    loadPackage: async () => undefined,
    blocks: [],
    log: silentLogger,
  });
  const commands = [command('OPEN_RETURN_PATH'), ...pings.map((value) => command('PING', value))];
  const reader = new StreamReader(memorySource(Buffer.concat(commands)));
  for (const _ of commands) await loader.load(reader);
  return messages(Buffer.from(sink.bytes()));
}

function command(name: 'OPEN_RETURN_PATH' | 'PING', value?: number): Buffer {
  const bytes = Buffer.alloc(value === undefined ? 4 : 8);
  bytes.writeUInt16BE(COMMANDS[name].id);
  bytes.writeUInt16BE(bytes.length - 4, 2);
  if (value !== undefined) bytes.writeUInt32BE(value, 4);
  return bytes;
}

/** Type and first word of each. */
function messages(bytes: Buffer): number[][] {
  const found: number[][] = [];
  for (let at = 0; at < bytes.length; at += 4 + bytes.readUInt16BE(at + 2)) {
    const type = bytes.readUInt16BE(at);
    found.push(type === RETURN_PATH.PONG.type ? [type, bytes.readUInt32BE(at + 4)] : [type]);
  }
  return found;
}

const pong = (value: number) => [RETURN_PATH.PONG.type, value];

test('a PING is answered with its value', async () => {
  expect(await answers([1, 0xffff_ffff])).toEqual([pong(1), pong(0xffff_ffff)]);
});

test('a question about the backlog is answered once all devices have told of themselves', async () => {
  const hello = [pong(PROBE_PONG), [EXTENSION.HELLO.type]];
  expect(await answers([PROBE_PING, BACKLOG_PING])).toEqual([...hello, [DEVICES], pong(BACKLOG_PING)]);
});

test('to one that has not shown to be a Switchover, and on machines that QEMU has, it is a PING like any other', async () => {
  expect(await answers([BACKLOG_PING])).toEqual([pong(BACKLOG_PING)]);
  expect(await answers([PROBE_PING, BACKLOG_PING], false)).toEqual([pong(PROBE_PING), pong(BACKLOG_PING)]);
});
