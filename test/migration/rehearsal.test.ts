/** The migration that a new process does for practice: it works, and nothing of it stays. */

import { readdirSync } from 'node:fs';
import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { createLogger } from '../../src/base/log.ts';
import { MigrationOptions } from '../../src/migration/options/options.ts';
import { rehearse } from '../../src/migration/rehearsal.ts';
import { Vm } from '../../src/migration/vm.ts';
import { vfioConfig } from '../support/vfio-pair.ts';

/** Open sockets and files of this process. */
function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** A log, and the lines that it has. */
function lineLog() {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });
  return { lines, log: createLogger({ level: 'info', stream }) };
}

test('a rehearsal completes, says nothing and leaves no descriptor open', async () => {
  const { lines, log } = lineLog();
  await rehearse(log); // the first may open files that stay, such as WebAssembly's
  const before = descriptors();
  await rehearse(log);
  expect(lines).toEqual([]);
  await expect.poll(descriptors).toBe(before); // a closed socket is gone one turn later
});

test('with VFIO devices it completes with one of its own, and their threads rehearse', async () => {
  const { lines, log } = lineLog();
  await using vm = await Vm.create({
    machineType: 'harness',
    ramBytes: 2 ** 20,
    startPaused: true,
    devices: [await vfioConfig('d0', 'tiny-match')],
    options: new MigrationOptions(),
    log,
  });
  const device = await vm.device('d0');
  const written = lines.length;
  let rehearsals = 0;
  const counted = { rehearse: () => device.rehearse().then(() => void (rehearsals += 1)) };
  const practice = [await vfioConfig('practice', 'setup-then-state')];
  await rehearse(log, async () => ({ practice, devices: [counted] }));
  expect(rehearsals).toBe(1);
  expect(lines.slice(written)).toEqual([]);
  expect(await device.request('vfio/state', undefined)).toBe('stop'); // it took no part itself
});

test('a device whose thread cannot rehearse is only told of', async () => {
  const { lines, log } = lineLog();
  const device = { rehearse: () => Promise.reject(new Error('no thread')) };
  await rehearse(log, async () => ({ practice: [], devices: [device] }));
  expect(lines.join('')).toMatch(/no thread.*the rehearsal of a migration failed/s);
});

test('devices that cannot be had are only told of', async () => {
  const { lines, log } = lineLog();
  await rehearse(log, () => Promise.reject(new Error('no module')));
  expect(lines.join('')).toMatch(/no module.*the rehearsal of a migration failed/s);
});
