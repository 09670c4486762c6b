/**
 * An ack that is late: the source has given up, was cancelled, has switched over without it or has completed. In both modes it
 * changes nothing that was decided, and the next migration waits for an ack of its own.
 */

import { describe, expect, test } from 'vitest';
import { AckHolder } from '../../support/ack-holder.ts';
import { machinePair } from '../../support/machine-pair.ts';
import { expectGuestGoesOn } from '../../support/running-guest.ts';
import { tempDir } from '../../support/temp.ts';
import { ACK, GUEST, vfioConfigs } from '../../support/vfio-pair.ts';
import { turnUntil, type WatchedVm, type WatchedVmOptions } from '../../support/watched-vm.ts';

/** How acks are counted, and how many come for two devices. */
interface Mode {
  readonly globals: Readonly<Record<string, string>>;
  readonly acks: number;
}

/** A migration of two devices whose acks have been sent, and are kept from the source. */
async function heldPair({ globals, acks }: Mode, source: WatchedVmOptions = {}) {
  const dir = await tempDir();
  const devices = await vfioConfigs(2, 'mlx5-like', { state: '256KiB' });
  const common = { guest: GUEST, devices, capabilities: ACK, globals };
  const pair = await machinePair({ common, source });
  const holder = await AckHolder.start(dir.file('holder'), pair.uri.slice('unix:'.length), acks);
  await pair.source.vm.migrate({ uri: holder.uri });
  await holder.held;
  return {
    ...pair,
    common,
    holder,
    letAllGo: () => {
      for (let ack = 0; ack < acks; ack += 1) holder.letGo();
    },
    [Symbol.asyncDispose]: async () => {
      await holder[Symbol.asyncDispose]();
      await pair[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}
type HeldPair = Awaited<ReturnType<typeof heldPair>>;

const ackMs = ({ vm }: WatchedVm) =>
  (vm.queryMigrate()['x-switchover']?.devices ?? []).map((device) => device['ack-ms']);

/** The source's next migration needs acks of its own, gets them, and brings everything. */
async function expectNextSucceeds({ source, common }: HeldPair): Promise<void> {
  await using next = await machinePair({ common });
  const mark = source.events.length;
  await source.vm.migrate({ uri: next.uri });
  expect(await source.ended(mark), source.vm.queryMigrate()['error-desc']).toBe('completed');
  expect(ackMs(source)).toEqual([expect.any(Number), expect.any(Number)]);
  await next.destination.event(['RESUME']);
  await expectGuestGoesOn(next.destination);
}

/** The destination has all of a guest that was stopped, and it goes on there. */
async function expectGoesOnThere({ destination }: HeldPair): Promise<void> {
  await turnUntil(() => destination.vm.queryStatus().status === 'paused');
  expect(destination.vm.checkGuests()).toMatchObject([{ ok: true }]);
  await destination.vm.cont();
  await expectGuestGoesOn(destination);
}

describe.each([
  { name: 'legacy', acks: 1, globals: { 'switchover-ack-legacy': 'on' }, surplus: /^switchover-ack: a second/ },
  {
    name: 're-usable',
    acks: 2,
    globals: { 'switchover-ack-legacy': 'off' },
    surplus: /^switchover-ack: .*underflowed/,
  },
])('in $name mode an ack that comes', ({ surplus, ...mode }) => {
  test('after the source gave up changes nothing', async () => {
    await using pair = await heldPair(mode, { globals: { ...mode.globals, 'x-switchover-ack-timeout': '100' } });
    const { source, holder } = pair;
    expect(await source.ended()).toBe('failed');
    const before = source.vm.queryMigrate();
    expect(before['error-desc']).toMatch(/^switchover-ack: none after \d+ ms, withheld by d0, d1$/);
    holder.letGo();
    await expectGuestGoesOn(source);
    expect(source.vm.queryMigrate()).toEqual(before);
    await expectNextSucceeds(pair);
  });

  test('after a cancel changes nothing', async () => {
    await using pair = await heldPair(mode);
    const { source, holder } = pair;
    await source.vm.migrateCancel();
    holder.letGo(); // while it is being cancelled
    expect(await source.ended()).toBe('cancelled');
    holder.letGo();
    await expectGuestGoesOn(source);
    expect(source.vm.queryMigrate()).toEqual({ status: 'cancelled' });
    await expectNextSucceeds(pair);
  });

  test('after the decision, which a stopped guest does not hold up, is counted', async () => {
    await using pair = await heldPair(mode, { capabilities: [...ACK, 'pause-before-switchover'] });
    const { source, letAllGo } = pair;
    await source.vm.stop();
    await source.event(['M:pre-switchover']);
    expect(ackMs(source)).toEqual([undefined, undefined]);
    letAllGo();
    await turnUntil(() => ackMs(source).every((ms) => ms !== undefined) || source.events.includes('M:failed'));
    await source.vm.migrateContinue('pre-switchover');
    expect(await source.ended(), source.vm.queryMigrate()['error-desc']).toBe('completed');
    await expectGoesOnThere(pair);
  });

  test('after the end of a migration that did not need it changes nothing', async () => {
    await using pair = await heldPair(mode);
    const { source, holder } = pair;
    await source.vm.stop();
    expect(await source.ended(), source.vm.queryMigrate()['error-desc']).toBe('completed');
    const before = source.vm.queryMigrate();
    holder.letGo();
    await expectGoesOnThere(pair);
    expect(source.vm.queryMigrate()).toEqual(before);
    expect(source.vm.queryStatus().status).toBe('postmigrate');
  });

  test('once more after the decision fails the migration, and the guest goes on', async () => {
    await using pair = await heldPair(mode, { capabilities: [...ACK, 'pause-before-switchover'] });
    const { source, holder, letAllGo } = pair;
    letAllGo();
    await source.event(['M:pre-switchover']);
    holder.letGo();
    expect(await source.ended()).toBe('failed');
    expect(source.vm.queryMigrate()['error-desc']).toMatch(surplus);
    await expectGuestGoesOn(source);
  });
});
