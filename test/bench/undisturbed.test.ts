/** What is measured again, and what is not. */

import { describe, expect, test } from 'vitest';
import { type HostClock, UndisturbedMeasuring } from '../../bench/support/undisturbed.ts';

const SECONDS = 2;

/** A host that takes these seconds during the first, second … measurement of two seconds, and nothing after them. */
function hostThatTakes(stolen: readonly number[]) {
  let [passed, taken, readings, pauses, calls] = [0, 0, 0, 0, 0];
  const clock: HostClock = {
    now: () => {
      // Read before and after each measurement.
      if (readings % 2 === 1) {
        passed += SECONDS;
        taken += stolen[(readings - 1) / 2] ?? 0;
      }
      readings += 1;
      return { passed, stolen: taken };
    },
    pause: async () => {
      pauses += 1;
    },
  };
  return { clock, measure: () => ++calls, pauses: () => pauses };
}

describe('a measurement', () => {
  test('counts at once when the host took next to nothing', async () => {
    const { clock, measure, pauses } = hostThatTakes([0.05]);
    const measuring = new UndisturbedMeasuring(10, clock);
    expect(await measuring.take(measure)).toBe(1);
    expect([measuring.repeated, measuring.disturbed, pauses()]).toEqual([0, 0, 0]);
  });

  test('that the host disturbed is made again after a pause, and only the last one counts', async () => {
    const { clock, measure, pauses } = hostThatTakes([0.07, 1.5]);
    const measuring = new UndisturbedMeasuring(10, clock);
    expect(await measuring.take(measure)).toBe(3);
    expect([measuring.repeated, measuring.disturbed, pauses()]).toEqual([2, 0, 2]);
  });

  test('counts although disturbed after eight attempts', async () => {
    const { clock, measure } = hostThatTakes(Array.from({ length: 20 }, () => 1));
    const measuring = new UndisturbedMeasuring(100, clock);
    expect(await measuring.take(measure)).toBe(8);
    expect([measuring.repeated, measuring.disturbed]).toEqual([7, 1]);
  });

  test('counts although disturbed once all repeats are used up', async () => {
    const { clock, measure } = hostThatTakes(Array.from({ length: 20 }, () => 1));
    const measuring = new UndisturbedMeasuring(3, clock);
    expect(await measuring.take(measure)).toBe(4);
    expect(await measuring.take(measure)).toBe(5);
    expect([measuring.repeated, measuring.disturbed]).toEqual([3, 2]);
  });
});
