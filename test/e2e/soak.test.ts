/**
 * One process, very many migrations: nothing may grow, no cancelled migration may leave a trace. Machines are whole ones
 * (a vCPU thread that sweeps, a unix socket); moments are chosen by counts, bytes and events from a seed, never by time.
 */

import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { checkGuest } from '../../src/hw/guest/guest-check.ts';
import { parseGuestOption } from '../../src/hw/guest/guest-options.ts';
import { PAGE_SIZE } from '../../src/wire/ram.ts';
import { medianOf, type Resources, resources } from '../support/process-counts.ts';
import { seeded } from '../support/seeded.ts';
import { tempDir } from '../support/temp.ts';
import { turn, turnUntil, WatchedVm } from '../support/watched-vm.ts';

const MIB = 1 << 20;
const RAM_BYTES = 8 * MIB;
const GUEST = 'guest-sweep,id=g,rate=200MiB';
const UNLIMITED = { 'max-bandwidth': 0 };
const MIGRATIONS = 200;
/** Settled by then: thread pool, compiled code, the allocator's arenas. */
const EARLY = { from: 50, to: 75 };
const LATE = { from: 175, to: 200 };
/** What the process may take more at the end than early on (bytes): 125 machines later, less than one machine's RAM. */
const GROWTH_BYTES = RAM_BYTES;
const CANCELS = 50;
const CANCEL_SEED = 2;

function medians(samples: readonly Resources[]): Resources {
  return {
    threads: medianOf(samples.map((sample) => sample.threads)),
    descriptors: medianOf(samples.map((sample) => sample.descriptors)),
    residentBytes: medianOf(samples.map((sample) => sample.residentBytes)),
  };
}

/** A machine whose RAM is random and whose guest sweeps. */
async function firstSource(): Promise<WatchedVm> {
  const content = randomBytes(RAM_BYTES);
  return WatchedVm.start({ ramBytes: RAM_BYTES, guest: GUEST, running: true, content, parameters: UNLIMITED });
}

/** Moves `source`, whose guest runs, to a new machine at `path`, compares both, and lets the guest run there. */
async function move(source: WatchedVm, path: string): Promise<WatchedVm> {
  const uri = `unix:${path}`;
  const destination = await WatchedVm.start({
    ramBytes: RAM_BYTES,
    guest: GUEST,
    incoming: uri,
    parameters: UNLIMITED,
  });
  const mark = source.events.length;
  await source.vm.migrate({ uri });
  expect([await source.ended(mark), await destination.ended()]).toEqual(['completed', 'completed']);
  expect(destination.vm.queryStatus().status).toBe('paused');
  expect(Buffer.compare(source.vm.ram.bytes, destination.vm.ram.bytes)).toBe(0);
  const [guest] = destination.vm.checkGuests();
  expect(guest, guest?.detail).toMatchObject({ ok: true });
  await destination.vm.cont();
  return destination;
}

/** Waits until the guest has written, from here on, to at least one page. */
async function guestWrites({ vm }: WatchedVm): Promise<void> {
  expect(vm.queryStatus()).toEqual({ status: 'running', running: true });
  const before = firstBytes(vm.ram.bytes);
  await turnUntil(() => Buffer.compare(before, firstBytes(vm.ram.bytes)) !== 0);
}

/** The bytes that the sweep counts in. */
function firstBytes(ram: Uint8Array): Uint8Array {
  return Uint8Array.from({ length: ram.length / PAGE_SIZE }, (_, page) => ram[page * PAGE_SIZE]!);
}

/** Lets the guest get ready: before its first sweep there is nothing to check. */
async function guestReady({ vm }: WatchedVm): Promise<void> {
  const options = parseGuestOption(GUEST);
  await turnUntil(() => !checkGuest(options, vm.ram.bytes).detail.startsWith('there is no guest header'));
}

test(`${MIGRATIONS} migrations to and fro leave no thread, descriptor or memory behind`, async () => {
  await using dir = await tempDir();
  const early: Resources[] = [];
  const late: Resources[] = [];
  let source = await firstSource();
  await guestReady(source);
  for (let count = 1; count <= MIGRATIONS; count += 1) {
    const destination = await move(source, dir.file(count % 2 === 0 ? 'to' : 'fro'));
    await guestWrites(destination);
    await source[Symbol.asyncDispose]();
    source = destination;
    if (count > EARLY.from && count <= EARLY.to) early.push(await resources());
    if (count > LATE.from && count <= LATE.to) late.push(await resources());
  }
  await source[Symbol.asyncDispose]();
  const [before, after] = [medians(early), medians(late)];
  expect(after).toMatchObject({ threads: before.threads, descriptors: before.descriptors });
  expect(after.residentBytes - before.residentBytes).toBeLessThan(GROWTH_BYTES);
});

/** When a migration is cancelled; every number is from the seed. */
type Moment =
  | { readonly kind: 'turns'; readonly turns: number }
  | { readonly kind: 'bytes'; readonly bytes: number }
  /** In the middle of whatever emits the event, or some turns of the event loop after it. */
  | { readonly kind: 'event'; readonly event: string; readonly turns: number };

interface CancelPlan {
  readonly moment: Moment;
  readonly returnPath: boolean;
  readonly pauseBeforeSwitchover: boolean;
  /** Bytes per second; slow enough for several windows, or without a limit. */
  readonly maxBandwidth: number;
}

