/** calc-dirty-rate's answers for guests whose rate is known, on a clock that the test cranks (spec/control.md §5.5). */

import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { RamBlock } from '../../src/hw/ram.ts';
import { DirtyRateMeter, type DirtyRateRequest } from '../../src/migration/dirty-rate.ts';
import { inlineVcpu, ramOfPages } from '../hw/guest/inline-vcpu.ts';
import { seeded } from '../support/seeded.ts';

const MIB_PAGES = 256;
const SECONDS = 1_795_000_000;

/** A manual clock that tells when somebody sleeps on it. */
class WatchedClock extends ManualClock {
  sleepers = 0;

  override sleep(ms: number, signal?: AbortSignal): Promise<void> {
    this.sleepers += 1;
    return super.sleep(ms, signal);
  }
}

interface Options {
  readonly ramMib?: number;
  readonly guests?: readonly string[];
  readonly hasRing?: boolean;
  readonly isMigrating?: boolean;
}

/** Guests, a meter, and the clock of both. */
function measured({ ramMib = 128, guests = [], hasRing = false, isMigrating = false }: Options = {}) {
  const clock = new WatchedClock();
  const ram = ramOfPages(ramMib * MIB_PAGES);
  const vcpus = guests.map((text) => inlineVcpu(ram, text, clock));
  const meter = new DirtyRateMeter({
    machine: {
      ramBlocks: [ram],
      pagesWritten: () => vcpus.map(({ gate }) => gate.count),
      hasRing,
      isMigrating: () => isMigrating,
    },
    clock,
    epochSeconds: () => SECONDS,
    choose: seeded(5),
    log: silentLogger,
  });
  const runMs = (ms: number) => {
    const endMs = clock.nowMs() + ms;
    while (clock.nowMs() < endMs) {
      const waits = vcpus.map(({ loop }) => loop.step());
      clock.advance(Math.min(...waits, endMs - clock.nowMs()));
    }
  };
  /** Measures for so long while the guests run. */
  const measure = async (request: DirtyRateRequest, ms: number) => {
    const { done } = meter.start(request);
    const { sleepers } = clock;
    while (clock.sleepers === sleepers && clock.sleepers === 0) await turn();
    expect(meter.info().status).toBe('measuring');
    runMs(ms);
    await done;
    return meter.info('millisecond');
  };
  return { meter, clock, ram, runMs, measure };
}

function within(actual: number | undefined, expected: number, share = 0.05): void {
  expect(actual).toBeGreaterThanOrEqual(expected * (1 - share) - 0.5); // whole MiB/s
  expect(actual).toBeLessThanOrEqual(expected * (1 + share) + 0.5);
}

test.each([20, 60, 100])('page sampling finds the rate of a guest of %d MiB/s', async (rate) => {
  const { measure } = measured({ guests: [`sweep,rate=${rate}MiB`] });
  const info = await measure({ 'calc-time': 1n, 'sample-pages': 16_384n }, 1000);
  within(info['dirty-rate'], rate);
  expect(info).toMatchObject({
    status: 'measured',
    mode: 'page-sampling',
    'sample-pages': 16_384,
    'calc-time': 1000,
    'start-time': SECONDS,
  });
});

test('page sampling sees pages once that are written over and over', async () => {
  // Ten times round 20 MiB in a second.
  const { measure } = measured({ ramMib: 64, guests: ['sweep,rate=200MiB,size=20MiB'] });
  const info = await measure({ 'calc-time': 1n, 'sample-pages': 16_384n }, 1000);
  within(info['dirty-rate'], 20, 0.1);
});

test.each([
  [10, 500],
  [37, 1000],
  [100, 1000],
])('the dirty bitmap finds the rate of a guest of %d MiB/s in %d ms', async (rate, ms) => {
  const { measure, runMs } = measured({ guests: [`sweep,rate=${rate}MiB`] });
  runMs(300); // what was dirty before does not count
  const info = await measure({ 'calc-time': BigInt(ms), 'calc-time-unit': 'millisecond', mode: 'dirty-bitmap' }, ms);
  within(info['dirty-rate'], rate);
  expect(info).toMatchObject({ mode: 'dirty-bitmap', 'sample-pages': 0, 'calc-time': ms });
});

