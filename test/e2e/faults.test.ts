/**
 * Cancel, failure and shutdown at seeded moments of a migration, in every status (spec/control.md §4.2, §4.8, §8.6), with
 * and without return path, multifd and TLS. After each the source's guest runs on with every page as it must be, events
 * came in QEMU's order, and the next migration succeeds; at the end nothing has leaked. `SWITCHOVER_FAULTS=full` runs many
 * more. Machines are whole ones in this process; fault-processes.test.ts has signals to real ones.
 */

import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/wire/ram.ts';
import { AIMS, type Aim, migrateUntil, momentOf, type Outcome, statusOf } from '../support/fault-moments.ts';
import { medianOf, type Resources, resources } from '../support/process-counts.ts';
import { seeded } from '../support/seeded.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import { turn, turnUntil, WatchedVm } from '../support/watched-vm.ts';
import { Wire } from '../support/wire.ts';

const FULL = process.env['SWITCHOVER_FAULTS'] === 'full';
const RAM_BYTES = 4 << 20;
const GUEST = 'guest-sweep,id=g,rate=100MiB';
/** Per variant, a multiple of the statuses. */
const MOMENTS = FULL ? 320 : 32;
const QUITS = FULL ? 64 : 8;
/** After how many moments a migration is to succeed. */
const NEXT_EVERY = FULL ? 1 : 4;
/** What the process may have more at the end of a variant than early on (bytes): a machine in four would show, and in the long run anything. */
const GROWTH_BYTES = 8 * RAM_BYTES;

interface Variant {
  readonly name: string;
  readonly seed: number;
  readonly capabilities: readonly string[];
  readonly tls: boolean;
}

const VARIANTS: readonly Variant[] = [false, true].flatMap((multifd) =>
  [false, true].flatMap((tls) =>
    [false, true].map((returnPath) => {
      const capabilities = [...(multifd ? ['multifd'] : []), ...(returnPath ? ['return-path'] : [])];
      const name = [...capabilities, ...(tls ? ['tls'] : [])].join(', ') || 'one way, one channel';
      return { name, seed: Number(multifd) * 4 + Number(tls) * 2 + Number(returnPath), capabilities, tls };
    }),
  ),
);

/** Both ends of a migration and the wire between them. */
interface Line {
  readonly source: WatchedVm;
  readonly destination: WatchedVm;
  readonly wire: Wire;
}

const FAULTS = {
  cancel: ({ source }: Line) => source.vm.migrateCancel(),
  yank: async ({ source }: Line) => source.vm.yank(),
  'destination ends': ({ destination }: Line) => destination.vm.quit('host-signal'),
  'destination is yanked': async ({ destination }: Line) => destination.vm.yank(),
  'wire is cut': async ({ wire }: Line) => wire.cut('all'),
  'one connection is cut': async ({ wire }: Line) => wire.cut('last'),
} as const;
type FaultName = keyof typeof FAULTS;
const FAULT_NAMES = Object.keys(FAULTS) as FaultName[];

let keys: TempDir;
const met = new Map<string, number>();
beforeAll(async () => {
  keys = await tempDir();
  await mkdir(keys.file('psk'));
  await writeFile(keys.file('psk/keys.psk'), 'qemu:00112233445566778899aabbccddeeff\n');
});
afterAll(() => keys[Symbol.asyncDispose]());

function machine({ capabilities, tls }: Variant, options: { incoming: string } | { running: true }) {
  const endpoint = 'incoming' in options ? 'server' : 'client';
  return WatchedVm.start({
    ramBytes: RAM_BYTES,
    guest: GUEST,
    capabilities,
    objects: tls ? [{ 'qom-type': 'tls-creds-psk', id: 't', endpoint, dir: keys.file('psk') }] : [],
    parameters: tls ? { 'tls-creds': 't' } : {},
    ...options,
  });
}

/** Machines and wire for one migration; the source stays. */
async function line(source: WatchedVm, variant: Variant, dir: TempDir): Promise<Line & AsyncDisposable> {
  const destination = await machine(variant, { incoming: `unix:${dir.file('destination')}` });
  const wire = await Wire.open(dir.file('wire'), dir.file('destination'));
  const dispose = async () => {
    await destination[Symbol.asyncDispose]();
    await wire[Symbol.asyncDispose]();
  };
  return { source, destination, wire, [Symbol.asyncDispose]: dispose };
}

