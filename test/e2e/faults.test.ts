/**
 * Cancel, failure and shutdown at seeded moments of a migration (spec/control.md §4.2, §4.8, §8.6). After
 * each the source's guest runs on with every page as it must be, events came in QEMU's order, and the next attempt
 * starts; at the end nothing has leaked. A variant is a row: capabilities and parameters of both sides.
 */

import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { seeded } from '../support/seeded.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import { turn, turnUntil, WatchedVm } from '../support/watched-vm.ts';

const MIB = 1 << 20;
const RAM_BYTES = 4 * MIB;
const GUEST = 'guest-sweep,id=g,rate=100MiB';
const MOMENTS = 64;
const QUITS = 24;

interface Variant {
  readonly name: string;
  readonly capabilities: readonly string[];
  readonly parameters?: Readonly<Record<string, unknown>>;
}

const VARIANTS: readonly Variant[] = [{ name: 'one way', capabilities: [] }];

const FAULTS = {
  cancel: ({ source }: Pair) => source.vm.migrateCancel(),
  yank: async ({ source }: Pair) => source.vm.yank(),
  'destination dies': ({ destination }: Pair) => destination[Symbol.asyncDispose](),
  'destination is yanked': async ({ destination }: Pair) => destination.vm.yank(),
} as const;
type FaultName = keyof typeof FAULTS;
const FAULT_NAMES = Object.keys(FAULTS) as FaultName[];

/** Events of the source after which a fault may come, so many turns of the event loop later. */
const TRIGGERS = ['M:setup', 'PASS:1', 'M:active', 'PASS:2', 'STOP', 'M:pre-switchover', 'M:device'] as const;
const MOST_TURNS = 12;

interface Pair {
  readonly source: WatchedVm;
  readonly destination: WatchedVm;
}

interface Moment {
  readonly fault: FaultName;
  readonly trigger: string;
  readonly turns: number;
  readonly bandwidth: number;
}

function machine(variant: Variant, options: { incoming: string } | { running: true }): Promise<WatchedVm> {
  const { capabilities, parameters = {} } = variant;
  return WatchedVm.start({ ramBytes: RAM_BYTES, guest: GUEST, capabilities, parameters, ...options });
}

function momentOf(below: (limit: number) => number): Moment {
  return {
    fault: FAULT_NAMES[below(FAULT_NAMES.length)]!,
    trigger: TRIGGERS[below(TRIGGERS.length)]!,
    turns: below(MOST_TURNS),
    bandwidth: [0, 32 * MIB][below(2)]!,
  };
}

/** Migrates and does `act` at the moment, or not at all when the migration is over before; resolves with the final status. */
async function migrateUntil(pair: Pair, uri: string, moment: Omit<Moment, 'fault'>, act: () => Promise<unknown>) {
  const { source } = pair;
  const mark = source.events.length;
  source.vm.setParameters({ 'max-bandwidth': moment.bandwidth });
  await source.vm.migrate({ uri });
  const ended = source.ended(mark);
  let isOver = false;
  void ended.then(() => (isOver = true));
  await Promise.race([source.event([moment.trigger], mark), ended]);
  for (let turns = 0; turns < moment.turns && !isOver; turns += 1) await turn();
  const acted = act();
  // Without a bandwidth the guest cannot outrun, a migration that nothing ended may never end by itself.
  source.vm.setParameters({ 'max-bandwidth': 0 });
  const status = await ended;
  await acted;
  return { status, events: source.events.slice(mark) };
}

/** Order of events as §4.2 has it: after a stop the guest goes on before `cancelled`, and after `failed`. */
function expectOrder(status: string, events: readonly string[]): void {
  const last = events.filter((event) => ['RESUME', 'STOP'].includes(event) || event === `M:${status}`);
  const stopped = events.includes('STOP');
  switch (status) {
    case 'cancelled':
      expect(events).toContain('M:cancelling');
      expect(last).toEqual(stopped ? ['STOP', 'RESUME', 'M:cancelled'] : ['M:cancelled']);
      break;
    case 'failed':
      expect(last).toEqual(stopped ? ['STOP', 'M:failed', 'RESUME'] : ['M:failed']);
      break;
    default:
      expect(last).toEqual(['STOP', 'M:completed']);
  }
}

