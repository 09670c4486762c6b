/**
 * Slows the guest down when it dirties memory faster than it can be sent, and gives back what it took at the end: by taking
 * time away with auto-converge (spec/control.md §7.5), by limiting each vCPU's dirty rate with dirty-limit (§7.6).
 */

import type { Logger } from '../base/log.ts';
import { AutoConverge, type DirtyPeriod, DirtyTrigger } from './auto-converge.ts';
import type { MigrationOptions } from './options/options.ts';
import type { VcpuLimits } from './vcpu-limits.ts';

/** The machine as it is slowed down. */
export interface ThrottledMachine {
  /** Takes `percent` (0…99) of the vCPUs' time away. */
  throttle(percent: number): Promise<void>;
  readonly vcpuLimits: Pick<VcpuLimits, 'limitForMigration' | 'endMigration' | 'roundTimes'>;
}

/** The throttle of one migration; without the capabilities it does nothing. */
export class GuestThrottle {
  readonly #converge: AutoConverge | undefined;
  /** With dirty-limit. */
  readonly #trigger: DirtyTrigger | undefined;
  readonly #options: Pick<MigrationOptions, 'throttleParameters' | 'dirtyLimitParameters'>;
  readonly #machine: ThrottledMachine;
  readonly #log: Logger;
  #applied = 0;

  constructor(deps: {
    capabilities: { readonly 'auto-converge': boolean; readonly 'dirty-limit': boolean };
    /** Asked for parameters whenever they are needed. */
    options: Pick<MigrationOptions, 'throttleParameters' | 'dirtyLimitParameters'>;
    machine: ThrottledMachine;
    log: Logger;
  }) {
    this.#converge = deps.capabilities['auto-converge'] ? new AutoConverge() : undefined;
    this.#trigger = deps.capabilities['dirty-limit'] ? new DirtyTrigger() : undefined;
    this.#options = deps.options;
    this.#machine = deps.machine;
    this.#log = deps.log;
  }

  /** Percent taken away; undefined while nothing is. */
  get percent(): number | undefined {
    return this.#applied === 0 ? undefined : this.#applied;
  }

  /** With dirty-limit, what query-migrate tells of the limits that are in service. */
  get roundTimes(): VcpuLimits['roundTimes'] {
    return this.#trigger === undefined ? undefined : this.#machine.vcpuLimits.roundTimes;
  }

  /** True when a bitmap sync has to be forced so that there are periods to judge. */
  syncDue(nowMs: number, syncs: number): boolean {
    return this.#converge?.syncDue(nowMs, syncs) === true;
  }

  /** Judges what happened between two syncs while the guest ran. */
  async judge(period: DirtyPeriod | undefined): Promise<void> {
    if (period === undefined) return;
    const parameters = this.#options.throttleParameters();
    if (this.#converge?.judge(period, parameters) === true) await this.#set(this.#converge.percent);
    if (this.#trigger?.pulled(period, parameters.threshold) !== true) return;
    const vcpuLimit = this.#options.dirtyLimitParameters().mibPerSecond;
    if (!this.#machine.vcpuLimits.limitForMigration(vcpuLimit)) return;
    this.#log.info({ mibPerSecond: Number(vcpuLimit) }, 'vCPU dirty limit');
  }

  /** The migration has ended, in whatever way. */
  async release(): Promise<void> {
    if (this.#trigger !== undefined) this.#machine.vcpuLimits.endMigration();
    if (this.#applied > 0) await this.#set(0);
  }

  async #set(percent: number): Promise<void> {
    this.#applied = percent;
    this.#log.info({ percent }, 'vCPU throttle');
    await this.#machine.throttle(percent);
  }
}
