/**
 * Whole machines with multifd when something goes wrong on one of their connections: an error that names the channel, no
 * thread, descriptor or port left behind, a guest that runs on, and a next migration that succeeds.
 */

import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RamBlock } from '../../../src/hw/ram.ts';
import { ChannelThreads } from '../../../src/migration/multifd/channel-threads.ts';
import { SendingChannels } from '../../../src/migration/multifd/sending-channels.ts';
import { parseUri } from '../../../src/migration/transport/address.ts';
import { MULTIFD_HELLO, RAM_PACKET_BYTES } from '../../../src/wire/multifd.ts';
import { machinePair } from '../../support/machine-pair.ts';
import { play, recordedMultifd } from '../../support/multifd-streams.ts';
import { recordedStream } from '../../support/recorded-stream.ts';
import { seeded } from '../../support/seeded.ts';
import { type TempDir, tempDir } from '../../support/temp.ts';
import { turnUntil, WatchedVm } from '../../support/watched-vm.ts';

const RAM_BYTES = 8 << 20;
const CONTENT = new Uint8Array(RAM_BYTES);
const random = seeded(8);
for (let at = 0; at < RAM_BYTES; at += 64) CONTENT[at] = random(256);
const CHANNELS = 3;
const OPTIONS = {
  ramBytes: RAM_BYTES,
  capabilities: ['multifd', 'return-path'],
  parameters: { 'multifd-channels': CHANNELS },
} as const;

/** Sockets and threads of this process; what was there before must be all that is there after. */
function held(): { sockets: number; threads: number } {
  const sockets = readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // the descriptor of this very listing
    }
  });
  return { sockets: sockets.length, threads: readdirSync('/proc/self/task').length };
}

let before: { sockets: number; threads: number };
beforeAll(async () => {
  // Node starts its own threads when they are first needed.
  await Promise.all(Array.from({ length: 8 }, () => stat('/')));
});
beforeEach(() => {
  before = held();
});
afterEach(async () => {
  await turnUntil(() => held().sockets <= before.sockets && held().threads <= before.threads);
});

async function runningSource(): Promise<WatchedVm> {
  const source = await WatchedVm.start({ ...OPTIONS, running: true, content: CONTENT });
  source.events.length = 0;
  return source;
}

/** What `migrate` says went wrong; the guest runs on, and the next migration, to a real destination, succeeds. */
async function failure(source: WatchedVm, uri: string, dir: TempDir): Promise<string> {
  await source.vm.migrate({ uri });
  expect(await source.ended()).toBe('failed');
  const text = source.vm.queryMigrate()['error-desc'] ?? '';
  if (source.events.includes('STOP')) await source.event(['RESUME']);
  expect(source.vm.queryStatus()).toEqual({ status: 'running', running: true });
  const next = `unix:${dir.file('next')}`;
  await using destination = await WatchedVm.start({ ...OPTIONS, incoming: next });
  const mark = source.events.length;
  await source.vm.migrate({ uri: next });
  expect([await source.ended(mark), await destination.ended()]).toEqual(['completed', 'completed']);
  expect(Buffer.compare(destination.vm.ram.bytes, CONTENT)).toBe(0);
  return text;
}

