/** Devices in their threads through a migration between two machines of this process. Their faults: e2e/device-faults.test.ts. */

import { describe, expect, test } from 'vitest';
import { COUNTER, counterConfig } from '../support/counter-config.ts';
import { machinePair } from '../support/machine-pair.ts';
import { vfioConfig } from '../support/vfio-pair.ts';

describe('a migration', () => {
  test('carries the state of every device, two of one kind apart', async () => {
    await using machines = await machinePair({
      common: { guest: 'guest-sweep,id=g' },
      source: { devices: [counterConfig('a', { count: '5' }), counterConfig('b')] },
      destination: { devices: [counterConfig('a'), counterConfig('b')] },
    });
    const { source, destination, uri } = machines;
    await (await source.vm.device('b')).write(COUNTER.COUNT, 77);
    await source.vm.migrate({ uri });
    expect(await source.ended()).toBe('completed');
    await destination.event(['RESUME']);
    expect(await (await destination.vm.device('a')).read(COUNTER.COUNT)).toBe(5);
    expect(await (await destination.vm.device('b')).read(COUNTER.COUNT)).toBe(77);
  });

  test('between two Switchovers explains its downtime, down to each device', async () => {
    // A downtime of a quarter of a second: clocks and turns of the event loop are then far below two percent.
    const nic = await vfioConfig('nic', 'mlx5-like', { state: '5MiB', load: '20MiB' });
    const parameters = { 'max-bandwidth': 0, 'downtime-limit': 5000 };
    await using machines = await machinePair({
      common: {
        guest: 'guest-sweep,id=g',
        devices: [counterConfig('a'), nic],
        capabilities: ['return-path'],
        parameters,
      },
    });
    await machines.source.vm.migrate({ uri: machines.uri });
    expect(await machines.source.ended()).toBe('completed');
    const told = machines.source.vm.queryMigrate()['x-switchover'];
    expect(told?.peer).toBe('switchover');
    const ledger = told?.ledger;
    expect(ledger?.downtimeMs).toBeGreaterThan(200);
    expect(ledger?.explainedMs).toBeGreaterThan(0.98 * (ledger?.downtimeMs ?? Number.POSITIVE_INFINITY));
    const phases = new Set(ledger?.parts.filter(({ row }) => row === 'a').map(({ phase }) => phase));
    expect([...phases].sort()).toEqual(['load', 'queue', 'save', 'wire']);
  });

  test('to a machine that lacks a device fails by naming its section', async () => {
    await using machines = await machinePair({ source: { devices: [counterConfig('a')] } });
    await machines.source.vm.migrate({ uri: machines.uri });
    await machines.destination.event(['M:failed']);
    expect(machines.destination.vm.queryMigrate()['error-desc']).toMatch(
      /'counter' instance 0.*device that this machine has not/,
    );
  });

  test('to a machine with a device more fails by naming that device', async () => {
    await using machines = await machinePair({ source: {}, destination: { devices: [counterConfig('extra')] } });
    await machines.source.vm.migrate({ uri: machines.uri });
    await machines.destination.event(['M:failed']);
    expect(machines.destination.vm.queryMigrate()['error-desc']).toMatch(
      /'counter' instance 0.*got EOF.*device 'extra'/,
    );
  });
});
