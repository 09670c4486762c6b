import { expect, test } from 'vitest';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { inlineVcpu, ramOfPages } from './inline-vcpu.ts';

const MiB = 1024 * 1024;

/** The most one step may write above or below what the time says. */
const BATCH_PAGES = 64;

test.each([1, 50, 400])('a guest of %d MiB/s writes that much in a second', (rate) => {
  const vcpu = inlineVcpu(ramOfPages(64), `random-writes,rate=${rate}MiB,bytes=16`);
  vcpu.runMs(1000);
  const expected = (rate * MiB) / PAGE_SIZE;
  expect(Math.abs(vcpu.gate.count - expected)).toBeLessThanOrEqual(BATCH_PAGES);
});

test('a guest with rate 0 never waits', () => {
  const vcpu = inlineVcpu(ramOfPages(64), 'random-writes,bytes=16');
  for (let step = 0; step < 100; step += 1) expect(vcpu.loop.step()).toBe(0);
  expect(vcpu.gate.count).toBe(100 * BATCH_PAGES);
});

test('a thread that was held up for long catches up a tenth of a second, not more', () => {
  const vcpu = inlineVcpu(ramOfPages(64), 'random-writes,rate=40MiB,bytes=16');
  vcpu.loop.step();
  vcpu.clock.advance(60_000);
  while (vcpu.loop.step() === 0);
  expect(vcpu.gate.count).toBeLessThanOrEqual((40 * MiB) / PAGE_SIZE / 10);
});

test.each([20, 50, 90])('a throttle of %d percent takes that much of the rate', (percent) => {
  const vcpu = inlineVcpu(ramOfPages(64), 'random-writes,rate=50MiB,bytes=16');
  vcpu.gate.throttle(percent);
  vcpu.runMs(10_000);
  const expected = (10 * 50 * MiB * (1 - percent / 100)) / PAGE_SIZE;
  expect(vcpu.gate.count / expected).toBeGreaterThan(0.98);
  expect(vcpu.gate.count / expected).toBeLessThan(1.02);
});

test('a throttled guest without a rate sleeps too', () => {
  const vcpu = inlineVcpu(ramOfPages(64), 'random-writes,bytes=16');
  vcpu.gate.throttle(50);
  expect(vcpu.loop.step()).toBe(0);
  vcpu.clock.advance(10);
  expect(vcpu.loop.step()).toBe(10);
  const written = vcpu.gate.count;
  vcpu.clock.advance(10);
  expect(vcpu.loop.step()).toBe(0);
  expect(vcpu.gate.count).toBe(written + BATCH_PAGES);
});

test.each([
  [1, 50],
  [10, 50],
  [100, 400],
  [3, 0],
])('a limit of %d MiB/s holds a guest of %d MiB/s to it, exactly', (limit, rate) => {
  const vcpu = inlineVcpu(ramOfPages(64), `random-writes,rate=${rate}MiB,bytes=16`);
  vcpu.gate.limit((limit * MiB) / PAGE_SIZE);
  vcpu.runMs(10_000);
  expect(Math.abs(vcpu.gate.count - (10 * limit * MiB) / PAGE_SIZE)).toBeLessThanOrEqual(BATCH_PAGES);
  // Pages in a batch are written at once here, so nearly all of the time it was held back.
  expect(vcpu.gate.heldUs / 10_000_000).toBeGreaterThan(rate === 0 ? 0.98 : 1 - (1.1 * limit) / rate - 0.2);
});

test('a guest slower than its limit does not notice it', () => {
  const vcpu = inlineVcpu(ramOfPages(64), 'random-writes,rate=10MiB,bytes=16');
  vcpu.gate.limit((100 * MiB) / PAGE_SIZE);
  vcpu.runMs(1000);
  expect(Math.abs(vcpu.gate.count - (10 * MiB) / PAGE_SIZE)).toBeLessThanOrEqual(BATCH_PAGES);
});

test('a limit that is taken away ends a wait for it at once, and gives nothing to catch up', () => {
  const vcpu = inlineVcpu(ramOfPages(64), 'random-writes,rate=50MiB,bytes=16');
  vcpu.gate.limit(1);
  vcpu.runMs(5000);
  const held = vcpu.gate.count;
  expect(held).toBeLessThanOrEqual(6);
  vcpu.gate.limit(0);
  vcpu.runMs(1000);
  const expected = (50 * MiB * 1.1) / PAGE_SIZE; // a second, and the tenth that any guest may catch up
  expect(vcpu.gate.count - held).toBeLessThanOrEqual(expected + BATCH_PAGES);
  expect(vcpu.gate.count - held).toBeGreaterThan(expected * 0.85);
});

test('limit and throttle act together', () => {
  const vcpu = inlineVcpu(ramOfPages(64), 'random-writes,bytes=16');
  vcpu.gate.limit((20 * MiB) / PAGE_SIZE);
  vcpu.gate.throttle(50);
  vcpu.runMs(10_000);
  const expected = (10 * 20 * MiB) / 2 / PAGE_SIZE;
  expect(vcpu.gate.count / expected).toBeGreaterThan(0.95);
  expect(vcpu.gate.count / expected).toBeLessThan(1.05);
});

test('time spent stopped is not caught up', async () => {
  const vcpu = inlineVcpu(ramOfPages(64), 'random-writes,rate=50MiB,bytes=16');
  vcpu.runMs(100);
  const stop = vcpu.gate.stop(10_000);
  expect(vcpu.loop.step()).toBe(Number.POSITIVE_INFINITY);
  await stop;
  const written = vcpu.gate.count;
  vcpu.clock.advance(60_000);
  vcpu.gate.start();
  vcpu.loop.step();
  expect(vcpu.gate.count).toBe(written);
});

test('bursts come at full rate with rests between them', () => {
  const vcpu = inlineVcpu(ramOfPages(64), `bursts,burst=${256 * PAGE_SIZE},quiet=100ms,bytes=16`);
  const waits: number[] = [];
  while (waits.length < 13) {
    const waitMs = vcpu.loop.step();
    waits.push(waitMs);
    vcpu.clock.advance(waitMs);
  }
  expect(waits).toEqual([0, 0, 0, 100, 0, 0, 0, 100, 0, 0, 0, 100, 0]);
});

test('an idle guest waits for its owner and leaves RAM alone', () => {
  const ram = ramOfPages(4);
  const vcpu = inlineVcpu(ram, 'idle');
  expect(vcpu.loop.step()).toBe(Number.POSITIVE_INFINITY);
  expect(vcpu.gate.count).toBe(0);
  expect(ram.syncDirty()).toBe(0);
});

test('close ends the loop', () => {
  const vcpu = inlineVcpu(ramOfPages(4), 'sweep');
  vcpu.gate.close();
  vcpu.loop.step();
  expect(vcpu.loop.closed).toBe(true);
});
