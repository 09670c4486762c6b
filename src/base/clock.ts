/** Time as a dependency: code that measures or waits takes a Clock, and tests crank one by hand. */

import { performance } from 'node:perf_hooks'; // the global loads it at its first use, within somebody's first migration
import { setTimeout as delay } from 'node:timers/promises';

/** Monotonic milliseconds, and waiting that an AbortSignal can end. */
export interface Clock {
  /** Milliseconds since an arbitrary start, with fractions; never goes back. */
  nowMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The real clock of this process. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  sleep: async (ms, signal) => {
    try {
      await delay(ms, undefined, signal === undefined ? undefined : { signal });
    } catch (error) {
      throw signal?.reason ?? error;
    }
  },
};

/** A clock that moves only when told: `advance` wakes the sleepers whose time has come, in order. */
export class ManualClock implements Clock {
  #now = 0;
  readonly #sleepers: { at: number; wake: () => void }[] = [];

  nowMs(): number {
    return this.#now;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      this.#sleepers.push({ at: this.#now + ms, wake: resolve });
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
  }

  /** Moves time forward by `ms` milliseconds. */
  advance(ms: number): void {
    this.#now += ms;
    this.#sleepers.sort((a, b) => a.at - b.at);
    while (this.#sleepers[0] !== undefined && this.#sleepers[0].at <= this.#now) this.#sleepers.shift()?.wake();
  }
}
