/**
 * A VFIO device whose driver throws, hangs or ends its thread in any call, on either side: the error names it, the guest of
 * the source goes on, and the next migration succeeds.
 */

import { existsSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { parseProperties } from '../../src/hw/device-property.ts';
import type { DeviceConfig } from '../../src/hw/device-thread.ts';
import faultyVfio from '../support/devices/faulty-vfio.ts';
import { HOWS, recordingLog } from '../support/faulty-machines.ts';
import { held, settled } from '../support/process-counts.ts';
import { expectGuestGoesOn } from '../support/running-guest.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import { turnUntil, WatchedVm } from '../support/watched-vm.ts';

// Most wait for a deadline, which they can do together; more at a time would starve each other of the processor.
vi.setConfig({ maxConcurrency: 8, testTimeout: 60_000 });

const MODULE = new URL('../support/devices/faulty-vfio.ts', import.meta.url).href;
/** Hanging takes so long; far more than a request needs on a busy machine. */
const DEADLINE_MS = 2_000;
const COMMAND = { region: 'registers', offset: 0, size: 4 } as const;
const COMMON = {
  machineType: 'harness',
  guest: 'guest-sweep,id=g,rate=4MiB',
  deviceDeadlineMs: DEADLINE_MS,
  capabilities: ['return-path', 'switchover-ack'],
} as const;

function devices(properties: Readonly<Record<string, string>> = {}): DeviceConfig[] {
  const texts = new Map(Object.entries({ state: '256KiB', p2p: 'on', ...properties }));
  return [
    {
      id: 'bad',
      module: MODULE,
      definition: faultyVfio,
      properties: parseProperties(faultyVfio.properties, texts, 'faulty-vfio'),
    },
  ];
}

async function waitingIn(dir: TempDir, name: string, properties: Readonly<Record<string, string>> = {}) {
  const uri = `unix:${dir.file(name)}`;
  const vm = await WatchedVm.start({ ...COMMON, devices: devices(properties), running: true, incoming: uri });
  return { vm: vm.vm, watched: vm, uri, [Symbol.asyncDispose]: () => vm[Symbol.asyncDispose]() };
}

async function migrated(source: WatchedVm, uri: string): Promise<string> {
  const mark = source.events.length;
  await source.vm.migrate({ uri });
  return source.ended(mark);
}

async function expectNextSucceeds(source: WatchedVm, dir: TempDir): Promise<void> {
  await (await source.vm.device('bad')).write(COMMAND, 0x77);
  await using destination = await waitingIn(dir, 'next');
  expect(await migrated(source, destination.uri), source.vm.queryMigrate()['error-desc']).toBe('completed');
  await destination.watched.event(['RESUME']);
  expect(await (await destination.vm.device('bad')).read(COMMAND)).toBe(0x77);
  await expectGuestGoesOn(destination.watched);
}

/** One test for all calls, a migration each; hanging takes its time, so there each call has its test. */
function plans(calls: readonly string[]) {
  const together = ['throw', 'exit'].map((how) => ({ how, calls, title: calls.join(', ') }));
  return [...together, ...calls.map((call) => ({ how: 'hang', calls: [call], title: call }))];
}

describe.concurrent('on the source', () => {
  const ALL = [
    'stop-copy-bytes',
    'running>pre-copy',
    'precopy-info',
    'vfio-read',
    'pre-copy>pre-copy-p2p',
    'pre-copy-p2p>stop-copy',
    'stop-copy>stop',
  ];
  // Apart from the others: whether the guest goes on is looked at by stopping it.
  test.each([...plans(ALL), ...plans(['stop', 'save'])])(
    'a driver that fails ($how) in $title fails the migration by its name',
    async ({ how, calls }) => {
      await using dir = await tempDir();
      const bad = devices({ fault: calls.join('+'), how, once: dir.file('did') });
      await using source = await WatchedVm.start({ ...COMMON, devices: bad, running: true });
      for (const call of calls) {
        await using destination = await waitingIn(dir, call);
        expect(await migrated(source, destination.uri), call).toBe('failed');
        expect(source.vm.queryMigrate()['error-desc'], call).toMatch(/device 'bad'/);
        await expectGuestGoesOn(source);
      }
      await expectNextSucceeds(source, dir);
    },
  );
});

describe.concurrent('on the destination', () => {
  const ALL = ['stop>resuming', 'vfio-write', 'ready', 'resuming>stop', 'stop>running-p2p', 'running-p2p>running'];
  test.each(plans(ALL))(
    'a driver that fails ($how) in $title fails the migration by its name',
    async ({ how, calls }) => {
      await using dir = await tempDir();
      await using source = await WatchedVm.start({ ...COMMON, devices: devices(), running: true });
      for (const call of calls) {
        await using destination = await waitingIn(dir, call, { fault: call, how });
        expect(await migrated(source, destination.uri), call).toBe('failed');
        await destination.watched.event(['M:failed']);
        expect(destination.vm.queryMigrate()['error-desc'], call).toMatch(/device 'bad'/);
        await expectGuestGoesOn(source);
      }
      await expectNextSucceeds(source, dir);
    },
  );
});

describe.concurrent('a destination of which', () => {
  const calls = ['landing', 'load', 'start', 'vfio-write+vfio-reset'];
  const cases = HOWS.flatMap((how) => calls.map((call) => ({ how, call })));
  test.each(cases)('$call fails ($how) fails the migration by its name', async ({ how, call }) => {
    await using dir = await tempDir();
    await using source = await WatchedVm.start({ ...COMMON, devices: devices(), running: true });
    await using destination = await waitingIn(dir, 'first', { fault: call, how });
    expect(await migrated(source, destination.uri)).toBe('failed');
    await destination.watched.event(['M:failed']);
    expect(destination.vm.queryMigrate()['error-desc']).toMatch(/device 'bad'/);
    await expectGuestGoesOn(source);
    await expectNextSucceeds(source, dir);
  });
});

describe.concurrent('a source goes on after a migration that failed, and migrates again, though its device fails in', () => {
  // What made the migration fail decides how far the source's device had come.
  const after = { precopy: 'vfio-write', switchover: 'resuming>stop' };
  const calls = [
    { call: 'pre-copy>running', when: after.precopy },
    { call: 'stop>running-p2p', when: after.switchover },
    { call: 'running-p2p>running', when: after.switchover },
  ];
  const cases = HOWS.flatMap((how) => calls.map((each) => ({ how, ...each })));
  test.each(cases)('$call ($how)', async ({ how, call, when }) => {
    await using dir = await tempDir();
    const bad = devices({
      fault: call,
      how,
      once: dir.file('did'),
      ...(call === 'pre-copy>running' ? {} : { after: '1' }),
    });
    await using source = await WatchedVm.start({ ...COMMON, devices: bad, running: true });
    await using destination = await waitingIn(dir, 'first', { fault: when });
    expect(await migrated(source, destination.uri)).toBe('failed');
    // Not looked at by stopping it, which would end a session that was left open.
    await turnUntil(() => source.vm.queryStatus().status === 'running');
    expect(existsSync(`${dir.file('did')}-${call}`)).toBe(true);
    await expectNextSucceeds(source, dir);
  });
});

describe.concurrent('on a machine that does not migrate, a driver that fails', () => {
  test.each(plans(['running>running-p2p', 'running-p2p>stop']))(
    '($how) in $title as the machine stops fails that only',
    async ({ how, calls }) => {
      await using dir = await tempDir();
      const bad = devices({ fault: calls.join('+'), how, once: dir.file('did'), armed: dir.file('armed') });
      await using machine = await WatchedVm.start({ ...COMMON, devices: bad, running: true });
      writeFileSync(dir.file('armed'), ''); // before, a new device stops as its machine is made
      for (const call of calls) await expect(machine.vm.stop(), call).rejects.toThrow(/device 'bad'/);
      await expectGuestGoesOn(machine);
      await expectNextSucceeds(machine, dir);
    },
  );

  const starting = ['stop>running-p2p', 'running-p2p>running'];
  test.each(starting.flatMap((call) => HOWS.map((how) => ({ call, how }))))(
    '($how) in $call as the machine goes on leaves it stopped, and it can be started again',
    async ({ how, call }) => {
      await using dir = await tempDir();
      const bad = devices({ fault: call, how, once: dir.file('did'), armed: dir.file('armed') });
      await using machine = await WatchedVm.start({ ...COMMON, devices: bad, running: true });
      await machine.vm.stop();
      writeFileSync(dir.file('armed'), '');
      await expect(machine.vm.cont()).rejects.toThrow(/device 'bad'/);
      expect(machine.vm.queryStatus().status).toBe('paused');
      await machine.vm.cont();
      await expectNextSucceeds(machine, dir);
    },
  );
});

describe.concurrent('of a VFIO device', () => {
  test.each(HOWS)('create (%s) keeps its machine from being made, by its name', async (how) => {
    const machine = WatchedVm.start({ ...COMMON, devices: devices({ fault: 'create', how }), running: true });
    await expect(machine).rejects.toThrow(/device 'bad' failed in 'create'/);
  });

  test.each(HOWS)('close (%s) does not hold up the end', async (how) => {
    const log = recordingLog();
    const machine = await WatchedVm.start({ ...COMMON, devices: devices({ fault: 'close', how }), log: log.logger });
    await machine[Symbol.asyncDispose]();
    expect(log.text()).toMatch(how === 'throw' ? /'bad'.*failed in 'close'/ : /thread 'bad'/);
  });
});

describe.concurrent('without P2P and precopy, a driver that fails', () => {
  const plain = { p2p: 'off', precopy: 'off' };
  const source = ['running>stop', 'stop>stop-copy'].map((call) => ({ call, side: 'source' as const }));
  const destination = ['stop>resuming', 'resuming>stop', 'stop>running'].map((call) => ({
    call,
    side: 'destination' as const,
  }));
  const cases = [...source, ...destination].flatMap((each) => HOWS.map((how) => ({ how, ...each })));
  test.each(cases)('($how) in $call on the $side fails the migration by its name', async ({ how, call, side }) => {
    await using dir = await tempDir();
    const armed = dir.file('armed');
    const bad = { ...plain, fault: call, how, armed, ...(side === 'source' ? { once: dir.file('did') } : {}) };
    const capabilities = ['return-path'];
    const running = { ...COMMON, capabilities, running: true };
    const next = `unix:${dir.file('first')}`;
    await using from = await WatchedVm.start({ ...running, devices: devices(side === 'source' ? bad : plain) });
    const there = devices(side === 'source' ? plain : bad);
    await using to = await WatchedVm.start({ ...running, devices: there, incoming: next });
    writeFileSync(armed, ''); // before, a new device stops as its machine is made
    expect(await migrated(from, next)).toBe('failed');
    expect((side === 'source' ? from : to).vm.queryMigrate()['error-desc']).toMatch(/device 'bad'/);
    await expectGuestGoesOn(from);
    await (await from.vm.device('bad')).write(COMMAND, 0x77);
    const uri = `unix:${dir.file('next')}`;
    await using last = await WatchedVm.start({ ...running, devices: devices(plain), incoming: uri });
    expect(await migrated(from, uri)).toBe('completed');
    await last.event(['RESUME']);
    expect(await (await last.vm.device('bad')).read(COMMAND)).toBe(0x77);
    await expectGuestGoesOn(last);
  });
});

describe.concurrent('a driver that does not tell', () => {
  test.each(HOWS)('its features (%s) keeps its machine from being made', async (how) => {
    const machine = WatchedVm.start({ ...COMMON, devices: devices({ fault: 'features', how }), running: true });
    await expect(machine).rejects.toThrow(/device 'bad'/);
  });

  const cases = [
    { what: 'its features any more', side: 'source', fault: (how: string) => `features=${how}` },
    { what: 'its features any more', side: 'destination', fault: (how: string) => `features=${how}` },
    { what: 'whether it is broken', side: 'source', fault: (how: string) => `vfio-read=throw+is-broken=${how}` },
    { what: 'whether it is broken', side: 'destination', fault: (how: string) => `vfio-write=throw+is-broken=${how}` },
  ].flatMap((each) => HOWS.map((how) => ({ how, ...each })));
  test.each(cases)('$what ($how), on the $side, fails the migration by its name', async ({ how, side, fault }) => {
    await using dir = await tempDir();
    const bad = { fault: fault(how), once: dir.file('did'), armed: dir.file('armed') };
    const [here, there] = side === 'source' ? [bad, {}] : [{}, bad];
    await using source = await WatchedVm.start({ ...COMMON, devices: devices(here), running: true });
    await using destination = await waitingIn(dir, 'first', there);
    writeFileSync(dir.file('armed'), ''); // before, a machine asks for its device's features
    expect(await migrated(source, destination.uri)).toBe('failed');
    if (side === 'destination') await destination.watched.event(['M:failed']);
    const failed = side === 'source' ? source.vm : destination.vm;
    expect(failed.queryMigrate()['error-desc']).toMatch(/device 'bad'/);
    await expectGuestGoesOn(source);
    await expectNextSucceeds(source, dir);
  });
});

describe.concurrent('while the migration goes on, a VFIO device that fails', () => {
  const cases = ['source', 'destination'].flatMap((side) => HOWS.map((how) => ({ side, how })));
  test.each(cases)('($how) in a register, on the $side, ends at most the migration', async ({ side, how }) => {
    await using dir = await tempDir();
    const bad = { fault: 'read+write', how, once: dir.file('did') };
    const [here, there] = side === 'source' ? [bad, {}] : [{}, bad];
    const parameters = { 'max-bandwidth': 100_000, 'downtime-limit': 1 }; // it does not converge
    await using source = await WatchedVm.start({ ...COMMON, devices: devices(here), running: true, parameters });
    await using destination = await waitingIn(dir, 'first', there);
    await source.vm.migrate({ uri: destination.uri });
    await source.event(['M:active']);
    await destination.watched.event(['M:active']);
    const failing = side === 'source' ? source.vm : destination.vm;
    const device = await failing.device('bad');
    await expect(device.read(COMMAND)).rejects.toThrow(`device 'bad' failed in 'read'`);
    await expect(device.write(COMMAND, 1)).rejects.toThrow(`device 'bad' failed in 'write'`);
    source.vm.setParameters({ 'max-bandwidth': 0, 'downtime-limit': 2000 });
    if (how === 'throw') {
      expect(await source.ended()).toBe('completed');
      await destination.watched.event(['RESUME']);
      await expectGuestGoesOn(destination.watched);
      return;
    }
    // With its thread went the session that was open.
    expect(await source.ended()).toBe('failed');
    if (side === 'destination') await destination.watched.event(['M:failed']);
    expect(failing.queryMigrate()['error-desc']).toMatch(/device 'bad'/);
    await expectGuestGoesOn(source);
    await expectNextSucceeds(source, dir);
  });
});

test.each(HOWS)('a reset of a machine whose device fails in it (%s) fails by its name, once', async (how) => {
  await using dir = await tempDir();
  const bad = devices({ fault: 'vfio-reset', how, once: dir.file('did') });
  await using machine = await WatchedVm.start({ ...COMMON, devices: bad, running: true });
  await expect(machine.vm.reset()).rejects.toThrow(/device 'bad'/);
  await machine.vm.reset();
  await expectNextSucceeds(machine, dir);
});

describe('nothing is left behind:', () => {
  let before: ReturnType<typeof held>;
  beforeAll(async () => {
    await settled();
    before = held();
  });

  test('threads and descriptors are as many after a fault as before', async () => {
    {
      await using dir = await tempDir();
      const bad = devices({ fault: 'vfio-read', how: 'exit', once: dir.file('did') });
      await using source = await WatchedVm.start({ ...COMMON, devices: bad, running: true });
      await using destination = await waitingIn(dir, 'd');
      expect(await migrated(source, destination.uri)).toBe('failed');
      await expectNextSucceeds(source, dir);
    }
    await settled();
    expect(held()).toEqual(before);
  });
});
