/**
 * A multifd stream with device state, as a whole, in any order of packets, cut anywhere and with single bytes changed: the
 * devices have what was sent, or there is an error of ours; never a crash, a hang, or memory that stays.
 */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { STATE_PACKET_BYTES } from '../../../src/wire/multifd.ts';
import { VFIO_PACKET } from '../../../src/wire/vfio.ts';
import { changed, EXTENT, loadAll } from '../../support/hostile-loading.ts';
import { MultifdLoadingMachine } from '../../support/multifd-loading.ts';
import { recordedStream } from '../../support/recorded-stream.ts';
import { seeded } from '../../support/seeded.ts';
import { ORDINARY, stateDevice, stateStream } from '../../support/state-streams.ts';
import { spansOf } from '../../support/struct-spans.ts';

const RAM_BYTES = recordedStream('none-4m.ram.zz').length;
const SWITCHOVER_START = Buffer.from('08000b0000', 'hex');
const { main, channels, packets, eofAt } = await stateStream(2);
const connections = [main, ...channels];

function machineOf(count: number, maxQueuedBytes?: number) {
  const devices = Array.from({ length: count }, (_, n) => stateDevice(n, maxQueuedBytes));
  const machine = new MultifdLoadingMachine({
    ramBytes: RAM_BYTES,
    method: 'none',
    devices: devices.map(({ asSection }) => asSection),
  });
  return { machine, devices };
}

/** A packet of CONFIG whose flags say that the device is to take it. */
function asData(packet: Buffer): Buffer {
  const bytes = Buffer.from(packet);
  bytes.writeUInt32BE(0, STATE_PACKET_BYTES + spansOf(VFIO_PACKET).find(({ name }) => name === 'flags')!.at);
  return bytes;
}

/** One machine for many loads. */
const { machine } = machineOf(2);

describe('a stream with the state of two devices', () => {
  test('is loaded, in small pieces as well', async () => {
    const { machine: fresh, devices } = machineOf(2);
    const below = seeded(3);
    expect(await fresh.load(connections, () => 1 + below(700))).toBeUndefined();
    expect(devices.map(({ loaded }) => loaded)).toEqual([[ORDINARY], [ORDINARY]]);
    expect(Buffer.compare(fresh.ram.bytes, recordedStream('none-4m.ram.zz'))).toBe(0);
  });

  test('is loaded whatever the order of its packets', async () => {
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(packets, { minLength: packets.length }), async (order) => {
        const shuffled = await stateStream(2, () => order);
        expect(await machine.load([shuffled.main, ...shuffled.channels])).toBeUndefined();
      }),
      { numRuns: EXTENT.isFull ? 2000 : 40 },
    );
  });

  test.each([
    ['a packet is missing', (all: readonly Buffer[]) => all.toSpliced(1, 1), /got the end of all channels/],
    ['a packet comes twice', (all: readonly Buffer[]) => [...all, all[2]!], /index of the state of 'd0'.*2 again/],
    [
      'all packets of a device are missing',
      (all: readonly Buffer[]) => all.slice(0, all.length / 2),
      /state of device 'd1'/,
    ],
    ['there are none', () => [], /packet 0 of the state of device 'd0'/],
  ])('is refused when %s', async (_what, order, text) => {
    const other = await stateStream(2, order);
    expect(await machine.load([other.main, ...other.channels])).toMatchObject({
      code: 'stream/bad-value',
      message: expect.stringMatching(text),
    });
  });

  test('is refused by the device when its last packet says that it is data, after which nothing comes', async () => {
    const other = await stateStream(2, (all) => [...all.slice(0, -1), asData(all.at(-1)!)]);
    expect(await machine.load([other.main, ...other.channels])).toMatchObject({ code: 'vfio/data' });
  });

  test('is refused without SWITCHOVER_START', async () => {
    const at = main.indexOf(SWITCHOVER_START);
    const without = Buffer.concat([main.subarray(0, at), main.subarray(at + SWITCHOVER_START.length)]);
    expect(await machine.load([without, ...channels])).toMatchObject({
      message: expect.stringMatching(/expected SWITCHOVER_START before it/),
    });
  });

  test('is refused when more waits behind a hole than may', async () => {
    const { machine: strict } = machineOf(2, 1);
    const backwards = await stateStream(2, (all) => all.toReversed());
    expect(await strict.load([backwards.main, ...backwards.channels])).toMatchObject({
      code: 'stream/limit',
      details: { limit: 'x-migration-max-queued-buffers-size', maximum: 1 },
    });
  });

  test('is refused when its main channel has a CONFIG record as well', async () => {
    const config = Buffer.from('ffffffffef100002', 'hex');
    const end = Buffer.from('ffffffffef100001', 'hex');
    const bytes = Buffer.from(main);
    config.copy(bytes, main.lastIndexOf(end));
    expect(await machine.load([bytes, ...channels])).toMatchObject({
      message: expect.stringMatching(/expected no DEV_CONFIG_STATE/),
    });
  });
});

describe('hostile', () => {
  test('every cut of a channel is an error', { timeout: EXTENT.longMs }, async () => {
    const below = seeded(1);
    function* cuts() {
      for (const [index, channel] of channels.entries()) {
        // Up to the last packet's last byte: after it, all is there.
        for (let cut = below(EXTENT.cutsShare); cut < channel.length; cut += 1 + below(2 * EXTENT.cutsShare - 1)) {
          const name = `channel ${index} at ${cut}`;
          yield { name, connections: changed(connections, index + 1, channel.subarray(0, cut)) };
        }
      }
    }
    const { loaded, foreign, refused } = await loadAll(machine, cuts());
    expect([foreign, loaded]).toEqual([[], []]);
    expect(refused).toBeGreaterThan(100);
  });

  test('every cut of the main channel before EOF is an error', { timeout: EXTENT.longMs }, async () => {
    expect(main[eofAt]).toBe(0);
    const cuts = Array.from({ length: eofAt + 1 }, (_, cut) => ({
      name: `main at ${cut}`,
      connections: changed(connections, 0, main.subarray(0, cut)),
    })).filter((_, cut) => EXTENT.isFull || cut % 7 === 0);
    const { loaded, foreign } = await loadAll(machine, cuts);
    expect([foreign, loaded]).toEqual([[], []]);
  });

  test('a changed byte is an error or other RAM, and costs no memory', { timeout: EXTENT.longMs }, async () => {
    const below = seeded(5);
    const headers = channels.map((channel) => packets.map((packet) => channel.indexOf(packet)).filter((at) => at >= 0));
    function* corruptions() {
      for (let n = 0; n < EXTENT.corruptions; n++) {
        const index = below(connections.length);
        const bytes = Uint8Array.from(connections[index]!);
        const starts = headers[index - 1];
        // Most of a channel is pages: three times out of four something of a device's packet.
        const at =
          starts === undefined || below(4) === 0 ? below(bytes.length) : starts[below(starts.length)]! + below(330);
        const value = bytes[at % bytes.length]! ^ (1 + below(255));
        bytes[at % bytes.length] = value;
        yield { name: `connection ${index}, byte ${at} = ${value}`, connections: changed(connections, index, bytes) };
      }
    }
    const { loaded, foreign, refused } = await loadAll(machine, corruptions());
    expect(foreign).toEqual([]);
    expect(loaded.length).toBeGreaterThan(EXTENT.corruptions / 20 / EXTENT.parts);
    expect(refused).toBeGreaterThan(EXTENT.corruptions / 10 / EXTENT.parts);
  });
});
