/** Gives the event loop a turn from time to time in loops that might never wait for anything. */

import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** How long one stretch of work may keep the event loop (ms): QMP answers and timers wait that long at most. */
const STRETCH_MS = 1;

/** One per busy loop. */
export class Breather {
  #since = performance.now();

  /** A promise to await when the stretch was long enough, otherwise undefined. */
  breathe(): Promise<void> | undefined {
    if (performance.now() - this.#since < STRETCH_MS) return undefined;
    return this.#turn();
  }

  async #turn(): Promise<void> {
    await nextTurn();
    this.#since = performance.now();
  }
}