test('a migration that begins meanwhile takes nothing from the measurement, nor it from the migration', async () => {
  const { meter, ram, runMs, clock } = measured({ guests: ['sweep,rate=50MiB'] });
  const { done } = meter.start({ 'calc-time': 1n, mode: 'dirty-bitmap' });
  while (clock.sleepers === 0) await turn();
  runMs(400);
  ram.beginSave();
  runMs(300);
  takeAll(ram);
  const fresh = ram.syncDirty();
  runMs(300);
  await done;
  within(meter.info()['dirty-rate'], 50);
  within((fresh * 1000) / MIB_PAGES / 300, 50);
});

test('the ring counts the page writes of each vCPU', async () => {
  const guests = ['hot-set,rate=80MiB,hot=1MiB,start=0,size=16MiB', 'sweep,rate=30MiB,start=16MiB,size=16MiB'];
  const { measure } = measured({ ramMib: 32, guests, hasRing: true });
  const info = await measure({ 'calc-time': 2n, mode: 'dirty-ring' }, 2000);
  within(info['dirty-rate'], 110);
  expect(info['vcpu-dirty-rate']?.map(({ id }) => id)).toEqual([0, 1]);
  within(info['vcpu-dirty-rate']?.[0]?.['dirty-rate'], 80);
  within(info['vcpu-dirty-rate']?.[1]?.['dirty-rate'], 30);
});

test("a guest that does nothing has no rate, and too little RAM gives QEMU's -1", async () => {
  const idle = measured({ ramMib: 8 });
  expect((await idle.measure({ 'calc-time': 1n }, 1000))['dirty-rate']).toBe(0);
  const small = measured({ ramMib: 1 });
  expect((await small.measure({ 'calc-time': 1n, 'sample-pages': 128n }, 1000))['dirty-rate']).toBe(-1);
});

test('a fresh machine, and one that measures, say so; the time is in the unit asked for', async () => {
  const { meter, measure } = measured({ ramMib: 1 });
  expect(meter.info()).toEqual({
    status: 'unstarted',
    'sample-pages': 0,
    mode: 'page-sampling',
    'calc-time-unit': 'second',
    'start-time': 0,
    'calc-time': 0,
  });
  await measure({ 'calc-time': 1500n, 'calc-time-unit': 'millisecond' }, 1500);
  expect(meter.info()).toMatchObject({ 'calc-time': 1, 'calc-time-unit': 'second', 'sample-pages': 512 });
  expect(meter.info('millisecond')).toMatchObject({ 'calc-time': 1500, 'calc-time-unit': 'millisecond' });
});

test('one measurement at a time', async () => {
  const { meter, clock } = measured({ ramMib: 1 });
  const { done } = meter.start({ 'calc-time': 1n });
  expect(() => meter.start({ 'calc-time': 1n })).toThrow('the dirty rate is already being measured.');
  while (clock.sleepers === 0) await turn();
  clock.advance(1000);
  await done;
  expect(() => meter.start({ 'calc-time': 1n })).not.toThrow();
});

test('a machine that goes away gives its measurement up', async () => {
  const { meter } = measured({ ramMib: 1 });
  const { done } = meter.start({ 'calc-time': 60n, mode: 'dirty-bitmap' });
  meter[Symbol.dispose]();
  await done;
  expect(meter.info().status).toBe('unstarted');
});

test.each<[Options, DirtyRateRequest['mode'] & string, string]>([
  [{}, 'dirty-ring', 'mode dirty-ring is not enabled, use other method instead.'],
  [{ hasRing: true }, 'dirty-bitmap', 'mode dirty-bitmap is not enabled, use other method instead.'],
  [{ isMigrating: true }, 'dirty-bitmap', 'while a migration collects dirty pages'],
])('%o refuses %s', (options, mode, text) => {
  expect(() => measured({ ramMib: 1, ...options }).meter.start({ 'calc-time': 1n, mode })).toThrow(text);
});

/** Sends everything that is pending to nowhere. */
function takeAll(ram: RamBlock): void {
  for (let page = 0; page < ram.pageCount; ) {
    page = ram.takePages({ firstPage: page, maxPages: ram.pageCount, detectZero: true }).nextPage;
  }
}
