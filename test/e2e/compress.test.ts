/** Legacy `compress` between two machines of this process, with a guest that goes on writing. */

import { expect, test } from 'vitest';
import { machinePair } from '../support/machine-pair.ts';
import { expectGuestGoesOn } from '../support/running-guest.ts';
import { migrated } from '../support/vfio-pair.ts';

const MIB = 2 ** 20;

test.each([
  ['waiting for threads', true, {}],
  ['not waiting', false, { 'x-compress-wait-thread': 'off', 'x-compress-threads': '1', 'x-decompress-threads': '1' }],
])('a guest is migrated page by page, %s', async (_how, waits, more) => {
  const globals = { 'x-compress': 'on', ...more };
  await using pair = await machinePair({
    common: {
      guest: 'guest-sweep,id=g,rate=20MiB',
      ramBytes: 32 * MIB,
      content: Buffer.alloc(24 * MIB, 'something that compresses well '),
      globals,
      capabilities: ['return-path'],
      parameters: { 'downtime-limit': 1000 },
    },
  });
  await migrated(pair);
  const { compression, ram } = pair.source.vm.queryMigrate();
  // Without waiting, what finds the one thread busy goes as it is.
  expect(compression?.pages).toBeGreaterThan(waits ? 5000 : 200);
  expect((compression?.busy ?? 0) > 0).toBe(!waits);
  expect(compression?.['compressed-size']).toBeLessThan((compression?.pages ?? 0) * 1000);
  expect(Number(ram?.transferred)).toBeGreaterThan(compression?.['compressed-size'] ?? 0);
  await expectGuestGoesOn(pair.destination);
});

test('a destination without it refuses, and the guest goes on', async () => {
  await using pair = await machinePair({
    common: { guest: 'guest-sweep,id=g', capabilities: ['return-path'] },
    source: { globals: { 'x-compress': 'on' } },
  });
  await pair.source.vm.migrate({ uri: pair.uri });
  expect(await pair.source.ended()).toBe('failed');
  await pair.destination.event(['M:failed']);
  expect(pair.destination.vm.queryMigrate()['error-desc']).toMatch(/-global migration.x-compress=on here as well/);
  await expectGuestGoesOn(pair.source);
});
