/** Limits of the vCPUs' dirty rate: by command, by a migration with dirty-limit, and what is told of them (spec/control.md §5.6, §7.6). */

import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { GuestThrottle } from '../../src/migration/guest-throttle.ts';
import { VcpuLimits } from '../../src/migration/vcpu-limits.ts';
import { inlineVcpu, ramOfPages } from '../hw/guest/inline-vcpu.ts';

const MIB = 2 ** 20;

/** Guests of 100 MiB/s each, with limits; `runMs` runs them. */
function limited({ vcpuCount = 2, ringPages = 1024 }: { vcpuCount?: number; ringPages?: number | undefined } = {}) {
  const clock = new ManualClock();
  const ram = ramOfPages(1024);
  const size = MIB;
  const vcpus = Array.from({ length: vcpuCount }, (_, index) =>
    inlineVcpu(ram, `random-writes,rate=100MiB,bytes=16,start=${index * size},size=${size}`, clock),
  );
  const limits = new VcpuLimits({
    vcpus: {
      count: vcpuCount,
      isRunning: () => true,
      limit: (index, perSecond) => vcpus[index]!.gate.limit(perSecond),
      work: () => vcpus.map(({ gate }) => ({ pagesWritten: gate.count, limitedUs: gate.heldUs })),
    },
    ringPages,
    clock,
    migrationPeriodMs: () => 500,
  });
  const runMs = async (ms: number) => {
    const endMs = clock.nowMs() + ms;
    while (clock.nowMs() < endMs) {
      const waits = vcpus.map(({ loop }) => loop.step());
      clock.advance(Math.min(10, ...waits, endMs - clock.nowMs()));
      await turn();
    }
  };
  return { limits, vcpus, runMs };
}

test('a limit for one vCPU leaves the other alone, and is told', async () => {
  const { limits, vcpus, runMs } = limited();
  expect(limits.query()).toEqual([]);
  limits.set(1, 10n);
  expect(limits.query()).toEqual([{ 'cpu-index': 1, 'limit-rate': 10n, 'current-rate': 0 }]);
  await runMs(2100);
  const [free, held] = vcpus.map(({ gate }) => (gate.count * 4096) / MIB / 2.1);
  expect(free).toBeGreaterThan(95);
  expect(held).toBeGreaterThan(9.5);
  expect(held).toBeLessThan(10.5);
  const [info] = limits.query();
  expect(info?.['current-rate']).toBeGreaterThanOrEqual(9);
  expect(info?.['current-rate']).toBeLessThanOrEqual(10);
});

test('all vCPUs at once, then one free again, then all', () => {
  const { limits, vcpus } = limited();
  limits.set(undefined, 5n);
  expect(limits.query().map((each) => each['cpu-index'])).toEqual([0, 1]);
  expect(vcpus.map(({ gate }) => gate.command)).toEqual(['run', 'run']);
  limits.cancel(0);
  expect(limits.query().map((each) => each['cpu-index'])).toEqual([1]);
  limits.set(1, 0n); // is a cancel
  expect(limits.query()).toEqual([]);
  expect(limits.roundTimes).toBeUndefined();
});

test('a limit beyond what any vCPU does is kept and harmless', async () => {
  const { limits, vcpus, runMs } = limited({ vcpuCount: 1 });
  limits.set(undefined, 2n ** 64n - 1n);
  expect(limits.query()).toMatchObject([{ 'limit-rate': 18446744073709551615n }]);
  await runMs(1000);
  expect((vcpus[0]!.gate.count * 4096) / MIB).toBeGreaterThan(95);
});

test('without rings a limit is refused in the words of a QEMU without KVM, and a cancel does nothing', () => {
  const { limits } = limitedWithoutRing();
  for (const rate of [5n, 0n]) {
    expect(() => limits.set(undefined, rate)).toThrow(
      "dirty page limit feature requires KVM with accelerator property 'dirty-ring-size' set'",
    );
  }
  limits.cancel(7);
  expect(limits.query()).toEqual([]);
});

