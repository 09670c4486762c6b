/**
 * Recorded multifd streams whose packets were made hostile, field by field and packet by packet, also of device state: the
 * load ends at once, in other RAM or in an error of ours that says where; never in a crash, a hang, or memory that stays.
 * Some hundreds of each by default; SWITCHOVER_HOSTILE=full tries 10,000, full:3/20 the third of twenty parts of them.
 */

import { describe, expect, test } from 'vitest';
import type { MultifdMethod } from '../../../src/migration/multifd/compression.ts';
import { MULTIFD_HELLO } from '../../../src/wire/multifd.ts';
import { EXTENT, loadAll } from '../../support/hostile-loading.ts';
import { MultifdLoadingMachine } from '../../support/multifd-loading.ts';
import { play, recordedMultifd } from '../../support/multifd-streams.ts';
import { mutations, piecesOf } from '../../support/packet-mutations.ts';
import { recordedStream } from '../../support/recorded-stream.ts';
import { IDSTR, statePacket } from '../../support/state-packets.ts';
import { stateDevice, stateStream } from '../../support/state-streams.ts';
import { tempDir } from '../../support/temp.ts';
import { WatchedVm } from '../../support/watched-vm.ts';

const RAM_BYTES = recordedStream('none-4m.ram.zz').length;
/** Names the connection, what of the whole was missing because of it, or the device that refused what came. */
const PLACE =
  /multifd channel|connection \d|section id|of device 'd\d'|of the state of 'd\d'|^VFIO device 'd\d': bad data/;

async function expectAllToEnd(
  machine: MultifdLoadingMachine,
  variants: Iterable<{ name: string; connections: readonly Uint8Array[] }>,
) {
  const placeless: string[] = [];
  const { foreign, loaded, refused } = await loadAll(machine, variants, ({ name, error }) => {
    const { at } = error.details as { at?: number };
    if (typeof at !== 'number' || at < 0 || !PLACE.test(error.message)) placeless.push(`${name}: ${error.message}`);
  });
  expect(foreign).toEqual([]);
  expect(placeless).toEqual([]);
  expect(loaded.length).toBeGreaterThan(0);
  expect(refused).toBeGreaterThan(EXTENT.corruptions / 2 / EXTENT.parts);
}

describe.for<MultifdMethod>(['none', 'zlib', 'zstd'])('recorded with compression %s', (method) => {
  test('packets with hostile fields', { timeout: EXTENT.longMs }, async () => {
    const { main, channels } = recordedMultifd(method);
    const machine = new MultifdLoadingMachine({ ramBytes: RAM_BYTES, method });
    const pieces = channels.map(piecesOf);
    await expectAllToEnd(
      machine,
      mutations([main, ...channels], pieces, { seed: 600 + method.length, count: EXTENT.corruptions }),
    );
  });
});

test('packets with the state of two devices and hostile fields', { timeout: EXTENT.longMs }, async () => {
  const { main, channels, packets } = await stateStream(2);
  const pieces = channels.map((channel, index) => {
    const recorded = recordedMultifd('none').channels[index]!;
    return [...piecesOf(recorded), ...packets.filter((packet) => Buffer.from(channel).includes(packet))];
  });
  expect(pieces.map((own) => Buffer.concat(own).length)).toEqual(channels.map((channel) => channel.length));
  const devices = [stateDevice(0), stateDevice(1)].map(({ asSection }) => asSection);
  const machine = new MultifdLoadingMachine({ ramBytes: RAM_BYTES, method: 'none', devices });
  // Most mutations are to meet the packets of state, which are few and small.
  const ofState = pieces.map((own) => [own[0]!, ...own.slice(-packets.length / 2)]);
  const before = pieces.map((own) => own.slice(1, -packets.length / 2));
  function* all() {
    for (const { name, connections } of mutations([main, ...channels], ofState, {
      seed: 77,
      count: EXTENT.corruptions,
    })) {
      const whole = connections.map((bytes, index) => {
        if (index === 0 || bytes === channels[index - 1]) return bytes;
        const [greeting, rest] = [bytes.subarray(0, MULTIFD_HELLO.size), bytes.subarray(MULTIFD_HELLO.size)];
        return Buffer.concat([greeting, ...before[index - 1]!, rest]);
      });
      yield { name, connections: whole };
    }
  }
  await expectAllToEnd(machine, all());
});

test('a packet of state where no device takes any', async () => {
  const { main, channels } = recordedMultifd('none');
  const machine = new MultifdLoadingMachine({ ramBytes: RAM_BYTES, method: 'none' });
  const [greeting, sync, ...packets] = piecesOf(channels[0]!);
  const state = statePacket({ idstr: IDSTR, state: Buffer.alloc(10) });
  const bytes = Buffer.concat([greeting!, sync!, state, ...packets]);
  expect(await machine.load([main, bytes, channels[1]!])).toMatchObject({
    message: expect.stringMatching(/multifd channel 0, packet 1, reading idstr: expected a device .*\(none\)/),
  });
});

describe('with threads and sockets', () => {
  const COUNT = EXTENT.isFull ? 400 : 25;

  test.for<MultifdMethod>(['none', 'zlib', 'zstd'])('compression %s', { timeout: EXTENT.longMs }, async (method) => {
    const { main, channels } = recordedMultifd(method);
    await using dir = await tempDir();
    const ends = { completed: 0, failed: 0 };
    const variants = mutations([main, ...channels], channels.map(piecesOf), { seed: 700, count: COUNT });
    for (const { name, connections } of variants) {
      const path = dir.file('m');
      await using waiting = await WatchedVm.start({
        ramBytes: RAM_BYTES,
        incoming: `unix:${path}`,
        capabilities: ['multifd'],
        parameters: { 'multifd-compression': method },
      });
      const sockets = await play(path, connections);
      for (const socket of sockets) socket.end(); // nobody can wait for more
      const end = (await waiting.ended()) as keyof typeof ends;
      ends[end] += 1;
      for (const socket of sockets) socket.destroy();
      if (end === 'failed') expect(waiting.vm.queryMigrate()['error-desc'], name).toMatch(PLACE);
    }
    expect(ends.completed).toBeGreaterThan(0);
    expect(ends.failed).toBeGreaterThan(COUNT / 3);
  });
});
