/** What this process holds, for tests that nothing is left behind. */

import { readdirSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { turn } from './watched-vm.ts';

/** Threads of the process. */
export function threadCount(): number {
  return readdirSync('/proc/self/task').length;
}

/** Open file descriptors. */
function descriptorCount(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Both. */
export function held(): { readonly threads: number; readonly descriptors: number } {
  return { threads: threadCount(), descriptors: descriptorCount() };
}

/** Lets closed sockets and ended threads go. */
export async function settled(): Promise<void> {
  for (let turns = 0; turns < 50; turns += 1) await turn();
}

/** Threads, descriptors and resident bytes of this process. */
export interface Resources {
  readonly threads: number;
  readonly descriptors: number;
  readonly residentBytes: number;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** What the process holds once everything that was let go is gone. */
export async function resources(): Promise<Resources> {
  for (let count = 0; count < 3; count += 1) await turn(); // closing callbacks
  collectGarbage();
  return { threads: threadCount(), descriptors: descriptorCount(), residentBytes: process.memoryUsage.rss() };
}

/** The middle one. */
export function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}
