/**
 * Measuring again what the host disturbed: a virtual machine's CPUs may be taken from it for a while, and what is measured then
 * says how busy the host was. Judged by what the host took alone, without looking at what was measured.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { machineSeconds } from './proc.ts';

/** The host may take this share of a measurement's time, of one CPU; a tick of /proc's is no news. */
const DISTURBED_SHARE = 0.03;
const DISTURBED_SECONDS = 0.015;
/** How often one measurement is made; the last one counts in any case. */
const ATTEMPTS = 8;
/** What takes CPUs away often goes on for some seconds. */
const PAUSE_MS = 1000;

/** Where time is read: seconds that have passed, and seconds that the host took from all CPUs. */
export interface HostClock {
  now(): { readonly passed: number; readonly stolen: number };
  pause(): Promise<void>;
}

/** This machine's. */
const LINUX: HostClock = {
  now: () => ({ passed: performance.now() / 1000, stolen: machineSeconds().stolen }),
  pause: () => delay(PAUSE_MS),
};

/** Measures, and measures again when the host took too much of it, until the repeats are used up. */
export class UndisturbedMeasuring {
  readonly #clock: HostClock;
  #repeatsLeft: number;
  #repeated = 0;
  #disturbed = 0;

  /** At most `repeats` measurements in all are made again, so that a host that is always busy ends too. */
  constructor(repeats: number, clock: HostClock = LINUX) {
    this.#repeatsLeft = repeats;
    this.#clock = clock;
  }

  /** Measurements that do not count, because the host disturbed them. */
  get repeated(): number {
    return this.#repeated;
  }

  /** Measurements that count although it did. */
  get disturbed(): number {
    return this.#disturbed;
  }

  /** What `measure` resolves with when it was left alone, or at last. */
  async take<T>(measure: () => T | Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      const before = this.#clock.now();
      const value = await measure();
      const after = this.#clock.now();
      const isDisturbed =
        after.stolen - before.stolen > Math.max(DISTURBED_SECONDS, DISTURBED_SHARE * (after.passed - before.passed));
      if (!isDisturbed) return value;
      if (attempt === ATTEMPTS || this.#repeatsLeft === 0) {
        this.#disturbed += 1;
        return value;
      }
      this.#repeatsLeft -= 1;
      this.#repeated += 1;
      await this.#clock.pause();
    }
  }
}
