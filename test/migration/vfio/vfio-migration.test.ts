/** VFIO devices in their threads between two machines of this process: acks in both modes and mismatches. */

import { describe, expect, test } from 'vitest';
import type { DeviceConfig } from '../../../src/hw/device-thread.ts';
import { machinePair } from '../../support/machine-pair.ts';
import { vfioConfig } from '../../support/vfio-config.ts';
import type { WatchedVmOptions } from '../../support/watched-vm.ts';

const GUEST = 'guest-sweep,id=g,rate=8MiB';
const ACK = ['return-path', 'switchover-ack'];
const UNLIMITED = { 'max-bandwidth': 0, 'downtime-limit': 5000 };

const nics = (count: number, properties: Record<string, string> = {}): DeviceConfig[] =>
  Array.from({ length: count }, (_, n) => vfioConfig('mlx5-like', `nic${n}`, { state: '2MiB', ...properties }));

function pair(options: { common?: WatchedVmOptions; source?: WatchedVmOptions; destination?: WatchedVmOptions }) {
  const common = { guest: GUEST, parameters: UNLIMITED, ...options.common };
  return machinePair({ ...options, common });
}

describe.each(['on', 'off'])('with switchover-ack-legacy=%s', (legacy) => {
  const globals = { 'switchover-ack-legacy': legacy };

  test.each([1, 2, 4])('%i devices are prepared before the guest stops', async (count) => {
    const devices = nics(count, { alloc: '20ms/MiB', async: 'on' });
    await using machines = await pair({ common: { devices, capabilities: ACK, globals } });
    const { source, destination } = machines;
    await source.vm.migrate({ uri: machines.uri });
    expect(await source.ended()).toBe('completed');
    await destination.event(['RESUME']);
    const told = source.vm.queryMigrate();
    expect(told['x-switchover']?.devices.map(({ id, ready }) => ({ id, ready }))).toEqual(
      devices.map(({ id }) => ({ id, ready: true })),
    );
    for (const device of told['x-switchover']?.devices ?? []) expect(device['ack-ms']).toBeGreaterThan(30);
    expect(told.vfio?.transferred).toBeGreaterThan(count * 4 * 2 ** 20);
  });

  test('a device with precopy beside one without: only the first is waited for', async () => {
    const devices = [...nics(1), vfioConfig('mlx5-like', 'old', { state: '1MiB', precopy: 'off' })];
    await using machines = await pair({ common: { devices, capabilities: ACK, globals } });
    await machines.source.vm.migrate({ uri: machines.uri });
    expect(await machines.source.ended()).toBe('completed');
    const acked = machines.source.vm.queryMigrate()['x-switchover']?.devices.filter((device) => 'ack-ms' in device);
    expect(acked?.map(({ id }) => id)).toEqual(['nic0']);
  });

  test('without VFIO devices it completes all the same', async () => {
    await using machines = await pair({ common: { capabilities: ACK, globals } });
    await machines.source.vm.migrate({ uri: machines.uri });
    expect(await machines.source.ended()).toBe('completed');
  });
});

test('new initial data before the decision asks for another ack, in re-usable mode', async () => {
  const devices = nics(1, { alloc: '50ms/MiB', async: 'on', reinit: '30ms' });
  const globals = { 'switchover-ack-legacy': 'off' };
  await using machines = await pair({ common: { devices, capabilities: ACK, globals } });
  await machines.source.vm.migrate({ uri: machines.uri });
  expect(await machines.source.ended()).toBe('completed');
});

test.each(['tiny-match', 'setup-then-state', 'mlx5-like', 'full-resend', 'vgpu'] as const)(
  '%s: state and registers arrive',
  async (profile) => {
    const state = profile === 'tiny-match' || profile === 'setup-then-state' ? {} : { state: '3MiB', dirty: '4MiB' };
    const devices = [vfioConfig(profile, 'v', state)];
    await using machines = await pair({ common: { devices, capabilities: ACK } });
    const { source, destination } = machines;
    await (await source.vm.device('v')).write({ region: 'registers', offset: 0, size: 4 }, 0x1234);
    await source.vm.migrate({ uri: machines.uri });
    expect(await source.ended()).toBe('completed');
    await destination.event(['RESUME']);
    expect(await (await destination.vm.device('v')).read({ region: 'registers', offset: 0, size: 4 })).toBe(0x1234);
  },
);

describe('fails, and the source runs on,', () => {
  test('when the capability is on at the source only', async () => {
    await using machines = await pair({
      common: { devices: nics(1) },
      source: { capabilities: ACK },
      destination: { capabilities: ['return-path'] },
    });
    const { source } = machines;
    await source.vm.migrate({ uri: machines.uri });
    expect(await source.ended()).toBe('failed');
    expect(source.vm.queryStatus().status).toBe('running');
  });

  test('when the devices differ in what they hold', async () => {
    await using machines = await pair({
      common: { capabilities: ACK },
      source: { devices: nics(1, { seed: '1' }) },
      destination: { devices: nics(1, { seed: '2' }) },
    });
    const { source, destination } = machines;
    await source.vm.migrate({ uri: machines.uri });
    expect(await source.ended()).toBe('failed');
    expect(destination.vm.queryMigrate()['error-desc']).toMatch(/'nic0': bad data at byte 40, IMAGE at 0: expected 0x/);
  });
});

test('with the capability at the destination only, the source does not wait', async () => {
  await using machines = await pair({
    common: { devices: nics(1, { alloc: '20ms/MiB' }) },
    source: { capabilities: ['return-path'] },
    destination: { capabilities: ACK },
  });
  await machines.source.vm.migrate({ uri: machines.uri });
  expect(await machines.source.ended()).toBe('completed');
});
