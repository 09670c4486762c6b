/**
 * Whole machines with multifd when something goes wrong on one of their connections: an error that names the channel, no
 * thread, descriptor or port left behind, a guest that runs on, and a next migration that succeeds.
 */

import { describe, expect, test } from 'vitest';
import { RamBlock } from '../../../src/hw/ram.ts';
import { ChannelThreads } from '../../../src/migration/multifd/channel-threads.ts';
import { SendingChannels } from '../../../src/migration/multifd/sending-channels.ts';
import { parseUri } from '../../../src/migration/transport/address.ts';
import { MULTIFD_HELLO, RAM_PACKET_BYTES } from '../../../src/wire/multifd.ts';
import {
  CHANNELS,
  CONTENT,
  expectNextSucceeds,
  expectNothingLeftBehind,
  failure,
  listener,
  OPTIONS,
  RAM_BYTES,
  runningSource,
} from '../../support/channel-faults.ts';
import { machinePair } from '../../support/machine-pair.ts';
import { play, recordedMultifd } from '../../support/multifd-streams.ts';
import { recordedStream } from '../../support/recorded-stream.ts';
import { tempDir } from '../../support/temp.ts';
import { WatchedVm } from '../../support/watched-vm.ts';

expectNothingLeftBehind();

describe('a source', () => {
  test('whose main channel is refused', async () => {
    await using dir = await tempDir();
    await using source = await runningSource();
    const text = await failure(source, `unix:${dir.file('nobody')}`);
    expect(text).toMatch(/^Failed to connect to '\/[^(]*': /);
    await expectNextSucceeds(source, dir);
  });

  test('whose channels are all refused', async () => {
    await using dir = await tempDir();
    // Nobody listens any more once the main channel is there.
    await using _server = await listener({ path: dir.file('m') }, (socket, _, server) => {
      socket.resume();
      server.close();
    });
    await using source = await runningSource();
    const text = await failure(source, `unix:${dir.file('m')}`);
    expect(text).toMatch(/(Failed to connect to '|connection 'unix:).*\(multifd channel [0-2]\)'/);
    await expectNextSucceeds(source, dir);
  });

  test('whose last channel is refused', async () => {
    await using dir = await tempDir();
    // All channels connect in one turn of the event loop, in which nobody is let in: the queue has room for two.
    await using _server = await listener({ path: dir.file('m'), backlog: 1 }, (socket) => socket.resume());
    await using source = await runningSource();
    const text = await failure(source, `unix:${dir.file('m')}`);
    expect(text).toMatch(/Failed to connect to '\/.*\(multifd channel [12]\)': Resource temporarily unavailable/);
    await expectNextSucceeds(source, dir);
  });

  test('that is cancelled while a channel is stuck', async () => {
    await using dir = await tempDir();
    const stuck = Promise.withResolvers<void>();
    await using _server = await listener({ path: dir.file('m') }, (_, ordinal) => {
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
    await using _server = await listener({ path: dir.file('m') }, () => undefined);
    using block = RamBlock.create({ name: 'ram', length: RAM_BYTES });
    block.write(0, CONTENT);
    block.beginSave();
    await using threads = new ChannelThreads([block.share]);
    const channels = await SendingChannels.connect({
      address: parseUri(`unix:${dir.file('m')}`),
      count: 1,
      uuid: undefined,
      blocks: [block.name],
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
  async function played(streams: readonly Uint8Array[]): Promise<string> {
    await using dir = await tempDir();
    const path = dir.file('m');
    await using waiting = await WatchedVm.start({
      ramBytes: RAM.length,
      incoming: `unix:${path}`,
      capabilities: ['multifd'],
    });
    const sockets = await play(path, streams);
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
