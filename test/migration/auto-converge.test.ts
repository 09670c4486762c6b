/** The throttle that auto-converge asks for, period by period (spec/control.md §7.5). */

import { expect, test } from 'vitest';
import { AutoConverge } from '../../src/migration/auto-converge.ts';

const MB = 1e6;
const DEFAULTS = { threshold: 50, initial: 20, increment: 10, maximum: 99, tailslow: false };
const BAD = { dirtiedBytes: 80 * MB, sentBytes: 100 * MB };
const GOOD = { dirtiedBytes: 50 * MB, sentBytes: 100 * MB };

/** The throttle after each of `count` bad periods. */
function throttles(count: number, parameters = DEFAULTS, period = BAD): number[] {
  const converge = new AutoConverge();
  return Array.from({ length: count }, () => {
    converge.judge(period, parameters);
    return converge.percent;
  });
}

test('every second bad period throttles: initial, then increments, up to the maximum', () => {
  expect(throttles(9)).toEqual([0, 20, 20, 30, 30, 40, 40, 50, 50]);
  expect(throttles(8, { ...DEFAULTS, initial: 60, increment: 25, maximum: 90 })).toEqual([
    0, 60, 60, 85, 85, 90, 90, 90,
  ]);
});

test('only a change is reported', () => {
  const converge = new AutoConverge();
  const maximum = { ...DEFAULTS, initial: 99 };
  expect([1, 2, 3, 4].map(() => converge.judge(BAD, maximum))).toEqual([false, true, false, false]);
});

test('a good period neither throttles nor forgives', () => {
  const converge = new AutoConverge();
  converge.judge(BAD, DEFAULTS);
  converge.judge(GOOD, DEFAULTS);
  expect(converge.percent).toBe(0);
  converge.judge(BAD, DEFAULTS);
  expect(converge.percent).toBe(20);
});

test.each([
  [50, 50 * MB, 0],
  [50, 50 * MB + 1, 20],
  [100, 100 * MB, 0],
  [1, 1 * MB + 1, 20],
])('the threshold is %d percent of what was sent: %d bytes dirtied → %d', (threshold, dirtiedBytes, percent) => {
  const period = { dirtiedBytes, sentBytes: 100 * MB };
  expect(throttles(2, { ...DEFAULTS, threshold }, period).at(-1)).toBe(percent);
});

test('with tailslow a step is no longer than what is missing', () => {
  // 48 of 50 wanted: at 20 % the guest has 80, ideal 76, so the step is 4 of at most 10.
  const close = { dirtiedBytes: 52.08 * MB, sentBytes: 100 * MB };
  expect(throttles(6, { ...DEFAULTS, tailslow: true }, close)).toEqual([0, 20, 20, 24, 24, 28]);
  expect(throttles(4, { ...DEFAULTS, tailslow: true })).toEqual([0, 20, 20, 30]);
});

test('a maximum lowered meanwhile does not lower the throttle', () => {
  const converge = new AutoConverge();
  for (const _ of [1, 2, 3, 4]) converge.judge(BAD, { ...DEFAULTS, initial: 70 });
  expect(converge.percent).toBe(80);
  for (const _ of [1, 2]) converge.judge(BAD, { ...DEFAULTS, maximum: 30 });
  expect(converge.percent).toBe(80);
});

test('five seconds without a sync force one, except in the first pass', () => {
  const converge = new AutoConverge();
  expect(converge.syncDue(0, 1)).toBe(false);
  expect(converge.syncDue(5000, 1)).toBe(false); // first pass
  expect(converge.syncDue(9999, 2)).toBe(false);
  expect(converge.syncDue(10_000, 2)).toBe(false); // there was one since the last tick
  expect(converge.syncDue(14_999, 2)).toBe(false);
  expect(converge.syncDue(15_000, 2)).toBe(true);
  expect(converge.syncDue(15_001, 3)).toBe(false);
  expect(converge.syncDue(20_000, 3)).toBe(true); // the forced one does not count as one of the source's own
});