const EVENTS = ['M:setup', 'PASS:1', 'M:active', 'PASS:2', 'STOP', 'M:pre-switchover', 'M:device'];

function cancelPlans(seed: number): CancelPlan[] {
  const below = seeded(seed);
  return Array.from({ length: CANCELS }, (_, index): CancelPlan => {
    const event = EVENTS[below(EVENTS.length)]!;
    const turns = below(2) * below(6);
    const moments: readonly Moment[] = [
      { kind: 'turns', turns: below(25) },
      { kind: 'bytes', bytes: below(RAM_BYTES) },
      { kind: 'event', event, turns },
    ];
    const moment = moments[index % moments.length]!;
    return {
      moment,
      returnPath: below(2) === 1,
      // That event needs a pause; the later ones would never come with one.
      pauseBeforeSwitchover: moment.kind === 'event' ? event === 'M:pre-switchover' : below(4) === 0,
      maxBandwidth: below(2) * 64 * MIB,
    };
  });
}

/** How a migration went that was told to stop. */
interface CancelOutcome {
  /** The status that the cancel met. */
  readonly met: string;
  readonly ended: string;
  /** The source's events, from its `setup` on. */
  readonly events: readonly string[];
}

function configure({ vm }: WatchedVm, plan: Omit<CancelPlan, 'moment'>): void {
  vm.setCapabilities([
    { capability: 'return-path', state: plan.returnPath },
    { capability: 'pause-before-switchover', state: plan.pauseBeforeSwitchover },
  ]);
  vm.setParameters({ 'max-bandwidth': plan.maxBandwidth });
}

async function migrateAndCancel(source: WatchedVm, plan: CancelPlan, uri: string): Promise<CancelOutcome> {
  const { vm } = source;
  const { moment } = plan;
  const mark = source.events.length;
  let met = '';
  const cancel = () => {
    met = vm.queryMigrate().status ?? 'none';
    void vm.migrateCancel();
  };
  const cancelAfter = async (turns: number) => {
    for (let count = 0; count < turns; count += 1) await turn();
    cancel();
  };
  if (moment.kind === 'event' && moment.turns === 0) source.once(moment.event, cancel);
  const late = Promise.withResolvers<void>();
  if (moment.kind === 'event' && moment.turns > 0) {
    source.once(moment.event, () => void cancelAfter(moment.turns).then(late.resolve, late.reject));
  } else late.resolve();
  await vm.migrate({ uri });
  if (moment.kind === 'turns') await cancelAfter(moment.turns);
  if (moment.kind === 'bytes') {
    await turnUntil(() => {
      const { status = 'none', ram } = vm.queryMigrate();
      return ['pre-switchover', 'completed'].includes(status) || (ram?.transferred ?? 0) >= moment.bytes;
    });
    cancel();
  }
  const ended = await source.ended(mark);
  await late.promise; // not to cancel the next migration
  return { met, ended, events: source.events.slice(mark) };
}

/** The source runs on as if nothing had been. */
async function expectSourceUnharmed(source: WatchedVm, { events }: CancelOutcome): Promise<void> {
  const resumed = events.includes('STOP') ? ['RESUME'] : [];
  // The cancel may come while the guest is being stopped.
  const ending = events.slice(events.indexOf('M:cancelling')).filter((event) => event !== 'STOP');
  expect(ending).toEqual(['M:cancelling', ...resumed, 'M:cancelled']);
  expect(source.vm.queryMigrate()).toEqual({ status: 'cancelled' });
  await guestWrites(source);
}

test(`${CANCELS} migrations cancelled at seeded moments leave a source that runs and can migrate`, async () => {
  await using dir = await tempDir();
  const met = new Map<string, number>();
  let source = await firstSource();
  await guestReady(source);
  for (const [index, plan] of cancelPlans(CANCEL_SEED).entries()) {
    const uri = `unix:${dir.file(`cancelled-${index}`)}`;
    const capabilities = plan.returnPath ? ['return-path'] : [];
    const destination = await WatchedVm.start({ ramBytes: RAM_BYTES, guest: GUEST, incoming: uri, capabilities });
    configure(source, plan);
    const outcome = await migrateAndCancel(source, plan, uri);
    const context = JSON.stringify({ index, plan, outcome });
    let runs = source;
    if (outcome.ended === 'completed') {
      // The cancel came too late: then it must have changed nothing.
      expect(await destination.ended(), context).toBe('completed');
      await destination.vm.cont();
      runs = destination;
    } else {
      expect(outcome.ended, context).toBe('cancelled');
      met.set(outcome.met, (met.get(outcome.met) ?? 0) + 1);
      await expectSourceUnharmed(source, outcome);
    }
    await (runs === source ? destination : source)[Symbol.asyncDispose]();
    // As with QEMU, a destination that has everything may be done before it hears of the cancel, but only then.
    if (destination.vm.queryMigrate().status === 'completed' && runs === source)
      expect(outcome.met, context).toBe('device');
    configure(runs, { returnPath: false, pauseBeforeSwitchover: false, maxBandwidth: 0 });
    source = await move(runs, dir.file(`following-${index}`));
    await runs[Symbol.asyncDispose]();
  }
  await source[Symbol.asyncDispose]();
  expect([...met.keys()].sort()).toEqual(['active', 'device', 'pre-switchover', 'setup']);
  expect([...met.values()].reduce((sum, count) => sum + count)).toBeGreaterThan(CANCELS / 2);
});
