/** Machines that must not migrate say so before anything begins; VFIO devices tell their states (spec/vfio.md §2.5). */

import { describe, expect, test } from 'vitest';
import { blockersOf, toleratedBlockers } from '../../../src/migration/blockers.ts';
import { Vm } from '../../../src/migration/vm.ts';
import { machinePair } from '../../support/machine-pair.ts';
import { expectGuestGoesOn } from '../../support/running-guest.ts';
import { GUEST, migrated, vfioConfig, vfioConfigs } from '../../support/vfio-pair.ts';
import { WatchedVm } from '../../support/watched-vm.ts';

describe('migrate is refused, and the guest never notices,', () => {
  test.for([
    [
      'with two VFIO devices without P2P',
      [{ p2p: 'off' }, { p2p: 'off' }],
      /2 VFIO devices .* P2P, which 'd0', 'd1' do not$/,
    ],
    ['with two VFIO devices of which one has no P2P', [{ p2p: 'on' }, { p2p: 'off' }], /P2P, which 'd1' does not$/],
    ['with a device that must not', [{ 'enable-migration': 'off' }], /'d0' must not migrate: enable-migration is off$/],
    [
      'with a device that does not log what it writes',
      [{ 'x-device-dirty-page-tracking': 'off' }],
      /'d0' does not say which guest pages it writes .*enable-migration is auto$/,
    ],
  ] as const)('%s', async ([, properties, message]) => {
    const devices = await Promise.all(
      properties.map((texts, n) => vfioConfig(`d${n}`, 'mlx5-like', { state: '64KiB', ...texts })),
    );
    await using source = await WatchedVm.start({ machineType: 'harness', running: true, guest: GUEST, devices });
    await expect(source.vm.migrate({ uri: 'unix:/nobody' })).rejects.toThrow(message);
    expect(source.events).toEqual([]);
    const { 'blocked-reasons': reasons, ...rest } = source.vm.queryMigrate();
    expect(rest).toEqual({});
    expect(reasons).toEqual([expect.stringMatching(message)]);
    await expectGuestGoesOn(source);
  });

  test('with a state that has a file descriptor', () => {
    const [blocker] = blockersOf([{ id: 'shm', idstr: '0000:00:03.0/ivshmem', descriptorField: 'pipe' }]);
    expect(blocker).toEqual({
      reason: 'non-migratable device: 0000:00:03.0/ivshmem',
      refusal:
        "State blocked by non-migratable device '0000:00:03.0/ivshmem': its field pipe is a file descriptor, which no transport here carries",
    });
  });
});

describe('with -only-migratable', () => {
  test('a device that blocks keeps the machine from starting', async () => {
    const device = await vfioConfig('d0', 'mlx5-like', { state: '64KiB', 'enable-migration': 'off' });
    const start = WatchedVm.start({ machineType: 'harness', onlyMigratable: true, guest: GUEST, devices: [device] });
    await expect(start).rejects.toThrow(
      "disallowing migration blocker (--only-migratable) for: VFIO device 'd0' must not migrate: enable-migration is off",
    );
  });

  test('a device whose state cannot be sent is named', () => {
    const device = { id: 'shm', idstr: 'shm', descriptorField: 'pipe' };
    expect(() => toleratedBlockers([device], { onlyMigratable: true })).toThrow(
      'Device shm is not migratable, but --only-migratable was specified',
    );
    expect(toleratedBlockers([], { onlyMigratable: true })).toEqual([]);
  });
});

describe('migrate is accepted', () => {
  test.for([
    ['with one VFIO device without P2P', 1, { p2p: 'off' }],
    ['with two that have it', 2, { p2p: 'on' }],
    [
      'with a device that logs nothing and must',
      1,
      { 'x-device-dirty-page-tracking': 'off', 'enable-migration': 'on' },
    ],
  ] as const)('%s', async ([, count, properties]) => {
    const devices = await vfioConfigs(count, 'mlx5-like', { state: '64KiB', ...properties });
    await using pair = await machinePair({ common: { devices } });
    expect(pair.source.vm.queryMigrate()).toEqual({});
    await migrated(pair);
  });
});

describe('with migration-events', () => {
  async function statesOf(properties: Readonly<Record<string, string>>) {
    const devices = await vfioConfigs(1, 'mlx5-like', { state: '64KiB', ...properties });
    await using pair = await machinePair({ common: { devices } });
    const states = [pair.source, pair.destination].map(({ vm }) => {
      const seen: object[] = [];
      if (vm instanceof Vm) vm.onEvent(({ name, data }) => name === 'VFIO_MIGRATION' && seen.push(data));
      return seen;
    });
    await migrated(pair);
    return states;
  }
  const told = (...states: string[]) =>
    states.map((state) => ({ 'device-id': 'd0', 'qom-path': '/machine/peripheral/d0', 'device-state': state }));

  test('both sides tell every state that is reached', async () => {
    const [source, destination] = await statesOf({ 'migration-events': 'on' });
    expect(source).toEqual(told('pre-copy', 'pre-copy-p2p', 'stop-copy', 'stop'));
    expect(destination).toEqual(told('resuming', 'stop', 'running'));
  });

  test('off, nothing is told', async () => {
    expect(await statesOf({})).toEqual([[], []]);
  });
});