function limitedWithoutRing() {
  const limits = new VcpuLimits({
    vcpus: { count: 1, isRunning: () => true, limit: () => undefined, work: () => [] },
    ringPages: undefined,
    clock: new ManualClock(),
    migrationPeriodMs: () => 1000,
  });
  return { limits };
}

test.each([-1, 2])('there is no vCPU %d', (index) => {
  const { limits } = limited();
  expect(() => limits.set(index, 5n)).toThrow('incorrect cpu index');
  expect(() => limits.cancel(index)).toThrow('incorrect cpu index');
});

test('a migration limits all vCPUs, whatever was asked for, which holds again afterwards', () => {
  const { limits } = limited();
  limits.set(0, 50n);
  expect(limits.limitForMigration(7n)).toBe(true);
  expect(limits.limitForMigration(7n)).toBe(false);
  expect(limits.query().map((each) => each['limit-rate'])).toEqual([7n, 7n]);
  expect(() => limits.set(0, 1n)).toThrow("capability 'dirty-limit'");
  expect(() => limits.cancel(undefined)).toThrow("capability 'dirty-limit'");
  expect(limits.limitForMigration(9n)).toBe(true);
  limits.endMigration();
  expect(limits.query()).toMatchObject([{ 'cpu-index': 0, 'limit-rate': 50n }]);
});

test('times per ring follow from the rate: how long it takes to fill, and how long the guest is held back for it', async () => {
  const { limits, runMs } = limited({ ringPages: 2560 });
  limits.limitForMigration(10n);
  expect(limits.roundTimes).toEqual({ throttleUs: 0, ringFullUs: 0 });
  await runMs(1600);
  // 10 MiB of ring at 10 MiB/s: a second, of which the guest's own 100 MiB/s would have taken a tenth.
  const { throttleUs, ringFullUs } = limits.roundTimes ?? { throttleUs: 0, ringFullUs: 0 };
  expect(ringFullUs).toBeGreaterThan(950_000);
  expect(ringFullUs).toBeLessThan(1_060_000);
  expect(throttleUs).toBeGreaterThan(700_000);
  expect(throttleUs).toBeLessThan(1_060_000);
  limits.endMigration();
  expect(limits.roundTimes).toBeUndefined();
});

test('dirty-limit acts at every second bad period, again when the parameter has changed, and ends with the migration', async () => {
  const { limits } = limited();
  let mibPerSecond = 3n;
  const percents: number[] = [];
  const throttle = new GuestThrottle({
    capabilities: { 'auto-converge': false, 'dirty-limit': true },
    options: {
      throttleParameters: () => ({ threshold: 50, initial: 20, increment: 10, maximum: 99, tailslow: false }),
      dirtyLimitParameters: () => ({ mibPerSecond, periodMs: 1000 }),
    },
    machine: { throttle: async (percent) => void percents.push(percent), vcpuLimits: limits },
    log: silentLogger,
  });
  const bad = { dirtiedBytes: 51, sentBytes: 100 };
  const good = { dirtiedBytes: 50, sentBytes: 100 };
  const limitAfter = async (period: typeof bad) => {
    await throttle.judge(period);
    return limits.query()[0]?.['limit-rate'];
  };
  expect(throttle.roundTimes).toBeUndefined();
  expect(await limitAfter(bad)).toBeUndefined();
  expect(await limitAfter(good)).toBeUndefined();
  expect(await limitAfter(bad)).toBe(3n);
  expect(throttle.roundTimes).toBeDefined();
  mibPerSecond = 8n;
  expect(await limitAfter(bad)).toBe(3n);
  expect(await limitAfter(bad)).toBe(8n);
  expect(throttle.syncDue(1e9, 5)).toBe(false); // no timer forces syncs, as auto-converge's does
  await throttle.release();
  expect(limits.query()).toEqual([]);
  expect(percents).toEqual([]);
});
