/** What a machine does beside running and migrating: limits its vCPUs, measures its dirty rate, announces itself. */

import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { RamBlock } from '../hw/ram.ts';
import { DirtyRateMeter } from './dirty-rate.ts';
import type { MigrationOptions } from './options/options.ts';
import { SelfAnnouncer } from './self-announce.ts';
import { type LimitedVcpus, VcpuLimits } from './vcpu-limits.ts';

/** The machine as its services see it. */
interface ServedMachine {
  readonly ram: RamBlock;
  readonly guests: readonly unknown[];
  readonly running: boolean;
  limitVcpu(index: number, pagesPerSecond: number): void;
  vcpuStats(): ReturnType<LimitedVcpus['work']>;
}

/** See the header. */
export interface VmServices extends Disposable {
  readonly vcpuLimits: VcpuLimits;
  readonly dirtyRate: DirtyRateMeter;
  readonly announcer: SelfAnnouncer;
}

/** The services of one machine. Dispose of them to stop all. */
export function vmServices(deps: {
  machine: ServedMachine;
  options: MigrationOptions;
  /** Page writes that fill a vCPU's ring; undefined without rings. */
  ringPages: number | undefined;
  isMigrating: () => boolean;
  clock: Clock;
  log: Logger;
}): VmServices {
  const { machine, options, clock, log } = deps;
  const vcpuLimits = new VcpuLimits({
    vcpus: {
      count: machine.guests.length,
      isRunning: () => machine.running,
      limit: (index, pagesPerSecond) => machine.limitVcpu(index, pagesPerSecond),
      work: () => machine.vcpuStats(),
    },
    ringPages: deps.ringPages,
    clock,
    migrationPeriodMs: () => options.dirtyLimitParameters().periodMs,
  });
  const dirtyRate = new DirtyRateMeter({
    machine: {
      ramBlocks: [machine.ram],
      pagesWritten: () => machine.vcpuStats().map((vcpu) => vcpu.pagesWritten),
      hasRing: vcpuLimits.hasRing,
      isMigrating: deps.isMigrating,
    },
    clock,
    epochSeconds: () => Math.floor(Date.now() / 1000),
    log,
  });
  const announcer = new SelfAnnouncer({ clock, log });
  return {
    vcpuLimits,
    dirtyRate,
    announcer,
    [Symbol.dispose]: () => {
      for (const service of [vcpuLimits, dirtyRate, announcer]) service[Symbol.dispose]();
    },
  };
}
