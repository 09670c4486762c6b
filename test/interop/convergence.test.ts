/**
 * auto-converge and max-bandwidth as they come out on the wire to a real QEMU: a guest that dirties faster than the wire
 * carries does not converge without the throttle and does with it, and the bytes of a second are what was asked for.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { checkGuestOf } from '../support/guest-ram.ts';
import type { Peer } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

const MiB = 1024 * 1024;
const MAX_BANDWIDTH = 16 * MiB;
const DOWNTIME_MS = 100;
/** Passes without a throttle after which the guest has shown that it does not converge. */
const PASSES = 3;
const POLL_MS = 10;
/** Seconds that are looked at until one is as it should be. */
const LOOKS = 5;

/** The members of query-migrate that these tests read. */
interface Progress {
  readonly status: string;
  readonly 'cpu-throttle-percentage'?: number;
  readonly ram: { readonly remaining: number; readonly transferred: number; readonly 'dirty-sync-count': number };
}

async function progressOf(peer: Peer): Promise<Progress> {
  // The reply of query-migrate while a migration is active or done.
  return (await peer.qmp.execute('query-migrate')) as Progress;
}

/** A QEMU that waits at a socket of its own. */
async function waitingQemu(memory: string, dir: TempDir): Promise<{ destination: Peer; uri: string }> {
  const destination = await startPeer('qemu', { memory, incoming: 'defer' });
  const uri = `unix:${dir.file(`to-${destination.pid}`)}`;
  await destination.qmp.execute('migrate-incoming', { uri, 'exit-on-error': false });
  return { destination, uri };
}

const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  test('a guest faster than the wire converges with auto-converge, and not without', async () => {
    const guest = 'guest-random-writes,id=g0,rate=40MiB,size=32MiB,bytes=64';
    await using dir = await tempDir();
    await using source = await startPeer('switchover', { memory: '64M', running: true, args: ['-object', guest] });
    const parameters = { 'max-bandwidth': MAX_BANDWIDTH, 'downtime-limit': DOWNTIME_MS };
    await source.qmp.execute('migrate-set-parameters', {
      ...parameters,
      'cpu-throttle-initial': 60,
      'cpu-throttle-increment': 30,
    });

    const first = await waitingQemu('64M', dir);
    await using _ = first.destination;
    await source.qmp.execute('migrate', { uri: first.uri });
    let progress = await progressOf(source);
    while (progress.status === 'setup' || progress.ram['dirty-sync-count'] <= PASSES) {
      await delay(POLL_MS);
      progress = await progressOf(source);
      expect(progress).not.toHaveProperty('cpu-throttle-percentage');
      expect(['setup', 'active']).toContain(progress.status);
    }
    await source.qmp.execute('migrate_cancel');
    await source.waitStatus('cancelled');

    await source.setCapabilities({ 'auto-converge': true });
    const second = await waitingQemu('64M', dir);
    await using destination = second.destination;
    await source.qmp.execute('migrate', { uri: second.uri });
    const throttles: number[] = [];
    for (progress = await progressOf(source); progress.status !== 'completed'; progress = await progressOf(source)) {
      const percent = progress['cpu-throttle-percentage'] ?? 0;
      if (throttles.at(-1) !== percent) throttles.push(percent);
      expect(['setup', 'active', 'device', 'completed']).toContain(progress.status);
      await delay(POLL_MS);
    }
    expect([0, 60, 90, 99].slice(0, throttles.length)).toEqual(throttles);
    expect(throttles.length).toBeGreaterThan(1);
    expect(progress).not.toHaveProperty('cpu-throttle-percentage');
    await destination.waitStatus('completed');
    expect(await destination.ramSha256()).toBe(await source.ramSha256());
    expect(await checkGuestOf(destination, guest)).toMatchObject({ ok: true });
  });

  test.for([1, 8, 200])('max-bandwidth of %i MiB/s is kept within 3 percent over a second', async (rate) => {
    const guest = 'guest-random-writes,id=g0,bytes=64';
    await using dir = await tempDir();
    await using source = await startPeer('switchover', { memory: '64M', running: true, args: ['-object', guest] });
    const { destination, uri } = await waitingQemu('64M', dir);
    await using _ = destination;
    await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': rate * MiB, 'downtime-limit': 1 });
    await delay(200); // the guest has written to all of its RAM
    await source.qmp.execute('migrate', { uri });
    await source.waitStatus('active');
    // One second says nothing on a host that had no time for the source, or for whoever looks.
    const offs: number[] = [];
    while (offs.length < LOOKS && !offs.some((off) => off < 0.03)) offs.push(await offByOf(source, rate * MiB));
    expect(Math.min(...offs), `off by ${offs.join(', ')}`).toBeLessThan(0.03);
    await source.qmp.execute('migrate_cancel');
    await source.waitStatus('cancelled');
  });
});

/** How far a second of a limited source is off its limit (bytes per second), as a share of it. */
async function offByOf(source: Peer, bytesPerSecond: number): Promise<number> {
  const bursts = await burstsOf(source, 12);
  const [from, to] = [bursts[1]!, bursts[11]!];
  return Math.abs(((to.transferred - from.transferred) * 1000) / (to.atMs - from.atMs) / bytesPerSecond - 1);
}

/** A limited source sends a burst every 100 ms: when each began, and what had gone out before it (ms, bytes). */
async function burstsOf(source: Peer, count: number): Promise<{ atMs: number; transferred: number }[]> {
  const bursts: { atMs: number; transferred: number }[] = [];
  let last = (await progressOf(source)).ram.transferred;
  while (bursts.length < count) {
    const { status, ram } = await progressOf(source);
    expect(status).toBe('active');
    const { transferred } = ram;
    const atMs = performance.now();
    // Between two bursts nothing moves for most of the window; within one, every look shows more.
    if (transferred !== last && atMs - (bursts.at(-1)?.atMs ?? 0) > 50) bursts.push({ atMs, transferred: last });
    last = transferred;
    await delay(1);
  }
  return bursts;
}
