/**
 * dirty-limit between two of our machines in processes of their own: a guest faster than the wire converges once each vCPU is
 * limited, query-migrate tells the limit's times, and afterwards nobody is limited. Rates as commands measure them.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Peer } from '../support/peer.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { tempDir } from '../support/temp.ts';

const MIB = 2 ** 20;
const RING = ['-accel', 'kvm,dirty-ring-size=4096'];
const GUEST = ['-object', 'guest-random-writes,id=g0,rate=40MiB,size=32MiB,bytes=64'];

/** The members of query-migrate that are read here. */
interface Progress {
  readonly status: string;
  readonly 'dirty-limit-throttle-time-per-round'?: number;
  readonly 'dirty-limit-ring-full-time'?: number;
}

const start = (options: { ring: boolean; incoming?: string }): Promise<Peer> => {
  const { ring, ...rest } = options;
  const args = [...GUEST, ...(ring ? RING : [])];
  return startPeer('switchover', { memory: '64M', machine: 'harness', running: true, args, ...rest });
};

test('a guest faster than the wire converges under dirty-limit', async () => {
  await using dir = await tempDir();
  const uri = `unix:${dir.file('m')}`;
  await using source = await start({ ring: true });
  await using destination = await start({ ring: false, incoming: uri });
  await source.setCapabilities({ 'dirty-limit': true });
  await source.qmp.execute('migrate-set-parameters', {
    'max-bandwidth': 16 * MIB,
    'downtime-limit': 100,
    'vcpu-dirty-limit': 1,
    'x-vcpu-dirty-limit-period': 200,
  });
  await source.qmp.execute('migrate', { uri });
  const seen: Progress[] = [];
  for (;;) {
    const progress = (await source.qmp.execute('query-migrate')) as unknown as Progress;
    expect(['setup', 'active', 'device', 'completed']).toContain(progress.status);
    if (progress.status === 'completed') break;
    if (progress['dirty-limit-ring-full-time'] !== undefined) seen.push(progress);
    await delay(20);
  }
  // 16 MiB of ring at 1 MiB/s.
  const ringFull = seen.map((each) => each['dirty-limit-ring-full-time'] ?? 0).filter((us) => us > 0);
  const median = ringFull.toSorted((a, b) => a - b)[Math.floor(ringFull.length / 2)] ?? 0;
  expect(median).toBeGreaterThan(12e6);
  expect(median).toBeLessThan(20e6);
  expect(seen.some((each) => (each['dirty-limit-throttle-time-per-round'] ?? 0) > 10e6)).toBe(true);
  expect(await source.qmp.execute('query-migrate')).not.toHaveProperty('dirty-limit-ring-full-time');
  expect(await source.qmp.execute('query-vcpu-dirty-limit')).toEqual([]);
  await destination.waitStatus('completed');
});

test('limits by command: as fast as asked for, and refused without a ring', async () => {
  await using peer = await start({ ring: true });
  await peer.qmp.execute('set-vcpu-dirty-limit', { 'dirty-rate': 10 });
  await peer.qmp.execute('calc-dirty-rate', { 'calc-time': 1, mode: 'dirty-ring' });
  await delay(1300);
  const rate = (await peer.qmp.execute('query-dirty-rate')) as Record<string, unknown>;
  expect(rate).toMatchObject({ status: 'measured', mode: 'dirty-ring' });
  expect(rate['dirty-rate']).toBeGreaterThanOrEqual(8);
  expect(rate['dirty-rate']).toBeLessThanOrEqual(10);
  await expect(peer.qmp.execute('set-vcpu-dirty-limit', { 'dirty-rate': 1, 'cpu-index': 1 })).rejects.toThrow(
    'cpu index',
  );
  const human = (line: string) => peer.qmp.execute('human-monitor-command', { 'command-line': line });
  expect(await human('info vcpu_dirty_limit')).toMatch(
    /^vcpu\[0\], limit rate 10 \(MB\/s\), current rate (9|10) \(MB\/s\)\r\n$/,
  );
  expect(await human('info dirty_rate')).toMatch(
    /Mode: dirty-ring\r\nDirty rate: \d+ \(MB\/s\)\r\nvcpu\[0\], Dirty rate: \d+ \(MB\/s\)\r\n$/,
  );
  await peer.qmp.execute('cancel-vcpu-dirty-limit');
  await peer.qmp.execute('calc-dirty-rate', { 'calc-time': 1, mode: 'dirty-ring' });
  await delay(1300);
  const free = (await peer.qmp.execute('query-dirty-rate')) as Record<string, number>;
  expect(free['dirty-rate']).toBeGreaterThan(30);

  await using plain = await start({ ring: false });
  await expect(plain.setCapabilities({ 'dirty-limit': true })).rejects.toThrow("'dirty-ring-size' set");
});

test('the dirty bitmap and sampled pages of a guest that writes all over its RAM', async () => {
  const guest = ['-object', 'guest-sweep,id=g0,rate=20MiB'];
  await using peer = await startPeer('switchover', { memory: '128M', machine: 'harness', running: true, args: guest });
  for (const more of [{ mode: 'dirty-bitmap' }, { mode: 'page-sampling', 'sample-pages': 16_384 }]) {
    await peer.qmp.execute('calc-dirty-rate', { 'calc-time': 2, ...more });
    let rate: Record<string, unknown>;
    do {
      await delay(50);
      rate = (await peer.qmp.execute('query-dirty-rate')) as Record<string, unknown>;
    } while (rate['status'] !== 'measured');
    expect(rate['dirty-rate']).toBeGreaterThanOrEqual(18);
    expect(rate['dirty-rate']).toBeLessThanOrEqual(22);
  }
});
