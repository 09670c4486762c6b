/**
 * The options that decide when a machine switches over, and the numbers that tell of it, on whole machines (spec/control.md §7);
 * their arithmetic alone is tested in stats.test.ts.
 */

import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { tempDir } from '../support/temp.ts';
import { turnUntil, WatchedVm, type WatchedVmOptions } from '../support/watched-vm.ts';

const MIB = 2 ** 20;
const RAM_BYTES = 16 * MIB;
/** Dirties more in a window than `SLOW` sends: with a downtime limit of 1 ms it never fits. */
const RESTLESS = 'guest-random-writes,id=g0,rate=150MiB,bytes=16';
const SLOW = { 'max-bandwidth': 40 * MIB, 'downtime-limit': 1 };

async function restless(options: WatchedVmOptions = {}): Promise<WatchedVm> {
  return WatchedVm.start({
    ramBytes: RAM_BYTES,
    guest: RESTLESS,
    running: true,
    content: new Uint8Array(RAM_BYTES).fill(1),
    ...options,
    parameters: { ...SLOW, ...options.parameters },
  });
}

/** After so many passes a migration that goes on has shown that it does not converge. */
async function goesOn(source: WatchedVm): Promise<void> {
  await source.event(['PASS:4']);
  expect(source.vm.queryMigrate().status).toBe('active');
}

test('before the bandwidth is known, a guest that writes nothing gets none', async () => {
  await using dir = await tempDir();
  await using source = await WatchedVm.start({ running: true });
  await source.vm.migrate({ uri: `file:${dir.file('stream')}` });
  expect(await source.ended()).toBe('completed');
  expect(source.vm.queryMigrate().ram?.['dirty-sync-count']).toBe(2);
});

test.for([
  ['avail-switchover-bandwidth', { 'avail-switchover-bandwidth': 100_000 * MIB }],
  ['downtime-limit', { 'downtime-limit': 10_000 }],
] as const)('%s, raised while it runs, lets a migration end that would not', async ([, parameters]) => {
  await using dir = await tempDir();
  await using source = await restless();
  await source.vm.migrate({ uri: `file:${dir.file('stream')}` });
  await goesOn(source);
  source.vm.setParameters(parameters);
  expect(await source.ended()).toBe('completed');
});

test('expected-downtime is the limit at first; then what is left at the bandwidth reckoned with', async () => {
  await using dir = await tempDir();
  await using source = await restless({ parameters: { 'avail-switchover-bandwidth': 10 * MIB, 'downtime-limit': 7 } });
  await source.vm.migrate({ uri: `file:${dir.file('stream')}` });
  await source.event(['M:active']);
  expect(source.vm.queryMigrate()['expected-downtime']).toBe(7);
  const reckoned = () => source.vm.queryMigrate()['expected-downtime'] !== 7;
  await turnUntil(reckoned);
  const info = source.vm.queryMigrate();
  expect(info.ram?.['dirty-pages-rate']).toBeGreaterThan(0);
  // Between nothing and all of RAM, at floor(10 MiB/s / 1000) bytes per ms.
  const all = Math.trunc(RAM_BYTES / Math.floor((10 * MIB) / 1000));
  expect(info['expected-downtime']).toBeGreaterThan(7);
  expect(info['expected-downtime']).toBeLessThanOrEqual(all);
  await source.vm.migrateCancel();
  expect(await source.ended()).toBe('cancelled');
});

test('in the first pass what was sent and what remains are all of RAM', async () => {
  await using dir = await tempDir();
  await using source = await restless({ running: false });
  await source.vm.migrate({ uri: `file:${dir.file('stream')}` });
  let remaining = RAM_BYTES;
  await turnUntil(() => {
    const { ram, status } = source.vm.queryMigrate();
    if (ram === undefined || status !== 'active') return status === 'completed';
    const sent = (ram.normal + ram.duplicate) * 4096;
    expect(sent + ram.remaining).toBeLessThanOrEqual(ram.total);
    // A part is counted when it is over: at most what one window carries is on its way.
    expect(sent + ram.remaining).toBeGreaterThanOrEqual(ram.total - 5 * MIB);
    expect(ram.remaining).toBeLessThanOrEqual(remaining);
    remaining = ram.remaining;
    return false;
  });
  expect(remaining).toBeLessThan(RAM_BYTES);
  expect(await source.ended()).toBe('completed');
  const { ram, ...times } = source.vm.queryMigrate();
  expect(ram).toMatchObject({ remaining: 0, total: RAM_BYTES, normal: RAM_BYTES / 4096 });
  // mbps is the average of everything after the setup.
  const sendingMs = (times['total-time'] ?? 0) - (times['setup-time'] ?? 0);
  expect(ram?.mbps).toBeCloseTo(((ram?.transferred ?? 0) * 8) / sendingMs / 1000, 6);
  expect(times['setup-time']).toBeLessThanOrEqual(times['total-time'] ?? 0);
});

test('late-block-activate changes nothing: the same stream, the same events', async () => {
  await using dir = await tempDir();
  const runs: { stream: string; source: readonly string[]; destination: readonly string[]; state: string }[] = [];
  for (const capabilities of [[], ['late-block-activate']]) {
    const uri = `file:${dir.file('stream')}`;
    await using source = await WatchedVm.start({ capabilities, content: new Uint8Array(4096).fill(3) });
    await source.vm.migrate({ uri });
    expect(await source.ended()).toBe('completed');
    await using destination = await WatchedVm.start({ capabilities, incoming: uri, running: true });
    expect(await destination.ended()).toBe('completed');
    runs.push({
      stream: (await readFile(dir.file('stream'))).toString('hex'),
      source: source.events,
      destination: destination.events,
      state: destination.vm.queryStatus().status,
    });
  }
  expect(runs[1]).toEqual(runs[0]);
});
