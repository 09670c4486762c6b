/**
 * VFIO devices in their threads through migrations between two machines of this process. The numbers of acks:
 * switchover-ack.test.ts; the bytes: vfio-section.test.ts; every mode and device: test/e2e/vfio-devices.test.ts.
 */

import { describe, expect, test } from 'vitest';
import { machinePair } from '../../support/machine-pair.ts';
import { expectGuestGoesOn } from '../../support/running-guest.ts';
import { ACK, devicesOf, expectFails, GUEST, migrated, vfioConfig, vfioConfigs } from '../../support/vfio-pair.ts';
import { turnUntil, type WatchedVm } from '../../support/watched-vm.ts';

const MIB = 2 ** 20;

test('the ack comes when the device is ready, not when its bytes were written', async () => {
  const devices = [await vfioConfig('d0', 'mlx5-like', { state: '2MiB', alloc: '60ms/MiB', async: 'on' })];
  await using pair = await machinePair({ common: { guest: GUEST, devices, capabilities: ACK } });
  await migrated(pair);
  expect(devicesOf(pair)[0]?.['ack-ms']).toBeGreaterThanOrEqual(119);
});

test('a source gives up on an ack that does not come, by its timeout, and says who withholds it', async () => {
  const devices = await vfioConfigs(2, 'mlx5-like', { state: '1MiB', alloc: '3000ms/MiB', async: 'on' });
  await using pair = await machinePair({
    common: { guest: GUEST, devices, capabilities: ACK },
    source: { globals: { 'x-switchover-ack-timeout': '300' } },
  });
  expect(await expectFails(pair)).toMatch(/switchover-ack: none after \d+ ms, withheld by d0, d1$/);
  await expectGuestGoesOn(pair.source);
});

test.each([
  [
    'the capability is on at the source only',
    { capabilities: ['return-path'] },
    /on at the source and off at the dest/,
  ],
  [
    'acks are counted differently',
    { globals: { 'switchover-ack-legacy': 'off' } },
    /legacy here, reusable at the dest/,
  ],
])('a source fails at once when %s', async (_what, destination, message) => {
  const devices = await vfioConfigs(1, 'mlx5-like', { state: '1MiB' });
  await using pair = await machinePair({ common: { guest: GUEST, devices, capabilities: ACK }, destination });
  expect(await expectFails(pair)).toMatch(message);
  await expectGuestGoesOn(pair.source);
});

test('contents that are not those of the device are told by their place', async () => {
  await using pair = await machinePair({
    common: { guest: GUEST, capabilities: ACK },
    source: { devices: await vfioConfigs(1, 'mlx5-like', { state: '1MiB', seed: '1' }) },
    destination: { devices: await vfioConfigs(1, 'mlx5-like', { state: '1MiB', seed: '2' }) },
  });
  await expectFails(pair);
  await pair.destination.event(['M:failed']);
  expect(pair.destination.vm.queryMigrate()['error-desc']).toMatch(
    /'d0': bad data at byte 40, IMAGE at 0: expected 0x/,
  );
});

test('an exhausted pool is told with its figures, and the next migration completes', async () => {
  const devices = await vfioConfigs(2, 'mlx5-like', { state: '3MiB' });
  const common = { guest: GUEST, devices, capabilities: ACK };
  await using pair = await machinePair({ common, destination: { resourceBytes: 5 * MIB } });
  await expectFails(pair);
  await pair.destination.event(['M:failed']);
  expect(pair.destination.vm.queryMigrate()['error-desc']).toMatch(
    /^VFIO device 'd[01]' needs 3145728 bytes of the machine's resources, and 2097152 of 5242880 are left/,
  );
  expect(pair.source.events).not.toContain('STOP');
  await expectGuestGoesOn(pair.source);
  await using again = await machinePair({ common });
  const mark = pair.source.events.length;
  await pair.source.vm.migrate({ uri: again.uri });
  expect(await pair.source.ended(mark)).toBe('completed');
});

test('a cancel while the ack is withheld leaves devices and guest running, and the next migration completes', async () => {
  const slow = await vfioConfigs(2, 'mlx5-like', { state: '2MiB', alloc: '500ms/MiB', async: 'on' });
  await using pair = await machinePair({ common: { guest: GUEST, capabilities: ACK, devices: slow } });
  await pair.source.vm.migrate({ uri: pair.uri });
  await turnUntil(() => (pair.source.vm.queryMigrate().vfio?.transferred ?? 0) >= 2 * 2 * MIB);
  expect(pair.source.vm.queryMigrate()['x-switchover']?.['ack-withheld-by']).toEqual(['d0', 'd1']);
  await pair.source.vm.migrateCancel();
  expect(await pair.source.ended()).toBe('cancelled');
  await expectGuestGoesOn(pair.source);
  await using next = await machinePair({
    common: { guest: GUEST, capabilities: ACK, devices: await vfioConfigs(2, 'mlx5-like', { state: '2MiB' }) },
  });
  const mark = pair.source.events.length;
  await pair.source.vm.migrate({ uri: next.uri });
  expect(await pair.source.ended(mark)).toBe('completed');
});

describe('a guest that is stopped by hand while its device is saved, and does not fit', () => {
  const stateBytes = MIB / 4;
  const transferred = ({ vm }: WatchedVm) => vm.queryMigrate().vfio?.transferred ?? 0;
  async function stoppedPair(capabilities: readonly string[]) {
    const devices = await vfioConfigs(2, 'mlx5-like', { state: `${stateBytes}` });
    // Nothing fits into no time.
    const source = { parameters: { 'downtime-limit': 0 } };
    const pair = await machinePair({ common: { guest: GUEST, devices, capabilities }, source });
    await pair.source.vm.migrate({ uri: pair.uri });
    await turnUntil(() => transferred(pair.source) >= 2 * stateBytes);
    await pair.source.vm.stop();
    return pair;
  }

  test.each([{ capabilities: ACK }, { capabilities: [...ACK, 'multifd'] }, { capabilities: ['return-path'] }])(
    'has all of it sent, and completes once it may ($capabilities)',
    async ({ capabilities }) => {
      await using pair = await stoppedPair(capabilities);
      const { source, destination } = pair;
      await turnUntil(() => transferred(source) >= 4 * stateBytes); // the last image too
      expect(source.vm.queryMigrate().status).toBe('active');
      source.vm.setParameters({ 'downtime-limit': 2000 });
      expect(await source.ended(), source.vm.queryMigrate()['error-desc']).toBe('completed');
      await turnUntil(() => destination.vm.queryStatus().status === 'paused');
      expect(destination.vm.checkGuests()).toMatchObject([{ ok: true }]);
    },
  );

  test('and then started again has ended that: an error by name, and the next migration completes', async () => {
    await using pair = await stoppedPair(ACK);
    const { source } = pair;
    await source.vm.cont();
    expect(await source.ended()).toBe('failed');
    expect(source.vm.queryMigrate()['error-desc']).toMatch(/^VFIO device 'd[01]', .* got running$/);
    await expectGuestGoesOn(source);
    await using next = await machinePair({
      common: {
        guest: GUEST,
        devices: await vfioConfigs(2, 'mlx5-like', { state: `${stateBytes}` }),
        capabilities: ACK,
      },
    });
    source.vm.setParameters({ 'downtime-limit': 2000 });
    const mark = source.events.length;
    await source.vm.migrate({ uri: next.uri });
    expect(await source.ended(mark)).toBe('completed');
  });
});
