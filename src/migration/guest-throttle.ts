/** Takes time away from the guest as auto-converge says, and gives it back at the end (spec/control.md §7.5). */

import type { Logger } from '../base/log.ts';
import { AutoConverge, type DirtyPeriod } from './auto-converge.ts';
import type { ThrottleParameters } from './options/options.ts';

/** The throttle of one migration; without the capability it does nothing. */
export class GuestThrottle {
  readonly #converge: AutoConverge | undefined;
  readonly #parameters: () => ThrottleParameters;
  readonly #apply: (percent: number) => Promise<void>;
  readonly #log: Logger;
  #applied = 0;

  /** `apply` takes this percentage of time away from every vCPU. */
  constructor(deps: {
    isOn: boolean;
    parameters: () => ThrottleParameters;
    apply: (percent: number) => Promise<void>;
    log: Logger;
  }) {
    this.#converge = deps.isOn ? new AutoConverge() : undefined;
    this.#parameters = deps.parameters;
    this.#apply = deps.apply;
    this.#log = deps.log;
  }

  /** Percent taken away; undefined while nothing is. */
  get percent(): number | undefined {
    return this.#applied === 0 ? undefined : this.#applied;
  }

  /** True when a bitmap sync has to be forced so that there are periods to judge. */
  syncDue(nowMs: number, syncs: number): boolean {
    return this.#converge?.syncDue(nowMs, syncs) === true;
  }

  /** Judges what happened between two syncs while the guest ran. */
  async judge(period: DirtyPeriod | undefined): Promise<void> {
    if (period === undefined || this.#converge?.judge(period, this.#parameters()) !== true) return;
    await this.#set(this.#converge.percent);
  }

  /** The migration has ended, in whatever way. */
  async release(): Promise<void> {
    if (this.#applied > 0) await this.#set(0);
  }

  async #set(percent: number): Promise<void> {
    this.#applied = percent;
    this.#log.info({ percent }, 'vCPU throttle');
    await this.#apply(percent);
  }
}
