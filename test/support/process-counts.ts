/** What this process holds, for tests that nothing is left behind. */

import { readdirSync } from 'node:fs';
import { turn } from './watched-vm.ts';

/** Threads of the process. */
export function threadCount(): number {
  return readdirSync('/proc/self/task').length;
}

/** Open file descriptors. */
export function descriptorCount(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Lets closed sockets and ended threads go. */
export async function settled(): Promise<void> {
  for (let turns = 0; turns < 50; turns += 1) await turn();
}