/** A listener that gives every connection, with its number from 0, to `onConnection`. */
async function listener(
  path: string,
  onConnection: (socket: Socket, ordinal: number, server: Server) => void,
): Promise<Server> {
  let ordinal = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined); // the source may be gone first
    onConnection(socket, ordinal++, server);
  });
  server.listen(path);
  await once(server, 'listening');
  server.once('close', () => sockets.clear());
  return Object.assign(server, {
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

describe('a source', () => {
  test('whose channels are refused', async () => {
    await using dir = await tempDir();
    // Nobody listens any more once the main channel is there.
    await using _server = await listener(dir.file('m'), (socket, _, server) => {
      socket.resume();
      server.close();
    });
    await using source = await runningSource();
    const text = await failure(source, `unix:${dir.file('m')}`, dir);
    expect(text).toMatch(/(Failed to connect to|connection) 'unix:.*\(multifd channel [0-2]\)'/);
  });

  test.for([1, 2, 3])('whose connection %i is closed at once', async (k) => {
    await using dir = await tempDir();
    await using _server = await listener(dir.file('m'), (socket, ordinal) => {
      if (ordinal === k) socket.destroy();
      else socket.resume();
    });
    await using source = await runningSource();
    expect(await failure(source, `unix:${dir.file('m')}`, dir)).toMatch(/multifd channel [0-2]/);
  });

  test.for([
    0,
    1,
    MULTIFD_HELLO.size,
    MULTIFD_HELLO.size + 100,
    MULTIFD_HELLO.size + RAM_PACKET_BYTES,
    100_000,
    1_000_000,
  ])('whose second channel is closed after %i bytes', async (count) => {
    await using dir = await tempDir();
    await using _server = await listener(dir.file('m'), (socket, ordinal) => {
      let received = 0;
      socket.on('data', (chunk) => {
        received += chunk.length;
        if (ordinal === 2 && received >= count) socket.destroy();
      });
    });
    await using source = await runningSource();
    expect(await failure(source, `unix:${dir.file('m')}`, dir)).toMatch(/multifd channel [0-2]/);
  });

  test('that is cancelled while a channel is stuck', async () => {
    await using dir = await tempDir();
    const stuck = Promise.withResolvers<void>();
    await using _server = await listener(dir.file('m'), (_, ordinal) => {
      if (ordinal === CHANNELS) stuck.resolve(); // nobody reads
    });
    await using source = await runningSource();
    await source.vm.migrate({ uri: `unix:${dir.file('m')}` });
    await stuck.promise;
    await source.event(['M:active']);
    await source.vm.migrateCancel();
    expect(await source.ended()).toBe('cancelled');
    expect(source.vm.queryStatus().status).toBe('running');
  });

  test('whose channel nobody reads gives up after its deadline and names it', async () => {
    await using dir = await tempDir();
    await using _server = await listener(dir.file('m'), () => undefined);
    using block = RamBlock.create({ name: 'ram', length: RAM_BYTES });
    block.write(0, CONTENT);
    block.beginSave();
    await using threads = new ChannelThreads();
    const channels = await SendingChannels.connect({
      address: parseUri(`unix:${dir.file('m')}`),
      count: 1,
      uuid: undefined,
      blocks: [block.share],
      method: 'none',
      level: 0,
      detectZero: false,
      oldLayout: false,
      devices: 0,
      stallMs: 20,
      threads,
      signal: new AbortController().signal,
    });
    const sending = async () => {
      const list = new Uint32Array(128);
      for (let page = 0; page < block.pageCount; page += 128) {
        await channels.sendPages(0, list, block.takeList(page, 128, list));
      }
      await channels.sync();
    };
    await expect(sending()).rejects.toThrow(
      /\(multifd channel 0\)': waited \d+ ms for the destination to take a packet/,
    );
    await channels.destroy();
  });
});

describe('a destination', () => {
  const RAM = recordedStream('none-4m.ram.zz');
  const { main, channels } = recordedMultifd('none');

  /** Plays these connections to a new destination; how it ended. */
  async function played(streams: readonly Uint8Array[], options: { end?: number } = {}): Promise<string> {
    await using dir = await tempDir();
    const path = dir.file('m');
    await using waiting = await WatchedVm.start({
      ramBytes: RAM.length,
      incoming: `unix:${path}`,
      capabilities: ['multifd'],
    });
    const sockets = await play(path, streams);
    if (options.end !== undefined) sockets[options.end]?.end();
    const status = await waiting.ended();
    for (const socket of sockets) socket.destroy();
    if (status === 'completed') expect(Buffer.compare(waiting.vm.ram.bytes, RAM)).toBe(0);
    else expect(waiting.vm.queryStatus().status).toBe('inmigrate');
    return waiting.vm.queryMigrate()['error-desc'] ?? status;
  }

  function patched(bytes: Uint8Array, at: number, value: number): Uint8Array {
    const copy = bytes.slice();
    copy[at] = value;
    return copy;
  }

  test('that gets one connection more than it expects', async () => {
    expect(await played([main, ...channels, channels[0]!])).toMatch(/completed|1 again|0 again/);
  });

  test.for([
    ['magic', 0],
    ['version', 4],
    ['uuid of multifd channel 0', 8],
    ['channel id', 24],
  ] as const)('that is greeted with another %s', async ([field, at]) => {
    const text = await played([main, patched(channels[0]!, at, 0x77), channels[1]!]);
    expect(text).toContain(`greeting of connection 2, reading ${field}`);
  });

  test.for([
    ['magic', 0, 0x77],
    ['version', 4, 0x77],
    ['pagesAlloc', 12, 0x77],
    ['normalPages', 16, 0x77],
    ['zeroPages', 32, 0x77],
    ['dataBytes', 20, 0x77],
    ['ramBlock', 64, 0x77],
  ] as const)('whose channel brings a wrong %s fails at once and names it', async ([field, at, value]) => {
    const secondPacket = MULTIFD_HELLO.size + RAM_PACKET_BYTES;
    const text = await played([main, channels[0]!, patched(channels[1]!, secondPacket + at, value)]);
    expect(text).toContain(`multifd channel 1, packet 1, reading ${field}`);
  });

  const borders = [0, 4, 8, 12, 16, 20, 24, 32, 36, 64, 320, 1343, RAM_PACKET_BYTES + 1];
  test.for(borders)('whose channel ends %i bytes after the start of a packet', async (length) => {
    const secondPacket = MULTIFD_HELLO.size + RAM_PACKET_BYTES;
    const text = await played([main, channels[0]!.subarray(0, secondPacket + length), channels[1]!], { end: 1 });
    expect(text).toContain('multifd channel 0');
    expect(text).toContain(length === 0 ? 'waits for its SYNC' : 'stream truncated');
  });
});

test('a destination that fails tells the source, which runs on', async () => {
  await using pair = await machinePair({
    common: { ...OPTIONS, machineType: 'none' },
    source: { content: CONTENT },
    destination: { ramBytes: RAM_BYTES * 2 },
  });
  await pair.source.vm.migrate({ uri: pair.uri });
  expect([await pair.source.ended(), await pair.destination.ended()]).toEqual(['failed', 'failed']);
  expect(pair.source.vm.queryMigrate()['error-desc']).toMatch(/the destination reported an error/);
  if (pair.source.events.includes('STOP')) await pair.source.event(['RESUME']);
  expect(pair.source.vm.queryStatus().status).toBe('running');
});

test('a migration whose compression differs says so', async () => {
  await using pair = await machinePair({
    common: { ...OPTIONS, machineType: 'none' },
    source: { content: CONTENT, parameters: { 'multifd-channels': CHANNELS, 'multifd-compression': 'zstd' } },
  });
  await pair.source.vm.migrate({ uri: pair.uri });
  expect([await pair.source.ended(), await pair.destination.ended()]).toEqual(['failed', 'failed']);
  expect(pair.destination.vm.queryMigrate()['error-desc']).toMatch(
    /multifd channel \d, packet \d+, reading flags: expected pages in method none, got method zstd/,
  );
});
