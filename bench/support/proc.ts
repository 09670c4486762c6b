/** What Linux tells about a process and the machine in /proc: memory high-water, CPU time, load. */

import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** USER_HZ: the unit of times in /proc, 100 on every Linux Node runs on. */
const TICKS_PER_SECOND = 100;
const QUIET_WINDOW_MS = 200;
/** CPU time per time, of one CPU, that still counts as quiet. */
const QUIET_SHARE = 0.15;
const FIELD = { UTIME: 11, STIME: 12 } as const;

/** User and system seconds that a process with all its threads has used. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The name in parentheses may hold spaces; what follows does not.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[FIELD.UTIME]) + Number(fields[FIELD.STIME])) / TICKS_PER_SECOND;
}

/** Largest resident size a process has had, and the resident part of its largest mapping, in bytes. */
export function memoryUse(pid: number): { highWaterBytes: number; largestMappingBytes: number } {
  const kib = (text: string, name: string) =>
    [...text.matchAll(new RegExp(`^${name}:\\s+(\\d+) kB`, 'gm'))].map((match) => Number(match[1]));
  const [highWater = 0] = kib(readFileSync(`/proc/${pid}/status`, 'latin1'), 'VmHWM');
  const mappings = kib(readFileSync(`/proc/${pid}/smaps`, 'latin1'), 'Rss');
  return { highWaterBytes: highWater * 1024, largestMappingBytes: Math.max(...mappings) * 1024 };
}

/** Seconds all CPUs were busy, and seconds the host took from them, since the machine's start. */
export function machineSeconds(): { busy: number; stolen: number } {
  const [first = ''] = readFileSync('/proc/stat', 'latin1').split('\n');
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = first.split(/\s+/).slice(1).map(Number);
  return { busy: (user + nice + system + irq + softirq) / TICKS_PER_SECOND, stolen: steal / TICKS_PER_SECOND };
}

/**
 * Waits until the CPUs have been nearly idle for a moment, or until `longestMs` have passed: on a machine that others use
 * a migration that starts in the middle of their work measures them.
 */
export async function quietMachine(longestMs: number): Promise<void> {
  const deadline = performance.now() + longestMs;
  for (;;) {
    const { busy, stolen } = machineSeconds();
    await delay(QUIET_WINDOW_MS);
    const now = machineSeconds();
    if (now.busy + now.stolen - busy - stolen <= (QUIET_SHARE * QUIET_WINDOW_MS) / 1000) return;
    if (performance.now() > deadline) return;
  }
}