/** How a migration may end that met the fault in this status. */
function possibleEnds(fault: FaultName, at: string): readonly string[] {
  if (['completed', 'failed', 'cancelled'].includes(at)) return [at];
  if (at === 'cancelling') return ['cancelled'];
  const end = fault === 'cancel' ? 'cancelled' : 'failed';
  // What is done here takes effect here; of what happens elsewhere the source may hear too late.
  return fault === 'cancel' || fault === 'yank' ? (at === 'device' ? [end, 'completed'] : [end]) : [end, 'completed'];
}

/** Order of events as §4.2 has it: after a stop the guest goes on before `cancelled`, and after `failed`. */
function expectOrder({ ended, events }: Outcome, what: string): void {
  const last = events.filter((event) => ['RESUME', 'STOP'].includes(event) || event === `M:${ended}`);
  const stopped = events.includes('STOP');
  const orders: Readonly<Record<string, readonly string[]>> = {
    cancelled: stopped ? ['STOP', 'RESUME', 'M:cancelled'] : ['M:cancelled'],
    failed: stopped ? ['STOP', 'M:failed', 'RESUME'] : ['M:failed'],
    completed: ['STOP', 'M:completed'],
  };
  expect(last, what).toEqual(orders[ended]);
  expect(events.includes('M:cancelling'), what).toBe(ended === 'cancelled');
}

/** The guest runs on, and no page of it was lost. */
async function expectIntact(source: WatchedVm, what: string): Promise<void> {
  const { vm } = source;
  await turnUntil(() => ['running', 'postmigrate'].includes(vm.queryStatus().status));
  await vm.stop();
  expect(vm.checkGuests(), what).toMatchObject([{ ok: true }]);
  const swept = firstBytes(vm.ram.bytes);
  await vm.cont();
  expect(vm.queryStatus(), what).toEqual({ status: 'running', running: true });
  await turnUntil(() => Buffer.compare(swept, firstBytes(vm.ram.bytes)) !== 0);
}

/** The bytes that the sweep counts in. */
function firstBytes(ram: Uint8Array): Uint8Array {
  return Uint8Array.from({ length: ram.length / PAGE_SIZE }, (_, page) => ram[page * PAGE_SIZE]!);
}

/** All of RAM arrives; the source goes on afterwards. */
async function expectNextSucceeds(source: WatchedVm, variant: Variant, dir: TempDir, what: string): Promise<void> {
  await using next = await line(source, variant, dir);
  const moment = { ...momentOf('active', () => 0, 1), bytes: undefined };
  const { ended } = await migrateUntil(source, next.wire.uri, moment, async () => undefined);
  const why = `${what}: ${source.vm.queryMigrate()['error-desc']} ${next.destination.vm.queryMigrate()['error-desc']}`;
  expect([ended, await next.destination.ended()], why).toEqual(['completed', 'completed']);
  expect(source.vm.queryMigrate()['error-desc']).toBeUndefined();
  await turnUntil(() => source.vm.queryStatus().status === 'postmigrate');
  expect(Buffer.compare(source.vm.ram.bytes, next.destination.vm.ram.bytes), what).toBe(0);
  await source.vm.cont();
}

/** What there is more than before. */
async function leftOver(before: Resources): Promise<Omit<Resources, 'residentBytes'>> {
  const { threads, descriptors } = await resources();
  return {
    threads: Math.max(0, threads - before.threads),
    descriptors: Math.max(0, descriptors - before.descriptors),
  };
}

