/** Loads hostile variants of a stream one after the other, with an eye on time and memory; how many is the environment's. */

import { expect } from 'vitest';
import { type HarnessError, isHarnessError } from '../../src/base/errors.ts';
import { resources } from './process-counts.ts';

const [EXTENT_NAME = '', PART = '1/1'] = (process.env['SWITCHOVER_HOSTILE'] ?? '').split(':');
const [PART_NUMBER = 1, PARTS = 1] = PART.split('/').map(Number);
const IS_FULL = EXTENT_NAME === 'full';
const SLOW_MS = 2000;
const GROWTH_BYTES = 64 << 20;
/** Loads after which garbage is collected: what waits for that is no memory that stays. */
const COLLECTED_LOADS = 500;
/** Fewer say nothing: at first what is freed stays with the process. */
const TELLING_LOADS = 4000;

/** How much is tried: with SWITCHOVER_HOSTILE=full everything, with full:3/20 the third of twenty parts of it. */
export const EXTENT = {
  isFull: IS_FULL,
  parts: PARTS,
  corruptions: IS_FULL ? 10_000 : 300,
  /** One of so many cuts is tried. */
  cutsShare: IS_FULL ? 1 : 150,
  longMs: IS_FULL ? 1_200_000 : 60_000,
} as const;

/** What can load a hostile stream, given as it is, again and again. */
export interface HostileLoader<T> {
  /** The error, or undefined when all of it was loaded. */
  load(connections: T): Promise<unknown>;
}

/** Loads again and again. Errors of ours are counted, and shown to `onRefused`; other errors and what loaded are listed. */
export async function loadAll<T>(
  machine: HostileLoader<T>,
  variants: Iterable<{ name: string; connections: T }>,
  onRefused: (refusal: { name: string; error: HarnessError }) => void = () => undefined,
): Promise<{ loaded: string[]; foreign: unknown[]; refused: number }> {
  const result = { loaded: [] as string[], foreign: [] as unknown[], refused: 0 };
  let slowestMs = 0;
  const residentBytes: number[] = [];
  let loads = 0;
  let count = 0;
  for (const { name, connections } of variants) {
    count += 1;
    if (count % PARTS !== PART_NUMBER % PARTS) continue;
    if (loads % COLLECTED_LOADS === 0) residentBytes.push((await resources()).residentBytes);
    loads += 1;
    const startMs = performance.now();
    const error = await machine.load(connections);
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
    if (error === undefined) result.loaded.push(name);
    else if (isHarnessError(error)) {
      result.refused += 1;
      onRefused({ name, error });
    } else result.foreign.push({ name, error });
  }
  expect(slowestMs).toBeLessThan(SLOW_MS);
  if (loads >= TELLING_LOADS) {
    // What is large goes and comes with the allocator (130 to 400 MiB in one run); what is kept raises the least of it.
    const [quarter, half] = [residentBytes.length / 4, residentBytes.length / 2];
    const usualBytes = Math.min(...residentBytes.slice(quarter, half));
    expect(Math.min(...residentBytes.slice(half)) - usualBytes).toBeLessThan(GROWTH_BYTES);
  }
  return result;
}

/** The connections with connection `index` changed. */
export function changed(connections: readonly Uint8Array[], index: number, bytes: Uint8Array): Uint8Array[] {
  return connections.map((original, at) => (at === index ? bytes : original));
}
