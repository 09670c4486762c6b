/** `mode=cpr-reboot` (spec/control.md §4.2): the guest stands still from the setup on; events are those of a real QEMU. */

import { expect, test } from 'vitest';
import { tempDir } from '../support/temp.ts';
import { turnUntil, WatchedVm, type WatchedVmOptions } from '../support/watched-vm.ts';

const start = (options: WatchedVmOptions = {}) =>
  WatchedVm.start({
    guest: 'guest-sweep,id=g0,rate=100MiB',
    running: true,
    ...options,
    parameters: { mode: 'cpr-reboot', ...options.parameters },
  });

test('the guest is stopped before the first pass, and the next process goes on with it', async () => {
  await using dir = await tempDir();
  const uri = `file:${dir.file('checkpoint')}`;
  await using source = await start();
  while (source.vm.ram.isUnwritten(1)) await new Promise(setImmediate);
  source.events.length = 0;
  await source.vm.migrate({ uri });
  expect(await source.ended()).toBe('completed');
  // As QEMU 10.0.2 with -M none and events on.
  expect(source.events).toEqual(['M:setup', 'STOP', 'PASS:1', 'M:active', 'M:device', 'PASS:2', 'M:completed']);
  await turnUntil(() => source.vm.queryStatus().status !== 'finish-migrate');
  expect(source.vm.queryStatus().status).toBe('postmigrate');
  const info = source.vm.queryMigrate();
  // Nothing was dirtied meanwhile, and all of it counts as downtime.
  expect(info.ram).toMatchObject({ 'precopy-bytes': 0, 'dirty-pages-rate': 0 });
  expect(info.downtime).toBeGreaterThanOrEqual((info['total-time'] ?? 0) - 20);

  await using next = await start({ incoming: uri });
  expect(await next.ended()).toBe('completed');
  expect(next.vm.queryStatus().status).toBe('running');
  await next.vm.stop();
  expect(next.vm.checkGuests()).toMatchObject([{ ok: true }]);
});

test('a guest that was paused stays so, without a STOP', async () => {
  await using dir = await tempDir();
  await using source = await start({ running: false });
  await source.vm.migrate({ uri: `file:${dir.file('checkpoint')}` });
  expect(await source.ended()).toBe('completed');
  expect(source.events).toEqual(['M:setup', 'PASS:1', 'M:active', 'M:device', 'PASS:2', 'M:completed']);
});

test('where there is nobody to connect to, the guest is not stopped at all', async () => {
  await using source = await start();
  source.events.length = 0;
  await source.vm.migrate({ uri: 'unix:/nonexistent/m' });
  expect(await source.ended()).toBe('failed');
  expect(source.events).toEqual(['M:setup', 'M:failed']);
  expect(source.vm.queryStatus().status).toBe('running');
});

test('after a cancel the guest runs on', async () => {
  await using dir = await tempDir();
  await using source = await start({ capabilities: ['pause-before-switchover'] });
  source.events.length = 0;
  await source.vm.migrate({ uri: `file:${dir.file('checkpoint')}` });
  await source.event(['M:pre-switchover']);
  await source.vm.migrateCancel();
  expect(await source.ended()).toBe('cancelled');
  expect(source.events.slice(-3)).toEqual(['M:cancelling', 'RESUME', 'M:cancelled']);
  expect(source.vm.queryStatus().status).toBe('running');
});

test('cpr-transfer is refused with the reason', async () => {
  await expect(start({ parameters: { mode: 'cpr-transfer' } })).rejects.toThrow('that takes passed file descriptors');
});

test.for([
  { parameters: { 'multifd-compression': 'zlib' }, says: 'Cannot use compression with mapped-ram' },
  { parameters: { 'tls-creds': 't' }, says: 'Cannot use TLS with mapped-ram' },
])('mapped-ram that came after $parameters is refused at migrate', async ({ parameters, says }) => {
  await using dir = await tempDir();
  await using source = await WatchedVm.start({ parameters });
  source.vm.setCapabilities([{ capability: 'mapped-ram', state: true }]);
  await expect(source.vm.migrate({ uri: `file:${dir.file('x')}` })).rejects.toThrow(says);
  expect(source.vm.queryMigrate()).toEqual({});
});
