/**
 * Auto-converge: how much of the vCPUs' time is taken away when the guest dirties memory faster than it can be sent
 * (spec/control.md §7.5). Percentages and bytes only; who throttles, and when periods end, is the source's.
 */

import type { ThrottleParameters } from './options/options.ts';

/** Periods with too much dirtied before something is done. A good period in between does not count them down. */
const BAD_PERIODS = 2;
/** With auto-converge the dirty bitmap is collected at least this often (ms), so that there are periods at all. */
const SYNC_MS = 5000;

/** What happened between two syncs more than a second apart (bytes). */
export interface DirtyPeriod {
  readonly dirtiedBytes: number;
  readonly sentBytes: number;
}

/** Tells when something is to be done about a guest: after every second period in which it dirtied too much. */
export class DirtyTrigger {
  #badPeriods = 0;

  /** Judges a period; `threshold` is the percentage of the sent bytes that may be dirtied again. */
  pulled(period: DirtyPeriod, threshold: number): boolean {
    if (period.dirtiedBytes <= allowedBytes(period, threshold)) return false;
    this.#badPeriods += 1;
    if (this.#badPeriods < BAD_PERIODS) return false;
    this.#badPeriods = 0;
    return true;
  }
}

function allowedBytes({ sentBytes }: DirtyPeriod, threshold: number): number {
  return Math.floor((sentBytes * threshold) / 100);
}

/** The throttle of one outgoing migration. It never goes down. */
export class AutoConverge {
  readonly #trigger = new DirtyTrigger();
  #percent = 0;
  #tickMs: number | undefined;
  #syncsAtTick = 0;

  /** Percentage of vCPU time that is taken away; 0 before anything was done. */
  get percent(): number {
    return this.#percent;
  }

  /** Judges a period; true when `percent` changed. */
  judge(period: DirtyPeriod, parameters: ThrottleParameters): boolean {
    if (!this.#trigger.pulled(period, parameters.threshold)) return false;
    const share = allowedBytes(period, parameters.threshold) / period.dirtiedBytes;
    const before = this.#percent;
    this.#percent = Math.min(99, Math.max(1, this.#next(share, parameters)));
    return this.#percent !== before;
  }

  #next(share: number, { initial, increment, maximum, tailslow }: ThrottleParameters): number {
    if (this.#percent === 0) return initial;
    const left = 100 - this.#percent;
    const step = tailslow ? Math.min(left - Math.trunc(left * share), increment) : increment;
    // A maximum that was lowered meanwhile does not lower the throttle.
    return Math.max(this.#percent, Math.min(this.#percent + step, maximum));
  }

  /**
   * The timer that forces a sync: true when SYNC_MS went by without one. `syncs` is the number of syncs so far; during
   * the first pass, while there is only one, nothing is forced.
   */
  syncDue(nowMs: number, syncs: number): boolean {
    this.#tickMs ??= nowMs + SYNC_MS;
    if (nowMs < this.#tickMs) return false;
    this.#tickMs = nowMs + SYNC_MS;
    const none = syncs > 1 && syncs === this.#syncsAtTick;
    this.#syncsAtTick = none ? syncs + 1 : syncs;
    return none;
  }
}
