/** Devices in their threads through a migration between two machines of this process, and what their faults do to it. */

import { describe, expect, test } from 'vitest';
import { COUNTER, counterConfig } from '../support/counter-config.ts';
import { tempDir } from '../support/temp.ts';
import { turnUntil, WatchedVm, type WatchedVmOptions } from '../support/watched-vm.ts';

const DEADLINE_MS = 700;

async function pair(options: { source?: WatchedVmOptions; destination?: WatchedVmOptions }) {
  const dir = await tempDir();
  const uri = `unix:${dir.file('m')}`;
  const common = { machineType: 'harness', deviceDeadlineMs: DEADLINE_MS } as const;
  const destination = await WatchedVm.start({ ...common, ...options.destination, running: true, incoming: uri });
  const source = await WatchedVm.start({ ...common, guest: 'guest-sweep,id=g', ...options.source, running: true });
  return {
    source,
    destination,
    uri,
    [Symbol.asyncDispose]: async () => {
      await source[Symbol.asyncDispose]();
      await destination[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}

describe('a migration', () => {
  test('carries the state of every device, two of one kind apart', async () => {
    const devices = [counterConfig('a', { count: '5' }), counterConfig('b')];
    await using machines = await pair({
      source: { devices },
      destination: { devices: [counterConfig('a'), counterConfig('b')], guest: 'guest-sweep,id=g' },
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
    const capabilities = ['return-path'];
    const guest = 'guest-sweep,id=g';
    await using machines = await pair({
      source: { devices: [counterConfig('a')], capabilities },
      destination: { devices: [counterConfig('a')], guest, capabilities },
    });
    await machines.source.vm.migrate({ uri: machines.uri });
    expect(await machines.source.ended()).toBe('completed');
    const told = machines.source.vm.queryMigrate()['x-switchover'];
    expect(told?.peer).toBe('switchover');
    const ledger = told?.ledger;
    expect(ledger?.explainedMs).toBeGreaterThan(0.98 * (ledger?.downtimeMs ?? Number.POSITIVE_INFINITY));
    const phases = new Set(ledger?.parts.filter(({ row }) => row === 'a').map(({ phase }) => phase));
    expect([...phases].sort()).toEqual(['load', 'queue', 'save', 'wire']);
  });

  test('to a machine that lacks a device fails by naming its section', async () => {
    await using machines = await pair({ source: { devices: [counterConfig('a')] }, destination: {} });
    await machines.source.vm.migrate({ uri: machines.uri });
    await machines.destination.event(['M:failed']);
    expect(machines.destination.vm.queryMigrate()['error-desc']).toMatch(
      /'counter' instance 0.*device that this machine has not/,
    );
  });

  test('to a machine with a device more fails by naming that device', async () => {
    await using machines = await pair({ source: {}, destination: { devices: [counterConfig('extra')] } });
    await machines.source.vm.migrate({ uri: machines.uri });
    await machines.destination.event(['M:failed']);
    expect(machines.destination.vm.queryMigrate()['error-desc']).toMatch(
      /'counter' instance 0.*got EOF.*device 'extra'/,
    );
  });
});

describe('a device on the source', () => {
  test.each([
    ['save', 'throw'],
    ['save', 'hang'],
    ['save', 'exit'],
    ['stop', 'throw'],
    ['stop', 'hang'],
    ['stop', 'exit'],
  ])('that fails in %s (%s) fails the migration; the guest runs on and the device answers', async (fault, how) => {
    const devices = [counterConfig('bad', { fault, how, count: '3' })];
    await using machines = await pair({ source: { devices }, destination: { devices: [counterConfig('bad')] } });
    const { source, uri } = machines;
    await source.vm.migrate({ uri });
    expect(await source.ended()).toBe('failed');
    expect(source.vm.queryMigrate()['error-desc']).toMatch(new RegExp(`device 'bad' failed in '${fault}'`));
    await turnUntil(() => source.vm.queryStatus().status === 'running'); // the status comes first, as in QEMU
    expect(await (await source.vm.device('bad')).read(COUNTER.COUNT)).toBe(3);
  });
});

describe('a device on the destination', () => {
  test.each(['throw', 'hang', 'exit'])('that fails in load (%s) fails the load by its name', async (how) => {
    const devices = [counterConfig('bad', { fault: 'load', how })];
    await using machines = await pair({ source: { devices: [counterConfig('bad')] }, destination: { devices } });
    await machines.source.vm.migrate({ uri: machines.uri });
    await machines.destination.event(['M:failed']);
    expect(machines.destination.vm.queryMigrate()['error-desc']).toMatch(/device 'bad' failed in 'load'/);
  });
});
