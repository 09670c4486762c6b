/** Between channels and devices: who may go on, who waits, and when waiting is in vain (spec/vfio.md §2.6, §8). */

import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../../src/base/clock.ts';
import type { DestinationDevice } from '../../../src/migration/device-sections.ts';
import type { StatePacket } from '../../../src/migration/multifd/state-packet-reader.ts';
import { MigrationOptions } from '../../../src/migration/options/options.ts';
import { StateIntake } from '../../../src/migration/vfio/state-intake.ts';
import { LIMITS } from '../../../src/wire/limits.ts';
import { settled } from '../../support/settled.ts';

const MIB = 1 << 20;
/** What one device may have waiting when it is alone. */
const QUOTA = LIMITS.STATE_QUEUED_BYTES;
/** What a packet with a mebibyte of state counts. */
const COST = MIB + 4096;

function options(globals: Readonly<Record<string, string>> = {}, parameters: Readonly<Record<string, unknown>> = {}) {
  const all = new MigrationOptions();
  all.setParameters(parameters);
  all.setGlobals(Object.entries({ 'x-multifd': 'on', ...globals }).map(([name, text]) => ({ name, text })));
  return all.snapshot();
}

/** Only what an intake looks at. */
function device(id: string, wish?: 'auto' | 'on' | 'off'): DestinationDevice {
  const transfer = wish === undefined ? {} : { transfer: { multifdTransfer: wish, maxQueuedBytes: 1e12 } };
  return { id, idstr: `${id}/vfio`, instanceId: 0, vfio: {}, ...transfer } as unknown as DestinationDevice;
}

function packet(index: number, more: Partial<StatePacket> = {}): StatePacket {
  const bytes = more.bytes ?? new Uint8Array(new SharedArrayBuffer(16 + MIB), 16);
  return {
    target: 0,
    index,
    isConfig: false,
    bytes,
    place: { at: 0, section: 'multifd channel 0, packet 0' },
    ...more,
  };
}

function intakeOf(count: number, channelCount: number) {
  const devices = Array.from({ length: count }, (_, n) => device(`d${n}`));
  const intake = new StateIntake({ devices, options: options() });
  const channels = Array.from({ length: channelCount }, () => {
    const channel = { granted: 0, grant: () => void (channel.granted += 1) };
    intake.join(channel);
    return channel;
  });
  return { intake, channels };
}

describe('whether state comes over channels', () => {
  const why = (wish: 'auto' | 'on' | 'off', snapshot = options()) =>
    new StateIntake({ devices: [device('d0', wish)], options: snapshot }).targets[0]!.refusal;

  test('on and auto say yes with multifd, off says no', () => {
    expect([why('on'), why('auto'), why('off')]).toEqual([
      undefined,
      undefined,
      'x-migration-multifd-transfer is off here',
    ]);
  });

  test.each([
    ['without multifd', options({ 'x-multifd': 'off' }), 'multifd is off'],
    ['with compression', options({}, { 'multifd-compression': 'zstd' }), 'multifd-compression is zstd'],
    ['with mapped-ram', options({ 'mapped-ram': 'on' }), 'mapped-ram is on'],
    ['without SWITCHOVER_START', options({ 'send-switchover-start': 'off' }), 'send-switchover-start is off'],
  ])('%s auto says no, and on is an error', (_what, snapshot, reason) => {
    expect(why('auto', snapshot)).toBe(reason);
    expect(() => why('on', snapshot)).toThrow(`device 'd0' cannot go over multifd channels: ${reason}`);
  });
});

describe('a channel', () => {
  test('goes on while its device has room, and stands still until the device has taken enough', async () => {
    const { intake, channels } = intakeOf(1, 1);
    const [channel] = channels;
    intake.start();
    const fits = Math.floor(QUOTA / COST);
    for (let n = 0; n <= fits; n += 1) intake.accept(channel!, packet(n));
    expect(channel!.granted).toBe(fits);
    intake.taken((await intake.fetch(0))!);
    expect(channel!.granted).toBe(fits + 1);
  });

  test('of a slow device does not stand in the way of another’s', () => {
    const { intake, channels } = intakeOf(2, 2);
    const [slow, other] = channels;
    const fits = Math.floor(QUOTA / 2 / COST);
    for (let n = 0; n <= fits; n += 1) intake.accept(slow!, packet(n));
    expect(slow!.granted).toBe(fits);
    intake.accept(other!, packet(0, { target: 1 }));
    expect(other!.granted).toBe(1);
  });

  test('that brings a million packets of next to nothing stands still like one that brings much', () => {
    const { intake, channels } = intakeOf(1, 1);
    const [channel] = channels;
    const bytes = packet(0).bytes.subarray(0, 1);
    for (let n = 0; channel!.granted === n && n < 1_000_000; n += 1) intake.accept(channel!, packet(n, { bytes }));
    expect(channel!.granted).toBe(Math.floor(QUOTA / (1 + 4096)));
  });

  test('may bring packets before devices begin to fetch', async () => {
    const { intake, channels } = intakeOf(1, 1);
    intake.accept(channels[0]!, packet(1));
    intake.accept(channels[0]!, packet(0));
    intake.start();
    expect([(await intake.fetch(0))?.index, (await intake.fetch(0))?.index]).toEqual([0, 1]);
  });
});

