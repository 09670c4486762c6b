/**
 * A device that throws, hangs or ends its thread, in each handler and on either side of a migration: the error names it,
 * the guest of the source goes on unharmed, the next migration succeeds, and nothing is left behind.
 */

import { existsSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { COUNTER } from '../support/counter-config.ts';
import {
  asked,
  COMMON,
  counts,
  devices,
  endlessMigration,
  expectNextSucceeds,
  faulty,
  HOWS,
  type How,
  recordingLog,
} from '../support/faulty-machines.ts';
import { machinePair } from '../support/machine-pair.ts';
import { held, settled } from '../support/process-counts.ts';
import { expectGuestGoesOn } from '../support/running-guest.ts';
import { tempDir } from '../support/temp.ts';
import { turnUntil, WatchedVm } from '../support/watched-vm.ts';

// Many wait for a deadline, which they can do together; more at a time would starve each other of the processor.
vi.setConfig({ maxConcurrency: 8, testTimeout: 60_000 });

beforeAll(async () => {
  await using dir = await tempDir();
  await using source = await WatchedVm.start({ ...COMMON, devices: devices(), running: true });
  await expectNextSucceeds(source, dir); // whatever is loaded and started once is there before anything is counted
});

/** What this process has before the first fault. */
let atFirst: ReturnType<typeof held>;
beforeAll(async () => {
  await settled();
  atFirst = held();
});

describe.concurrent('on the source, a device that fails in', () => {
  test.each(HOWS)('stop, then in save (%s), fails two migrations by its name', async (how) => {
    await using dir = await tempDir();
    await using source = await WatchedVm.start({
      ...COMMON,
      devices: faulty(dir, { fault: 'stop+save', how }),
      running: true,
    });
    for (const fault of ['stop', 'save']) {
      const uri = `unix:${dir.file(fault)}`;
      await using _ = await WatchedVm.start({ ...COMMON, devices: devices(), running: true, incoming: uri });
      const mark = source.events.length;
      await source.vm.migrate({ uri });
      expect(await source.ended(mark)).toBe('failed');
      expect(source.vm.queryMigrate()['error-desc']).toMatch(`device 'bad' failed in '${fault}'`);
      await expectGuestGoesOn(source);
      expect(await counts(source)).toEqual([3, 4]);
    }
    await expectNextSucceeds(source, dir);
  });

  test.each(HOWS)('start after a failed migration (%s) is logged and does not hold the guest', async (how) => {
    await using dir = await tempDir();
    const log = recordingLog();
    await using pair = await machinePair({
      common: COMMON,
      source: { devices: faulty(dir, { fault: 'start', after: '1', how }), log: log.logger },
      destination: { devices: devices({ fault: 'load' }) },
    });
    await pair.source.vm.migrate({ uri: pair.uri });
    expect(await pair.source.ended()).toBe('failed');
    await pair.source.event(['RESUME']);
    expect(log.text()).toMatch(`device 'bad' failed in 'start'`);
    await expectGuestGoesOn(pair.source);
    await expectNextSucceeds(pair.source, dir);
  });

  test.each(HOWS)('read, and in load as its thread is replaced (%s), is named for both', async (how) => {
    await using dir = await tempDir();
    await using pair = await machinePair({
      common: COMMON,
      source: { devices: faulty(dir, { fault: `read=exit+load=${how}` }) },
      destination: { devices: devices({ fault: 'load' }) },
    });
    const bad = await pair.source.vm.device('bad');
    await bad.write(COUNTER.COUNT, 8);
    await pair.source.vm.migrate({ uri: pair.uri });
    expect(await pair.source.ended()).toBe('failed');
    await pair.source.event(['RESUME']);
    await expect(bad.read(COUNTER.COUNT)).rejects.toThrow(`device 'bad' failed in 'read'`);
    await expect(bad.read(COUNTER.COUNT)).rejects.toThrow(`device 'bad' failed in 'load'`);
    expect(await counts(pair.source)).toEqual([8, 4]); // what it saved for the failed migration
    await expectNextSucceeds(pair.source, dir, 8);
  });

  test.each(HOWS)('read, write or reset (%s), while the migration goes on, fails that request only', async (how) => {
    await using dir = await tempDir();
    await using pair = await endlessMigration({
      source: { devices: faulty(dir, { fault: 'read+write+reset', how }) },
      destination: { devices: devices() },
    });
    const { source, destination, finish } = pair;
    for (const fault of ['read', 'write', 'reset']) {
      await expect(asked(source, fault)).rejects.toThrow(`device 'bad' failed in '${fault}'`);
      expect(await counts(source)).toEqual([3, 4]);
    }
    expect(source.vm.queryMigrate().status).toBe('active');
    finish();
    expect(await source.ended()).toBe('completed');
    await destination.event(['RESUME']);
    expect(await counts(destination)).toEqual([3, 4]);
    await expectGuestGoesOn(destination);
  });

  test.each(HOWS)('read while the migration goes on, and then in create (%s), fails it by its name', async (how) => {
    await using dir = await tempDir();
    const armed = dir.file('armed');
    await using pair = await endlessMigration({
      source: { devices: faulty(dir, { fault: `read=exit+create=${how}`, armed }) },
      destination: { devices: devices() },
    });
    const { source, finish } = pair;
    writeFileSync(armed, '');
    await expect(asked(source, 'read')).rejects.toThrow(`device 'bad' failed in 'read'`);
    finish();
    expect(await source.ended()).toBe('failed');
    expect(source.vm.queryMigrate()['error-desc']).toMatch(`device 'bad' failed in 'create'`);
    await expectGuestGoesOn(source);
    expect(await counts(source)).toEqual([3, 4]);
    await expectNextSucceeds(source, dir);
  });
});

describe.concurrent('on the source, a device fails the migration by its name that', () => {
  const cases = [
    { what: 'burns its processor', fault: 'save', how: 'spin', named: `'save': it did not answer within` },
    { what: 'waits for something that never comes', fault: 'save', how: 'never', named: `'save': it did not answer` },
    { what: 'hangs in a timer', fault: 'timer', how: 'hang', named: `'stop': it did not answer within` },
    {
      what: 'loses a promise',
      fault: 'timer',
      how: 'reject',
      named: `'stop': its thread ended: told to lose a promise`,
    },
    { what: 'ends its thread in a timer', fault: 'timer', how: 'exit', named: `'stop': its thread ended` },
  ];
  test.each(cases)('$what', async ({ fault, how, named }) => {
    await using dir = await tempDir();
    await using pair = await machinePair({
      common: COMMON,
      source: { devices: faulty(dir, { fault, how }) },
      destination: { devices: devices() },
    });
    const bad = await pair.source.vm.device('bad');
    if (fault === 'timer') await bad.write(COUNTER.PERIOD, 1);
    await turnUntil(() => fault !== 'timer' || existsSync(dir.file('did-timer')));
    await pair.source.vm.migrate({ uri: pair.uri });
    expect(await pair.source.ended()).toBe('failed');
    expect(pair.source.vm.queryMigrate()['error-desc']).toMatch(`device 'bad' failed in ${named}`);
    await expectGuestGoesOn(pair.source);
    await expectNextSucceeds(pair.source, dir);
  });
});

describe.concurrent('in a timer, a device that', () => {
  test('throws on the source is logged, and migrates', async () => {
    await using dir = await tempDir();
    const log = recordingLog();
    const bad = faulty(dir, { fault: 'timer', how: 'throw' });
    await using source = await WatchedVm.start({ ...COMMON, devices: bad, running: true, log: log.logger });
    await (await source.vm.device('bad')).write(COUNTER.PERIOD, 1);
    await turnUntil(() => log.text().includes('told to fail in timer'));
    expect(log.text()).toMatch(/"device":"bad"/);
    await expectNextSucceeds(source, dir);
  });

  test.each(HOWS)(
    'fails (%s) on the destination, whose timer was armed on the source, is there for the next',
    async (how) => {
      await using dir = await tempDir();
      const log = recordingLog();
      await using pair = await machinePair({
        common: COMMON,
        source: { devices: devices() },
        destination: { devices: faulty(dir, { fault: 'timer', how }), log: log.logger },
      });
      const { source, destination } = pair;
      await (await source.vm.device('bad')).write(COUNTER.PERIOD, 500);
      await source.vm.migrate({ uri: pair.uri });
      expect(await source.ended()).toBe('completed');
      await destination.event(['RESUME']);
      await turnUntil(() => existsSync(dir.file('did-timer')));
      const bad = await destination.vm.device('bad');
      if (how !== 'throw') await expect(bad.write(COUNTER.PERIOD, 0)).rejects.toThrow(`device 'bad' failed in 'write'`);
      await bad.write(COUNTER.PERIOD, 0);
      await expectGuestGoesOn(destination);
      await expectNextSucceeds(destination, dir, (await counts(destination))[0]);
    },
  );
});

describe.concurrent('on the destination, a device that fails in', () => {
  test.each(HOWS)('load, or in start (%s), fails the migration on both sides', async (how) => {
    await using dir = await tempDir();
    await using source = await WatchedVm.start({ ...COMMON, devices: devices(), running: true });
    for (const fault of ['load', 'start']) {
      const uri = `unix:${dir.file(fault)}`;
      const bad = devices({ fault, how });
      await using destination = await WatchedVm.start({ ...COMMON, devices: bad, running: true, incoming: uri });
      const mark = source.events.length;
      await source.vm.migrate({ uri });
      expect(await source.ended(mark)).toBe('failed');
      await destination.event(['M:failed']);
      expect(destination.vm.queryMigrate()['error-desc']).toMatch(`device 'bad' failed in '${fault}'`);
      expect(destination.vm.queryStatus().status).not.toBe('running');
      await expectGuestGoesOn(source);
      expect(await counts(source)).toEqual([3, 4]);
    }
    await expectNextSucceeds(source, dir);
  });

  test.each(HOWS)('read before the migration (%s) does not spoil it', async (how) => {
    await using dir = await tempDir();
    await using pair = await machinePair({
      common: COMMON,
      source: { devices: devices() },
      destination: { devices: faulty(dir, { fault: 'read', how }) },
    });
    await expect(counts(pair.destination)).rejects.toThrow(`device 'bad' failed in 'read'`);
    await pair.source.vm.migrate({ uri: pair.uri });
    expect(await pair.source.ended()).toBe('completed');
    await pair.destination.event(['RESUME']);
    expect(await counts(pair.destination)).toEqual([3, 4]);
    await expectGuestGoesOn(pair.destination);
  });

  test.each(HOWS)('read, or in stop (%s), after the migration fails that request only', async (how) => {
    await using dir = await tempDir();
    await using pair = await machinePair({
      common: COMMON,
      source: { devices: devices({ count: '9' }) },
      destination: { devices: faulty(dir, { fault: 'read+stop', how }) },
    });
    await pair.source.vm.migrate({ uri: pair.uri });
    expect(await pair.source.ended()).toBe('completed');
    await pair.destination.event(['RESUME']);
    for (const fault of ['read', 'stop']) {
      await expect(asked(pair.destination, fault)).rejects.toThrow(`device 'bad' failed in '${fault}'`);
      expect(await counts(pair.destination)).toEqual([9, 4]); // a new thread got the state that had arrived
    }
    await expectGuestGoesOn(pair.destination);
    await expectNextSucceeds(pair.destination, dir, 9);
  });
});

describe.concurrent('while state arrives, a device of the destination that fails in', () => {
  test.each(HOWS)('read, in write and in reset (%s) fails that request only', async (how) => {
    await using dir = await tempDir();
    await using pair = await endlessMigration({
      source: { devices: devices({ count: '7' }) },
      destination: { devices: faulty(dir, { fault: 'read+write+reset', how }) },
    });
    const { source, destination, finish } = pair;
    for (const fault of ['read', 'write']) {
      await expect(asked(destination, fault)).rejects.toThrow(`device 'bad' failed in '${fault}'`);
    }
    finish();
    expect(await source.ended()).toBe('completed');
    await destination.event(['RESUME']);
    expect(await counts(destination)).toEqual([7, 4]);
    await expect(asked(destination, 'reset')).rejects.toThrow(`device 'bad' failed in 'reset'`);
    // A thread that ended in it is replaced by a device at power-on, which is what was asked for.
    expect(await counts(destination)).toEqual([how === 'throw' ? 7 : 3, 4]);
    await expectGuestGoesOn(destination);
  });

  test.each(HOWS)('create (%s), as its thread is replaced, fails the migration by its name', async (how) => {
    await using dir = await tempDir();
    const armed = dir.file('armed');
    await using pair = await endlessMigration({
      source: { devices: devices() },
      destination: { devices: devices({ fault: `read=exit+create=${how}`, armed }) },
    });
    const { source, destination, finish } = pair;
    writeFileSync(armed, '');
    await expect(asked(destination, 'read')).rejects.toThrow(`device 'bad' failed in 'read'`);
    finish();
    expect(await source.ended()).toBe('failed');
    await destination.event(['M:failed']);
    expect(destination.vm.queryMigrate()['error-desc']).toMatch(`device 'bad' failed in 'create'`);
    await expectGuestGoesOn(source);
    await expectNextSucceeds(source, dir);
  });

  test.each(HOWS)('close (%s), once it has migrated, does not hold up the end', async (how) => {
    const log = recordingLog();
    await using pair = await machinePair({
      common: COMMON,
      source: { devices: devices() },
      destination: { devices: devices({ fault: 'close', how }), log: log.logger },
    });
    await pair.source.vm.migrate({ uri: pair.uri });
    expect(await pair.source.ended()).toBe('completed');
    await pair.destination.event(['RESUME']);
    await pair.destination[Symbol.asyncDispose]();
    expect(log.text()).toMatch(how === 'throw' ? /'bad'.*failed in 'close'/ : /thread 'bad'/);
  });
});

describe('nothing is left behind:', () => {
  /** Counted after the first machine of this file had come and gone, so what is loaded once is in it. */
  let before: ReturnType<typeof held>;
  beforeAll(async () => {
    await settled();
    before = held();
  });

  test('threads and descriptors are as many after faults as before', async () => {
    await replacedOnce('hang');
    await replacedOnce('exit');
    await settled();
    expect(held()).toEqual(before);
  });

  test('of everything above neither a thread nor a descriptor', async () => {
    await settled();
    expect(held()).toEqual(atFirst);
  });
});

async function replacedOnce(how: How): Promise<void> {
  await using dir = await tempDir();
  await using pair = await machinePair({
    common: COMMON,
    source: { devices: faulty(dir, { fault: 'save', how }) },
    destination: { devices: devices() },
  });
  await pair.source.vm.migrate({ uri: pair.uri });
  expect(await pair.source.ended()).toBe('failed');
  await expectNextSucceeds(pair.source, dir);
}
