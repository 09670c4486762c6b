/** The estimate of a downtime from what is known of wire and devices. */

import { describe, expect, test } from 'vitest';
import { estimateDowntime } from '../../src/migration/downtime.ts';

const MIB = 2 ** 20;
const device = (bytes: number, save: number, load: number, id = 'd') => ({
  id,
  bytes,
  saveBytesPerSecond: save * MIB,
  loadBytesPerSecond: load * MIB,
});
/** Without the fixed part, in milliseconds. */
const estimate = (ramBytes: number, wireMiBPerS: number, devices: ReturnType<typeof device>[]) => {
  const wireBytesPerMs = (wireMiBPerS * MIB) / 1000;
  const { totalMs } = estimateDowntime({ ramBytes, wireBytesPerMs, devices });
  const without = devices.map((one) => ({ ...one, bytes: 0 }));
  return totalMs - estimateDowntime({ ramBytes: 0, wireBytesPerMs, devices: without }).totalMs;
};

test('RAM takes what the wire needs', () => {
  expect(estimate(100 * MIB, 1000, [])).toBeCloseTo(100);
});

describe('a device takes as long as the slowest of', () => {
  test.each([
    ['reading it', 500, 1000, 2000, 200],
    ['sending it', 2000, 1000, 2000, 100],
    ['loading it', 2000, 1000, 250, 400],
    ['sending it, when nothing else is known', 0, 1000, 0, 100],
  ])('%s', (_what, save, wire, load, ms) => {
    expect(estimate(0, wire, [device(100 * MIB, save, load)])).toBeCloseTo(ms);
  });
});

test('several devices are sent one after the other', () => {
  expect(estimate(0, 1000, [device(100 * MIB, 0, 0, 'a'), device(100 * MIB, 0, 0, 'b')])).toBeCloseTo(200);
});

test('what may be ahead of a device is loaded while the next one is sent', () => {
  const slow = (id: string) => device(8 * MIB, 0, 80, id);
  expect(estimate(0, 8000, [slow('a'), slow('b'), slow('c')])).toBeCloseTo(102);
});

test('over multifd channels devices go at once, as fast as the slowest is loaded and all are sent', () => {
  const over = (load: number, id: string) => ({ ...device(100 * MIB, 0, load, id), isOverChannels: true });
  expect(estimate(0, 1000, [over(250, 'a'), over(200, 'b')])).toBeCloseTo(500);
  expect(estimate(100 * MIB, 500, [over(250, 'a'), over(200, 'b')])).toBeCloseTo(600);
});

describe('what a destination has still to read', () => {
  const over = (backlog: { ms: number; bytes: number }, load: number) =>
    estimateDowntime({ ramBytes: 0, wireBytesPerMs: 8000 * 1000, backlog, devices: [device(0, 0, load)] }).totalMs -
    estimateDowntime({ ramBytes: 0, wireBytesPerMs: 8000 * 1000, devices: [device(0, 0, load)] }).totalMs;

  test('is read first, in the time that it was seen to take', () => {
    expect(over({ ms: 30, bytes: 10 * MIB }, 100)).toBeCloseTo(30);
  });

  test('was not slow to be read where the device only prepared: its own rate says how long it takes', () => {
    expect(over({ ms: 1500, bytes: 10 * MIB }, 1000)).toBeCloseTo(10);
  });

  test('counts for nothing where no device is known to be slow', () => {
    expect(over({ ms: 30, bytes: 10 * MIB }, 0)).toBeCloseTo(0);
  });
});

describe('what a device has still to take', () => {
  test('comes before its last data', () => {
    const { totalMs } = estimateDowntime({
      ramBytes: 0,
      wireBytesPerMs: 8000 * 1000,
      devices: [{ ...device(100 * MIB, 0, 500), aheadBytes: 5 * MIB }],
    });
    const without = estimateDowntime({
      ramBytes: 0,
      wireBytesPerMs: 8000 * 1000,
      devices: [device(100 * MIB, 0, 500)],
    });
    expect(totalMs - without.totalMs).toBeCloseTo(10);
  });
});

describe('stopping and starting takes', () => {
  const fixed = (...answersMs: number[]) =>
    estimateDowntime({
      ramBytes: 0,
      wireBytesPerMs: 1,
      devices: answersMs.map((answerMs, n) => ({ ...device(0, 0, 0, `d${n}`), answerMs })),
    }).totalMs;

  test('longer where threads take longer to answer, and with more devices', () => {
    expect(fixed(0.4)).toBeGreaterThan(fixed(0.2));
    expect(fixed(0.2, 0.2)).toBeGreaterThan(fixed(0.2));
    expect(fixed(0.2, 0.2)).toBeLessThan(2 * fixed(0.2));
  });

  test('twice as long where an answer takes eight times as long: single answers vary more', () => {
    expect(fixed(0.8)).toBeCloseTo(2 * fixed(0.1));
  });

  test('no longer because one device takes its time to answer', () => {
    expect(fixed(500)).toBe(fixed(1));
  });

  test('what is usual while nothing has answered', () => {
    expect(fixed(0)).toBe(fixed(0.2));
  });
});

test('before the wire is known nothing is promised', () => {
  expect(estimateDowntime({ ramBytes: 1, wireBytesPerMs: 0, devices: [] }).totalMs).toBe(Number.POSITIVE_INFINITY);
  expect(estimateDowntime({ ramBytes: 0, wireBytesPerMs: 0, devices: [] }).totalMs).toBeLessThan(20);
});
