import { expect, test } from 'vitest';
import { type MigrateFlags, planOf } from '../../src/cli/migrate-plan.ts';

const FLAGS: MigrateFlags = {
  machine: 'harness',
  memory: '512MiB',
  guest: [],
  device: [],
  fill: 'none',
  seed: '1',
  transport: 'tcp',
  cap: [],
  param: [],
  timeout: '120s',
};

test('sizes, rates and times become bytes, bytes per second and milliseconds', () => {
  const plan = planOf({ ...FLAGS, maxBandwidth: '8Gbps', downtimeLimit: '0.5s', timeout: '2min' });
  expect(plan.ramBytes).toBe(512 * 1024 * 1024);
  expect(plan.timeoutMs).toBe(120_000);
  expect(plan.parameters).toEqual({ 'max-bandwidth': 1_000_000_000, 'downtime-limit': 500 });
});

test('a guest gets its type prefix and an id unless it brings them', () => {
  const guest = ['sweep,rate=200MiB', 'guest-idle', 'bursts,id=h,seed=5'];
  expect(planOf({ ...FLAGS, guest }).guests.map(({ object }) => object)).toEqual([
    'guest-sweep,id=guest0,rate=200MiB',
    'guest-idle,id=guest1',
    'guest-bursts,id=h,seed=5',
  ]);
});

test('capabilities are collected once each', () => {
  const plan = planOf({ ...FLAGS, cap: ['events,return-path', 'multifd'], returnPath: true });
  expect(plan.capabilities).toEqual(['events', 'return-path', 'multifd']);
});

test('parameters are numbers and booleans where they look so, else text', () => {
  const param = ['multifd-channels=4', 'direct-io=on', 'multifd-compression=zstd', 'tls-creds='];
  expect(planOf({ ...FLAGS, param }).parameters).toEqual({
    'multifd-channels': 4,
    'direct-io': true,
    'multifd-compression': 'zstd',
    'tls-creds': '',
  });
});

test('a dirty ring is there when it is asked for', () => {
  expect(planOf(FLAGS).dirtyRingPages).toBeUndefined();
  expect(planOf({ ...FLAGS, dirtyRingSize: '4096' }).dirtyRingPages).toBe(4096);
});

test.each<[Partial<MigrateFlags>, string]>([
  [{ dirtyRingSize: '5' }, '--dirty-ring-size: expected a power of two up to'],
  [{ memory: '5000B' }, '--memory: expected a multiple of the page size, 4096 bytes, got 5000 bytes'],
  [{ memory: '0' }, '--memory: expected a multiple of the page size'],
  [{ memory: 'lots' }, '--memory: expected a size'],
  [{ guest: ['sweeep'] }, 'guest: expected one of sweep, '],
  [{ guest: ['sweep,start=1GiB'] }, 'guest-sweep.size: expected a region inside 512.0 MiB of RAM'],
  [{ seed: '-1' }, "--seed: expected a whole number, got '-1'"],
  [{ param: ['multifd-channels'] }, "--param: expected name=value, got 'multifd-channels'"],
  [{ maxBandwidth: 'fast' }, '--max-bandwidth: expected'],
  [{ downtimeLimit: 'soon' }, '--downtime-limit: expected a time'],
  [{ timeout: '' }, '--timeout: expected a time'],
])('%j is refused and the message names the flag', (change, message) => {
  expect(() => planOf({ ...FLAGS, ...change })).toThrow(message);
});