describe('channels that all stand still', () => {
  test('each bring one more packet: what one device waits for may be behind a packet of another', async () => {
    const { intake, channels } = intakeOf(2, 2);
    intake.start();
    const fetching = intake.fetch(0);
    void intake.fetch(1);
    const held = Math.floor(QUOTA / 2 / COST) + 1;
    for (const [target, channel] of channels.entries()) {
      for (let n = 1; n <= held; n += 1) intake.accept(channel, packet(n, { target }));
    }
    expect(channels.map(({ granted }) => granted)).toEqual([held, held]);
    intake.accept(channels[1]!, packet(0));
    expect((await fetching)?.index).toBe(0);
    expect(await settled(intake.failure)).toBe('pending');
  });
});

describe('what cannot come any more', () => {
  /** Packets 1, 2, … one more than may wait. */
  const fill = (intake: StateIntake, channel: { granted: number; grant: () => void }) => {
    const bytes = new Uint8Array(new SharedArrayBuffer(16 + MIB), 16);
    const fits = Math.floor((QUOTA + LIMITS.STATE_ENTANGLED_BYTES) / COST);
    for (let n = 1; n <= fits + 1; n += 1) intake.accept(channel, packet(n, { bytes }));
  };

  test('is an error once so much waits behind the hole, and every channel stands still', async () => {
    const { intake, channels } = intakeOf(1, 2);
    intake.start();
    const fetching = intake.fetch(0);
    fill(intake, channels[0]!);
    expect(await settled(intake.failure)).toBe('pending');
    intake.leave(channels[1]!);
    await expect(intake.failure).rejects.toThrow(
      /expected packet 0 of the state of device 'd0', for which \d+ bytes wait, got no channel that could still bring it/,
    );
    expect(await fetching).toBeUndefined();
    expect(() => intake.check()).toThrow(/packet 0/);
  });

  test('is an error at the end of the main channel when all channels have ended', async () => {
    const { intake, channels } = intakeOf(1, 1);
    intake.start();
    void intake.fetch(0);
    intake.leave(channels[0]!);
    expect(await settled(intake.failure)).toBe('pending'); // the source may not send state this way: the main channel tells
    void intake.stall(new ManualClock(), new AbortController().signal);
    await expect(intake.failure).rejects.toThrow(/got the end of all channels/);
  });

  test('is a timeout when a channel stays open and silent', async () => {
    const { intake } = intakeOf(1, 1);
    const clock = new ManualClock();
    intake.start();
    void intake.fetch(0);
    const stalled = intake.stall(clock, new AbortController().signal, 100);
    clock.advance(100);
    await expect(stalled).rejects.toThrow("waited 100 ms for packet 0 of the state of device 'd0'");
  });

  test('is no timeout while a device takes something', async () => {
    const { intake, channels } = intakeOf(1, 1);
    const clock = new ManualClock();
    intake.start();
    intake.accept(channels[0]!, packet(0));
    const first = (await intake.fetch(0))!;
    void intake.fetch(0);
    const stalled = intake.stall(clock, new AbortController().signal, 100);
    clock.advance(100);
    expect(await settled(stalled)).toBe('pending');
    intake.taken(first);
    clock.advance(100);
    expect(await settled(stalled)).toBe('pending'); // there was progress meanwhile
    clock.advance(100);
    await expect(stalled).rejects.toThrow(/packet 1/);
  });
});

test('a wrong packet is the failure, and nobody waits any more', async () => {
  const { intake, channels } = intakeOf(1, 1);
  intake.start();
  intake.accept(channels[0]!, packet(0));
  expect(await intake.fetch(0)).toBeDefined();
  const fetching = intake.fetch(0);
  intake.accept(channels[0]!, packet(0));
  await expect(intake.failure).rejects.toThrow(/got 0 again/);
  expect(await fetching).toBeUndefined();
});
