/**
 * VFIO devices in their threads through migrations between two machines of this process. The numbers of acks:
 * switchover-ack.test.ts; the bytes: vfio-section.test.ts; every mode and device: test/e2e/vfio-devices.test.ts.
 */

import { expect, test } from 'vitest';
import { machinePair } from '../../support/machine-pair.ts';
import {
  ACK,
  devicesOf,
  expectFails,
  expectGuestGoesOn,
  GUEST,
  migrated,
  vfioConfig,
  vfioConfigs,
} from '../../support/vfio-pair.ts';
import { turnUntil } from '../../support/watched-vm.ts';

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