/** One fault, with everything that must hold after it. */
async function fail(source: WatchedVm, variant: Variant, dir: TempDir, fault: FaultName, aim: Aim, seed: number) {
  const moment = momentOf(aim, seeded(seed), RAM_BYTES);
  await using both = await line(source, variant, dir);
  const outcome = await migrateUntil(source, both.wire.uri, moment, () => FAULTS[fault](both));
  const info = source.vm.queryMigrate();
  const what = JSON.stringify({ fault, ...moment, ...outcome, error: info['error-desc'] });
  expect(possibleEnds(fault, outcome.met), what).toContain(outcome.ended);
  if (outcome.ended === 'failed') expect(info['error-desc'], what).toMatch(/./);
  await turnUntil(() => ['running', 'postmigrate'].includes(source.vm.queryStatus().status));
  expectOrder({ ...outcome, events: source.events.slice(source.events.lastIndexOf('M:setup')) }, what);
  await expectIntact(source, what);
  await source.vm.migrateCancel();
  source.vm.yank();
  expect(statusOf(source), `${what}: what is over stays as it is`).toBe(outcome.ended);
  // A destination that got all its connections hears of the end.
  if (both.destination.events.includes('M:active') && fault !== 'destination ends')
    expect(['completed', 'failed'], what).toContain(await both.destination.ended());
  return outcome;
}

describe.each(VARIANTS)('$name', (variant) => {
  test(`${MOMENTS} cancels and failures, one after the other on one source`, {
    timeout: FULL ? 3_000_000 : 30_000,
  }, async () => {
    await using dir = await tempDir();
    await using source = await machine(variant, { running: true });
    await turnUntil(() => !source.vm.ram.isUnwritten(1));
    await expectNextSucceeds(source, variant, dir, 'first');
    const before = await resources();
    const resident: number[] = [];
    for (let count = 0; count < MOMENTS; count += 1) {
      const fault = FAULT_NAMES[count % FAULT_NAMES.length]!;
      const aim = AIMS[Math.floor(count / FAULT_NAMES.length + count) % AIMS.length]!;
      const outcome = await fail(source, variant, dir, fault, aim, variant.seed * 10_000 + count);
      met.set(outcome.met, (met.get(outcome.met) ?? 0) + 1);
      if (count % NEXT_EVERY === 0)
        await expectNextSucceeds(source, variant, dir, `after ${count}, ${fault} in ${aim}`);
      resident.push((await resources()).residentBytes);
    }
    await expect.poll(() => leftOver(before)).toEqual({ threads: 0, descriptors: 0 });
    expect(await readdir(dir.path)).toEqual([]);
    const quarter = MOMENTS / 4;
    const growth = medianOf(resident.slice(-quarter)) - medianOf(resident.slice(quarter, 2 * quarter));
    expect(growth).toBeLessThan(GROWTH_BYTES);
  });

  test(`${QUITS} shutdowns of the source`, { timeout: FULL ? 3_000_000 : 30_000 }, async () => {
    await using dir = await tempDir();
    const before = await resources();
    for (let count = 0; count < QUITS; count += 1) {
      const moment = momentOf(AIMS[count % AIMS.length]!, seeded(variant.seed * 10_000 + 5000 + count), RAM_BYTES);
      await using source = await machine(variant, { running: true });
      await using both = await line(source, variant, dir);
      let isOver = false;
      const outcome = await migrateUntil(source, both.wire.uri, moment, async () => {
        isOver = ['completed', 'failed', 'cancelled'].includes(statusOf(source));
        await source.vm.quit('host-signal');
      });
      const what = JSON.stringify({ ...moment, ...outcome });
      expect(await source.vm.exited, what).toBe(0);
      const after = outcome.events.slice(outcome.events.indexOf('SHUTDOWN')).filter((event) => event.startsWith('M:'));
      const expected = outcome.met === 'cancelling' ? ['M:cancelled'] : ['M:cancelling', 'M:cancelled'];
      expect(after, what).toEqual(isOver ? [] : outcome.ended === 'completed' ? ['M:completed'] : expected);
      if (both.destination.events.includes('M:active'))
        expect(['completed', 'failed'], what).toContain(await both.destination.ended());
      met.set(outcome.met, (met.get(outcome.met) ?? 0) + 1);
    }
    await expect.poll(() => leftOver(before)).toEqual({ threads: 0, descriptors: 0 });
    expect(await readdir(dir.path)).toEqual([]);
  });
});

test('every status was met, and in it many faults', async () => {
  await turn();
  expect([...met.keys()].sort()).toEqual([...AIMS].sort());
  expect(Math.min(...met.values())).toBeGreaterThan((VARIANTS.length * (MOMENTS + QUITS)) / AIMS.length / 4);
});
