/** The state of VFIO devices over multifd channels, between two machines of this process (spec/vfio.md §2.6). */

import { describe, expect, test } from 'vitest';
import { loadSpans, togetherMs } from '../support/ledger-spans.ts';
import { machinePair } from '../support/machine-pair.ts';
import { expectGuestGoesOn } from '../support/running-guest.ts';
import { ACK, expectFails, GUEST, migrated, vfioConfig, vfioConfigs } from '../support/vfio-pair.ts';
import { turnUntil } from '../support/watched-vm.ts';

const MIB = 2 ** 20;
/** What `vfio.transferred` counts besides the state, for each packet. */
const HEADER_BYTES = 12;
const ON = { 'x-migration-multifd-transfer': 'on' };
const OFF = { 'x-migration-multifd-transfer': 'off' };
const COMMAND = { region: 'registers', offset: 0, size: 4 } as const;
const MULTIFD = ['multifd', 'return-path'];

describe.each([
  ['without switchover-ack', MULTIFD],
  ['with switchover-ack', ['multifd', ...ACK]],
])('%s', (_how, capabilities) => {
  test.each([1, 2, 4].flatMap((devices) => [1, 2, 3, 4].map((channels) => [devices, channels])))(
    '%i devices over %i channels arrive whole',
    async (count, channels) => {
      const devices = await vfioConfigs(count!, 'mlx5-like', { state: '3MiB', precopy: 'on', ...ON });
      const parameters = { 'multifd-channels': channels };
      await using pair = await machinePair({ common: { guest: GUEST, devices, capabilities, parameters } });
      await (await pair.source.vm.device('d0')).write(COMMAND, 5);
      await migrated(pair);
      expect(await (await pair.destination.vm.device('d0')).read(COMMAND)).toBe(5);
      await expectGuestGoesOn(pair.destination);
    },
  );
});

test('vfio.transferred counts the state, and 12 bytes for each packet', async () => {
  // Without precopy all of it goes over channels: a record of 16 bytes and the state, then the CONFIG record.
  const devices = [await vfioConfig('d0', 'tiny-match', { state: `${2 * MIB}`, precopy: 'off', ...ON })];
  await using pair = await machinePair({ common: { guest: GUEST, devices, capabilities: MULTIFD } });
  await migrated(pair);
  const matchBytes = 40;
  const configBytes = 8 + 8 + 8;
  const packets = 3 + 1;
  expect(pair.source.vm.queryMigrate().vfio?.transferred).toBe(
    matchBytes + 16 + 2 * MIB + configBytes + packets * HEADER_BYTES,
  );
});

test('more state than all channels hold does not stand in the way of RAM', async () => {
  const devices = await vfioConfigs(4, 'mlx5-like', { state: '40MiB', precopy: 'off', ...ON });
  const parameters = { 'multifd-channels': 4, 'downtime-limit': 20_000 };
  const guest = 'guest-sweep,id=g,rate=200MiB';
  await using pair = await machinePair({
    common: { guest, ramBytes: 64 * MIB, devices, capabilities: MULTIFD, parameters },
  });
  await turnUntil(() => !pair.source.vm.ram.isUnwritten(64 * 256 - 1)); // it has been everywhere
  await migrated(pair);
  await expectGuestGoesOn(pair.destination);
});

test('auto uses the channels when there are some, and the main channel otherwise', async () => {
  const devices = await vfioConfigs(1, 'mlx5-like', { state: '2MiB', precopy: 'off' });
  const transferred = async (capabilities: string[], parameters = {}) => {
    await using pair = await machinePair({ common: { guest: GUEST, devices, capabilities, parameters } });
    await migrated(pair);
    return pair.source.vm.queryMigrate().vfio?.transferred ?? 0;
  };
  const overMain = await transferred(['return-path']);
  expect(await transferred(MULTIFD, { 'multifd-compression': 'zstd' })).toBe(overMain);
  expect(await transferred(MULTIFD)).toBeGreaterThan(overMain);
});

