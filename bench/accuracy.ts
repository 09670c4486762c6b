/**
 * How exact are throttle and rate limit? Points between the throttle asked for and the share of time that a vCPU which never
 * rests does not run, by the kernel's account of its thread; percent between `max-bandwidth` and the bytes of a second.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseGuestOption } from '../src/hw/guest/guest-options.ts';
import { Vcpu } from '../src/hw/guest/vcpu.ts';
import { RamBlock } from '../src/hw/ram.ts';
import { startPeer } from '../test/support/switchover-vm.ts';
import { tempDir } from '../test/support/temp.ts';
import { type ValueRow, valueBench } from './support/values.ts';

const MIB = 1024 * 1024;
const TASKS = '/proc/self/task';
const THROTTLES = [10, 20, 30, 50, 70, 80, 90, 95] as const;
const MIB_PER_SECOND = [1, 8, 64, 200] as const;
const THROTTLED_MS = 2000;
/** A limited source sends a burst every 100 ms. */
const BURSTS = 12;
const LEAST_BETWEEN_MS = 50;

/** The benchmark behind `npm run bench -- accuracy`. */
export const accuracyBench = valueBench({
  question: 'how far off are throttle (points) and max-bandwidth (percent)?',
  defaultPairs: 3,
  rows: {
    ...Object.fromEntries(
      THROTTLES.map((percent): [string, ValueRow] => [
        `throttle-${percent}`,
        { unit: 'points', bar: { atMost: 2 }, measure: () => throttleError(percent) },
      ]),
    ),
    ...Object.fromEntries(
      MIB_PER_SECOND.map((mib): [string, ValueRow] => [
        `bandwidth-${mib}MiB`,
        { unit: '%', bar: { atMost: 3 }, measure: () => bandwidthError(mib * MIB) },
      ]),
    ),
  },
});

async function throttleError(percent: number): Promise<number> {
  const ram = RamBlock.create({ name: 'throttled', length: 16 * MIB });
  const others = new Set(readdirSync(TASKS));
  await using vcpu = await Vcpu.create({ ram: ram.share, guest: parseGuestOption('sweep', 'g0') });
  const threads = readdirSync(TASKS).filter((task) => !others.has(task));
  vcpu.throttle(percent);
  vcpu.start();
  await sleep(300);
  const [startMs, startRunMs] = [performance.now(), runMsOf(threads)];
  await sleep(THROTTLED_MS);
  const share = (runMsOf(threads) - startRunMs) / (performance.now() - startMs);
  await vcpu.stop();
  return Math.abs(100 * (1 - share) - percent);
}

/** Milliseconds that threads have been on a CPU. */
function runMsOf(threads: readonly string[]): number {
  const times = threads.map((task) => Number(readFileSync(`${TASKS}/${task}/schedstat`, 'utf8').split(' ')[0]));
  return times.reduce((sum, ns) => sum + ns, 0) / 1e6;
}

async function bandwidthError(bytesPerSecond: number): Promise<number> {
  await using directory = await tempDir();
  const incoming = `unix:${directory.file('migrate')}`;
  await using _destination = await startPeer('qemu', { memory: '64M', incoming });
  const args = ['-object', 'guest-random-writes,id=g0,bytes=64'];
  await using source = await startPeer('switchover', { memory: '64M', running: true, args });
  const transferred = async () => {
    const { ram } = (await source.qmp.execute('query-migrate')) as { ram: { transferred: number } };
    return ram.transferred;
  };
  await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': bytesPerSecond, 'downtime-limit': 1 });
  await sleep(300); // the guest has written to all of its RAM
  await source.qmp.execute('migrate', { uri: incoming });
  await source.waitStatus('active');
  const bursts: { atMs: number; before: number }[] = [];
  for (let last = await transferred(); bursts.length < BURSTS; await sleep(1)) {
    const now = await transferred();
    const atMs = performance.now();
    // Between two bursts nothing moves for most of the window; within one, every look shows more.
    if (now !== last && atMs - (bursts.at(-1)?.atMs ?? 0) > LEAST_BETWEEN_MS) bursts.push({ atMs, before: last });
    last = now;
  }
  const [from, to] = [bursts[1]!, bursts[BURSTS - 1]!];
  const measured = ((to.before - from.before) * 1000) / (to.atMs - from.atMs);
  return Math.abs(100 * (measured / bytesPerSecond - 1));
}
