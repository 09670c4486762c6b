/** Every VFIO device and both modes of switchover-ack, in their threads, between two machines of this process. */

import { describe, expect, test } from 'vitest';
import { RETURN_PATH } from '../../src/wire/stream.ts';
import { machinePair } from '../support/machine-pair.ts';
import { RecordingProxy } from '../support/recording-proxy.ts';
import { expectGuestGoesOn } from '../support/running-guest.ts';
import { ACK, devicesOf, expectFails, GUEST, migrated, vfioConfig, vfioConfigs } from '../support/vfio-pair.ts';

const MIB = 2 ** 20;
const MODES = [
  ['legacy', { 'switchover-ack-legacy': 'on' }],
  ['reusable', { 'switchover-ack-legacy': 'off' }],
] as const;
const COMMAND = { region: 'registers', offset: 0, size: 4 } as const;

describe.each(MODES)('with switchover-ack in %s mode', (_mode, globals) => {
  test.each([1, 2, 4])('%i devices are all waited for', async (count) => {
    const devices = await vfioConfigs(count, 'mlx5-like', { state: '2MiB', alloc: '5ms/MiB' });
    await using pair = await machinePair({ common: { guest: GUEST, devices, capabilities: ACK, globals } });
    await (await pair.source.vm.device('d0')).write(COMMAND, 5);
    await migrated(pair);
    expect(devicesOf(pair).map(({ id, ready }) => [id, ready])).toEqual(devices.map(({ id }) => [id, true]));
    for (const device of devicesOf(pair)) expect(device['ack-ms']).toBeGreaterThanOrEqual(10);
    const transferred = pair.source.vm.queryMigrate().vfio?.transferred ?? 0;
    expect(transferred).toBeGreaterThanOrEqual(count * 2 * 2 * MIB);
    expect(await (await pair.destination.vm.device('d0')).read(COMMAND)).toBe(5);
    await expectGuestGoesOn(pair.destination);
  });

  test('a device without precopy asks for nothing', async () => {
    const devices = [
      await vfioConfig('slow', 'mlx5-like', { state: '1MiB' }),
      await vfioConfig('mute', 'setup-then-state', { precopy: 'off' }),
    ];
    await using pair = await machinePair({ common: { guest: GUEST, devices, capabilities: ACK, globals } });
    await migrated(pair);
    expect(devicesOf(pair).map((device) => [device.id, 'ack-ms' in device])).toEqual([
      ['slow', true],
      ['mute', false],
    ]);
  });

  test('a machine without such devices migrates', async () => {
    await using pair = await machinePair({ common: { guest: GUEST, capabilities: ACK, globals } });
    await migrated(pair);
  });
});

test('hot RAM does not starve a device', async () => {
  const devices = await vfioConfigs(2, 'mlx5-like', { state: '4MiB' });
  const guest = 'guest-sweep,id=g,rate=200MiB';
  const parameters = { 'max-bandwidth': 16 * MIB, 'downtime-limit': 2000 };
  await using pair = await machinePair({
    common: { guest, ramBytes: 8 * MIB, devices, capabilities: ACK, parameters },
  });
  await migrated(pair);
  expect(devicesOf(pair).every(({ ready }) => ready)).toBe(true);
});

test.each([
  ['reusable', 2],
  ['legacy', 1],
] as const)('new initial data of a device in %s mode: %i acks', async (mode, count) => {
  // New initial data comes once the first is out (half a second must do) and before the destination has prepared for it (one second).
  const devices = [await vfioConfig('d0', 'mlx5-like', { state: '2MiB', alloc: '500ms/MiB', reinit: '500ms' })];
  const globals = { 'switchover-ack-legacy': mode === 'legacy' ? 'on' : 'off' };
  await using pair = await machinePair({ common: { guest: GUEST, devices, capabilities: ACK, globals } });
  const path = pair.uri.slice('unix:'.length);
  await using proxy = await RecordingProxy.start({ path: `${path}p` }, { path });
  await migrated({ ...pair, uri: proxy.uri });
  const [, answers] = proxy.flows;
  expect(returnMessages(answers!).filter((type) => type === RETURN_PATH.SWITCHOVER_ACK.type).length).toBe(count);
  expect(devicesOf(pair)[0]).toMatchObject({ ready: true });
  await expectGuestGoesOn(pair.destination);
});

/** The types of all messages of a return path (spec/wire.md §3). */
function returnMessages(bytes: Buffer): number[] {
  const types: number[] = [];
  for (let at = 0; at + 4 <= bytes.length; at += 4 + bytes.readUInt16BE(at + 2)) types.push(bytes.readUInt16BE(at));
  return types;
}

describe('without an agreement on switchover-ack', () => {
  const devices = vfioConfigs(1, 'mlx5-like', { state: '1MiB' });

  test('on the source only: the source says so at once, and the guest goes on', async () => {
    await using pair = await machinePair({
      common: { guest: GUEST, devices: await devices },
      source: { capabilities: ACK },
      destination: { capabilities: ['return-path'] },
    });
    expect(await expectFails(pair)).toMatch(/on at the source and off at the destination/);
    await expectGuestGoesOn(pair.source);
  });

  test('on neither side: nobody waits, and no device tells of an ack', async () => {
    await using pair = await machinePair({
      common: { guest: GUEST, devices: await devices, capabilities: ['return-path'] },
    });
    await migrated(pair);
    expect(devicesOf(pair).map((device) => 'ack-ms' in device)).toEqual([false]);
    expect(pair.source.vm.queryMigrate()['x-switchover']).not.toHaveProperty('ack-withheld-by');
  });

  test('on the destination only: nobody waits', async () => {
    await using pair = await machinePair({
      common: { guest: GUEST, devices: await devices },
      source: { capabilities: ['return-path'] },
      destination: { capabilities: ACK },
    });
    await migrated(pair);
  });
});

test('a device with a smaller state refuses', async () => {
  await using pair = await machinePair({
    common: { guest: GUEST, capabilities: ACK },
    source: { devices: await vfioConfigs(1, 'mlx5-like', { state: '2MiB' }) },
    destination: { devices: await vfioConfigs(1, 'mlx5-like', { state: '1MiB' }) },
  });
  await expectFails(pair);
  await pair.destination.event(['M:failed']);
  expect(pair.destination.vm.queryMigrate()['error-desc']).toMatch(/STOP_COPY_SIZE: expected at most 1048576/);
  expect(pair.source.events).not.toContain('STOP');
  await expectGuestGoesOn(pair.source);
});

test.each(['tiny-match', 'setup-then-state', 'mlx5-like', 'full-resend', 'vgpu'])(
  '%s migrates twice in a row',
  async (name) => {
    const properties = {
      ...(name === 'tiny-match' || name === 'setup-then-state' ? {} : { state: '3MiB' }),
      dirty: '4MiB/s',
    };
    const devices = [await vfioConfig('d0', name, properties)];
    await using pair = await machinePair({ common: { guest: GUEST, devices, capabilities: ACK } });
    await migrated(pair);
    await using second = await machinePair({ common: { guest: GUEST, devices, capabilities: ACK } });
    const mark = pair.destination.events.length;
    await pair.destination.vm.migrate({ uri: second.uri });
    expect(`${await pair.destination.ended(mark)} ${pair.destination.vm.queryMigrate()['error-desc'] ?? ''}`).toBe(
      'completed ',
    );
    await second.destination.event(['RESUME']);
    await expectGuestGoesOn(second.destination);
  },
);