describe('four devices, RAM and a writing guest over four channels', () => {
  const common = {
    guest: 'guest-sweep,id=g,rate=50MiB',
    ramBytes: 64 * MIB,
    capabilities: MULTIFD,
  };
  const devices = vfioConfigs(4, 'mlx5-like', { state: '6MiB', load: '20MiB', ...ON });

  const zstd = { 'multifd-channels': 4, 'multifd-compression': 'zstd' };

  test('with zstd: refused by the source, and the guest goes on', async () => {
    await using pair = await machinePair({ common: { ...common, devices: await devices, parameters: zstd } });
    expect(await expectFails(pair)).toMatch(/device 'd0' cannot go over multifd channels: multifd-compression is zstd/);
    expect(pair.source.events).not.toContain('STOP');
    await expectGuestGoesOn(pair.source);
  });

  test('with zstd: refused by the destination', async () => {
    const auto = await vfioConfigs(4, 'mlx5-like', { state: '6MiB' });
    await using pair = await machinePair({
      common: { ...common, parameters: zstd },
      source: { devices: auto },
      destination: { devices: await devices },
    });
    await expectFails(pair);
    await pair.destination.event(['M:failed']);
    expect(pair.destination.vm.queryMigrate()['error-desc']).toMatch(/multifd-compression is zstd/);
    await expectGuestGoesOn(pair.source);
  });

  test('uncompressed: the ledger shows that they load at the same time', async () => {
    const parameters = { 'multifd-channels': 4, 'downtime-limit': 5000 };
    await using pair = await machinePair({ common: { ...common, devices: await devices, parameters } });
    await migrated(pair);
    await expectGuestGoesOn(pair.destination);
    const loads = loadSpans(pair);
    expect(loads.map(({ row }) => row)).toEqual(['d0', 'd1', 'd2', 'd3']);
    // Each takes about 300 ms by its own rate; one after the other none would overlap.
    expect(togetherMs(loads)).toBeGreaterThan(100);
    const ledger = pair.source.vm.queryMigrate()['x-switchover']?.ledger;
    expect((ledger?.explainedMs ?? 0) / (ledger?.downtimeMs ?? 1)).toBeGreaterThan(0.95);
  });
});

describe('when the sides do not agree', () => {
  const sides = async (source: object, destination: object) => ({
    common: { guest: GUEST, capabilities: MULTIFD },
    source: { devices: await vfioConfigs(1, 'mlx5-like', { state: '1MiB', ...source }) },
    destination: { devices: await vfioConfigs(1, 'mlx5-like', { state: '1MiB', ...destination }) },
  });

  test('a packet for a device that does not take it is an error that says so', async () => {
    await using pair = await machinePair(await sides(ON, OFF));
    await expectFails(pair);
    await pair.destination.event(['M:failed']);
    expect(pair.destination.vm.queryMigrate()['error-desc']).toMatch(
      /multifd channel \d, packet \d+.*expected no device state: x-migration-multifd-transfer is off here.*Hint: set multifd/,
    );
    await expectGuestGoesOn(pair.source);
  });

  test('a CONFIG record on the main channel is an error that says so', async () => {
    await using pair = await machinePair(await sides(OFF, ON));
    await expectFails(pair);
    await pair.destination.event(['M:failed']);
    expect(pair.destination.vm.queryMigrate()['error-desc']).toMatch(
      /expected no DEV_CONFIG_STATE: it comes over a multifd channel.*Hint: set x-migration-multifd-transfer/,
    );
    await expectGuestGoesOn(pair.source);
  });
});

test('a cancel in the middle leaves guest and devices running, and the next migration completes', async () => {
  const devices = await vfioConfigs(2, 'mlx5-like', { state: '8MiB', load: '16MiB', ...ON });
  const common = {
    guest: GUEST,
    devices,
    capabilities: MULTIFD,
    parameters: { 'multifd-channels': 2, 'downtime-limit': 5000 },
  };
  await using pair = await machinePair({ common });
  await pair.source.vm.migrate({ uri: pair.uri });
  await pair.source.event(['M:device']);
  const before = pair.source.vm.queryMigrate().vfio?.transferred ?? 0;
  await turnUntil(() => (pair.source.vm.queryMigrate().vfio?.transferred ?? 0) > before + 2 * MIB);
  await pair.source.vm.migrateCancel();
  expect(await pair.source.ended()).toBe('cancelled');
  await expectGuestGoesOn(pair.source);
  await using next = await machinePair({ common });
  const mark = pair.source.events.length;
  await pair.source.vm.migrate({ uri: next.uri });
  expect(await pair.source.ended(mark)).toBe('completed');
  await next.destination.event(['RESUME']);
  await expectGuestGoesOn(next.destination);
});

test('a device that fails while it takes a packet fails the migration by its name, while channels stand still', async () => {
  const faulty = new URL('../support/devices/faulty-vfio.ts', import.meta.url).pathname;
  const source = { state: '80MiB', precopy: 'off', ...ON };
  await using pair = await machinePair({
    common: { guest: GUEST, capabilities: MULTIFD, parameters: { 'multifd-channels': 2, 'downtime-limit': 5000 } },
    source: { devices: [await vfioConfig('bad', faulty, source)] },
    destination: { devices: [await vfioConfig('bad', faulty, { ...source, fault: 'vfio-write', after: '2' })] },
  });
  await expectFails(pair);
  await pair.destination.event(['M:failed']);
  expect(pair.destination.vm.queryMigrate()['error-desc']).toMatch(/'bad'/);
  await expectGuestGoesOn(pair.source);
});