/** The guest runs on, and no page of it was lost. Afterwards it runs. */
async function expectIntact(source: WatchedVm): Promise<void> {
  await turnUntil(() => ['running', 'postmigrate'].includes(source.vm.queryStatus().status));
  await source.vm.stop();
  expect(source.vm.checkGuests()).toMatchObject([{ ok: true }]);
  await source.vm.cont();
  expect(source.vm.queryStatus()).toEqual({ status: 'running', running: true });
}

/** The whole of RAM arrives; the source is started again afterwards. */
async function expectNextSucceeds(source: WatchedVm, variant: Variant, dir: TempDir): Promise<void> {
  const uri = `unix:${dir.file('next')}`;
  await using destination = await machine(variant, { incoming: uri });
  const moment = { trigger: 'M:active', turns: 0, bandwidth: 0 };
  const { status } = await migrateUntil({ source, destination }, uri, moment, async () => undefined);
  expect([status, await destination.ended()]).toEqual(['completed', 'completed']);
  expect(Buffer.compare(source.vm.ram.bytes, destination.vm.ram.bytes)).toBe(0);
  await turnUntil(() => source.vm.queryStatus().status === 'postmigrate');
  await source.vm.cont();
}

async function held(): Promise<{ threads: number; descriptors: number }> {
  for (let count = 0; count < 3; count += 1) await turn();
  return {
    threads: readdirSync('/proc/self/task').length,
    descriptors: readdirSync('/proc/self/fd').length,
  };
}

describe.each(VARIANTS)('$name', (variant) => {
  test(`${MOMENTS} cancels and failures, one after the other on one source`, async () => {
    await using dir = await tempDir();
    await using source = await machine(variant, { running: true });
    await turnUntil(() => !source.vm.ram.isUnwritten(1));
    await expectNextSucceeds(source, variant, dir);
    const before = await held();
    const below = seeded(variant.name.length);
    const seen = new Set<string>();
    for (let count = 0; count < MOMENTS; count += 1) {
      const moment = momentOf(below);
      const uri = `unix:${dir.file(`m${count}`)}`;
      await using destination = await machine(variant, { incoming: uri });
      const pair = { source, destination };
      const { status, events } = await migrateUntil(pair, uri, moment, () => FAULTS[moment.fault](pair));
      const what = `${count}: ${JSON.stringify(moment)}: ${events.join(' ')}`;
      const possible = [moment.fault === 'cancel' ? 'cancelled' : 'failed', 'completed'];
      expect(possible, what).toContain(status);
      await turnUntil(() => ['running', 'postmigrate'].includes(source.vm.queryStatus().status));
      expectOrder(status, source.events.slice(source.events.lastIndexOf('M:setup')));
      await expectIntact(source);
      seen.add(`${moment.fault} ${status}`);
    }
    // The moments must have been early enough to matter.
    for (const fault of FAULT_NAMES) expect(seen).toContain(`${fault} ${fault === 'cancel' ? 'cancelled' : 'failed'}`);
    await expectNextSucceeds(source, variant, dir);
    expect(await held()).toEqual(before);
  });

  test(`${QUITS} shutdowns of the source`, async () => {
    await using dir = await tempDir();
    const below = seeded(variant.name.length + 1);
    for (let count = 0; count < QUITS; count += 1) {
      const moment = momentOf(below);
      const uri = `unix:${dir.file(`q${count}`)}`;
      await using source = await machine(variant, { running: true });
      await using destination = await machine(variant, { incoming: uri });
      const mark = source.events.length;
      await source.vm.migrate({ uri });
      await Promise.race([source.event([moment.trigger], mark), source.ended(mark)]);
      for (let turns = 0; turns < moment.turns; turns += 1) await turn();
      const { status = 'none' } = source.vm.queryMigrate();
      await source.vm.quit('host-signal');
      expect(await source.vm.exited).toBe(0);
      const isOver = ['completed', 'failed', 'cancelled'].includes(status);
      const after = source.events.slice(source.events.indexOf('SHUTDOWN'));
      expect(after.filter((event) => event.startsWith('M:'))).toEqual(
        isOver ? [] : after.includes('M:completed') ? ['M:completed'] : ['M:cancelling', 'M:cancelled'],
      );
      expect(['completed', 'failed']).toContain(await destination.ended());
    }
  });
});
