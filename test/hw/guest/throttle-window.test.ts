import { expect, test } from 'vitest';
import { ThrottleWindow, throttleSleepMs } from '../../../src/hw/guest/throttle-window.ts';

test.each([
  [0, 0],
  [20, 2.5],
  [50, 10],
  [90, 90],
  [99, 990],
])('at %d percent a vCPU sleeps %d ms in every window', (percent, sleepMs) => {
  expect(throttleSleepMs(percent)).toBeCloseTo(sleepMs);
  const windowMs = 10 / (1 - percent / 100);
  expect(sleepMs / windowMs).toBeCloseTo(percent / 100);
});

test('a window is 10 ms of running, then the sleep', () => {
  const window = new ThrottleWindow();
  window.reset(100);
  expect(window.sleepMs(100, 50)).toBe(0);
  expect(window.sleepMs(109.9, 50)).toBe(0);
  expect(window.sleepMs(110, 50)).toBe(10);
  expect(window.sleepMs(114, 50)).toBe(6); // Woken early: the rest of the sleep is still due.
  expect(window.sleepMs(120, 50)).toBe(0);
  expect(window.sleepMs(129, 50)).toBe(0);
  expect(window.sleepMs(130, 50)).toBe(10);
  expect(window.lostMs).toBe(10);
});

test('taking the throttle away ends a sleep at once', () => {
  const window = new ThrottleWindow();
  window.reset(0);
  expect(window.sleepMs(10, 99)).toBe(990);
  expect(window.sleepMs(30, 0)).toBe(0);
  expect(window.lostMs).toBe(20);
});

test.each([10, 30, 50, 70, 80, 90, 95])('late runs and late sleeps average out at %d percent', (percent) => {
  const window = new ThrottleWindow();
  let nowMs = 0;
  window.reset(nowMs);
  // Runs are noticed up to 3 ms late and sleeps last up to 2 ms longer than asked for.
  for (let step = 0; step < 20_000; step++) {
    const sleepMs = window.sleepMs(nowMs, percent);
    nowMs += sleepMs > 0 ? sleepMs + (step % 3) : 1 + (step % 4);
  }
  expect((100 * window.lostMs) / nowMs).toBeCloseTo(percent, 0);
});

test('a thread that was held up does not sleep for the time it did not run', () => {
  const window = new ThrottleWindow();
  window.reset(0);
  expect(window.sleepMs(5000, 50)).toBe(20);
});

test('a run ends after 10 ms, and never without a throttle', () => {
  const window = new ThrottleWindow();
  window.reset(100);
  expect(window.runLeftMs(104, 50)).toBe(6);
  expect(window.runLeftMs(104, 0)).toBe(Number.POSITIVE_INFINITY);
});
