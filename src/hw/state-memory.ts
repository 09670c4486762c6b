/**
 * Memory for a device's state, made ready before it is needed: touching fresh memory costs more than copying into it, and
 * while the guest stands still that would be downtime.
 */

import { native } from '../threads/native.ts';

/** Smaller states are not worth a thought (bytes). */
export const LARGE_STATE_BYTES = 1024 ** 2;

/** Touched memory, with huge pages where the system has them. */
export function stateMemory(bytes: number): Uint8Array<ArrayBuffer> {
  const memory = new Uint8Array(bytes);
  native?.adviseHugePages(memory);
  return memory.fill(0);
}
