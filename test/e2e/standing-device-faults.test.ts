/** A device that throws, hangs or ends its thread in each handler, on a machine that does not migrate: what was asked of it fails by its name. */

import { existsSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { describe, expect, test, vi } from 'vitest';
import { COUNTER } from '../support/counter-config.ts';
import {
  asked,
  COMMON,
  counts,
  devices,
  expectNextSucceeds,
  faulty,
  HOWS,
  recordingLog,
} from '../support/faulty-machines.ts';
import { threadCount } from '../support/process-counts.ts';
import { expectGuestGoesOn } from '../support/running-guest.ts';
import { tempDir } from '../support/temp.ts';
import { WatchedVm } from '../support/watched-vm.ts';

vi.setConfig({ maxConcurrency: 8, testTimeout: 60_000 }); // as in device-faults.test.ts

describe.concurrent('on a machine that does not migrate, a device that fails in', () => {
  const handlers = ['read', 'write', 'reset', 'stop'];
  test.each(HOWS)(`${handlers.join(', in ')} (%s) fails that request only`, async (how) => {
    await using dir = await tempDir();
    const bad = faulty(dir, { fault: handlers.join('+'), how });
    await using machine = await WatchedVm.start({ ...COMMON, devices: bad, running: true });
    for (const fault of handlers) {
      await expect(asked(machine, fault)).rejects.toThrow(`device 'bad' failed in '${fault}'`);
      expect(await counts(machine)).toEqual([3, 4]);
    }
    await expectGuestGoesOn(machine);
    await expectNextSucceeds(machine, dir);
  });

  test.each(HOWS)('read, and in create as its thread is replaced (%s), is named for both', async (how) => {
    await using dir = await tempDir();
    const armed = dir.file('armed');
    const bad = faulty(dir, { fault: `read=exit+create=${how}`, armed });
    await using machine = await WatchedVm.start({ ...COMMON, devices: bad, running: true });
    writeFileSync(armed, '');
    await expect(asked(machine, 'read')).rejects.toThrow(`device 'bad' failed in 'read'`);
    await expect(asked(machine, 'read')).rejects.toThrow(`device 'bad' failed in 'create'`);
    expect(await counts(machine)).toEqual([3, 4]);
    await expectGuestGoesOn(machine);
    await expectNextSucceeds(machine, dir);
  });

  test.each(HOWS)('read, and in its module as its thread is replaced (%s), is named for both', async (how) => {
    await using dir = await tempDir();
    const [armed, module] = [dir.file('armed'), dir.file('device.ts')];
    const counter = new URL('../support/devices/counter.ts', import.meta.url).href;
    const failing = {
      throw: `throw new Error('told to fail');`,
      hang: 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);',
      exit: 'process.exit(3);',
    };
    writeFileSync(
      module,
      `import { existsSync, rmSync } from 'node:fs';
      const armed = ${JSON.stringify(armed)};
      if (existsSync(armed)) {
        rmSync(armed);
        ${failing[how]}
      }
      export { default } from ${JSON.stringify(counter)};`,
    );
    const [bad, good] = devices({ fault: 'read=exit', once: dir.file('did') });
    const ours = [{ ...bad!, module: pathToFileURL(module).href }, good!];
    await using machine = await WatchedVm.start({ ...COMMON, devices: ours, running: true });
    writeFileSync(armed, '');
    await expect(asked(machine, 'read')).rejects.toThrow(`device 'bad' failed in 'read'`);
    await expect(asked(machine, 'read')).rejects.toThrow(
      how === 'throw' ? /module '.*device.ts'.*told/ : /thread 'bad'/,
    );
    expect(existsSync(armed)).toBe(false);
    expect(await counts(machine)).toEqual([3, 4]);
    await expectGuestGoesOn(machine);
    await expectNextSucceeds(machine, dir);
  });

  test.each(HOWS)('start (%s) leaves it stopped, and it can be started again', async (how) => {
    await using dir = await tempDir();
    const bad = faulty(dir, { fault: 'start', how, after: '1' });
    await using machine = await WatchedVm.start({ ...COMMON, devices: bad, running: true });
    await machine.vm.stop();
    await expect(machine.vm.cont()).rejects.toThrow(`device 'bad' failed in 'start'`);
    expect(machine.vm.queryStatus().status).toBe('paused');
    await machine.vm.cont();
    await expectGuestGoesOn(machine);
  });

  test.each(HOWS)('create (%s) keeps its machine from being made, by its name', async (how) => {
    await expect(WatchedVm.start({ ...COMMON, devices: devices({ fault: 'create', how }) })).rejects.toThrow(
      /device 'bad' failed in 'create'/,
    );
  });

  test.each(HOWS)('close (%s) does not hold up the end', async (how) => {
    const log = recordingLog();
    const machine = await WatchedVm.start({ ...COMMON, devices: devices({ fault: 'close', how }), log: log.logger });
    await machine[Symbol.asyncDispose]();
    expect(log.text()).toMatch(how === 'throw' ? /'bad'.*failed in 'close'/ : /thread 'bad'/);
  });
});

test('requests that wait for the same dead thread get one new thread between them', async () => {
  await using dir = await tempDir();
  const fault = { fault: 'read', how: 'exit' };
  await using machine = await WatchedVm.start({ ...COMMON, devices: faulty(dir, fault), running: true });
  const before = threadCount();
  const bad = await machine.vm.device('bad');
  const outcomes = await Promise.allSettled([1, 2, 3].map(() => bad.read(COUNTER.COUNT)));
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect(await bad.read(COUNTER.COUNT)).toBe(3);
  expect(threadCount()).toBe(before);
});

test('memory does not grow with the number of threads that were replaced', async () => {
  await using machine = await WatchedVm.start({ ...COMMON, devices: devices({ fault: 'read', how: 'exit' }) });
  const bad = await machine.vm.device('bad');
  const lose = async (threads: number) => {
    for (let lost = 0; lost < threads; lost += 1) await bad.read(COUNTER.COUNT).catch(() => undefined);
  };
  await lose(8);
  const rssBytes = process.memoryUsage.rss();
  await lose(24);
  expect(process.memoryUsage.rss() - rssBytes).toBeLessThan(48 << 20); // 24 threads that stayed would have 5 MiB each, or more
});
