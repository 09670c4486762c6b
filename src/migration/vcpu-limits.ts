/**
 * Limits on how fast each vCPU may dirty memory (spec/control.md §5.6, §7.6): those that set-vcpu-dirty-limit sets, and over them the
 * one that a migration with `dirty-limit` sets for all until it ends. A limit acts in the vCPU's own thread, on every page that
 * it writes, and is exact; what is measured here, once a period, is only told. QEMU counts in KVM's dirty ring; here a
 * vCPU's ring is a number of page writes (`-accel NAME,dirty-ring-size=N`), and without one there are no limits.
 */

import type { Clock } from '../base/clock.ts';
import { HarnessError } from '../base/errors.ts';
import { PAGE_SIZE } from '../wire/ram.ts';

const PAGES_PER_MIB = 2 ** 20 / PAGE_SIZE;
/** The fastest limit that a vCPU's gate holds (pages per second), 8 TiB/s; a higher one is none. */
const FASTEST = 2 ** 31 - 1;
/** How often the rate is measured while no migration says otherwise (ms). */
const PERIOD_MS = 1000;

/** What a vCPU did so far: page writes, and microseconds that its limit held it back. */
interface VcpuWork {
  readonly pagesWritten: number;
  readonly limitedUs: number;
}

/** The machine's vCPUs as they are limited. */
export interface LimitedVcpus {
  readonly count: number;
  /** Whether the guest runs: one that stands still dirties nothing. */
  isRunning(): boolean;
  /** Pages per second that this vCPU may write; 0 = as many as it likes. */
  limit(index: number, pagesPerSecond: number): void;
  work(): readonly VcpuWork[];
}

/** One entry of query-vcpu-dirty-limit; rates in MiB/s. */
export interface VcpuLimitInfo {
  readonly 'cpu-index': number;
  readonly 'limit-rate': bigint;
  readonly 'current-rate': number;
}

/** What query-migrate tells (µs): the longest that a vCPU was held back per full ring, and how long a ring takes to fill. */
interface RoundTimes {
  readonly throttleUs: number;
  readonly ringFullUs: number;
}

/** The limits of one machine. Dispose of it to end its measuring. */
export class VcpuLimits implements Disposable {
  readonly #vcpus: LimitedVcpus;
  readonly #ringPages: number | undefined;
  readonly #clock: Clock;
  readonly #migrationPeriodMs: () => number;
  /** Asked for by command, by vCPU; MiB/s. */
  readonly #asked = new Map<number, bigint>();
  #ofMigration: bigint | undefined;
  #rates: readonly number[] = [];
  #round: RoundTimes = { throttleUs: 0, ringFullUs: 0 };
  #measuring: AbortController | undefined;

  constructor(deps: {
    vcpus: LimitedVcpus;
    /** Page writes that fill a vCPU's ring; undefined without rings. */
    ringPages: number | undefined;
    clock: Clock;
    /** The parameter x-vcpu-dirty-limit-period as it is now (ms). */
    migrationPeriodMs: () => number;
  }) {
    this.#vcpus = deps.vcpus;
    this.#ringPages = deps.ringPages;
    this.#clock = deps.clock;
    this.#migrationPeriodMs = deps.migrationPeriodMs;
  }

  /** Whether limits can be had at all. */
  get hasRing(): boolean {
    return this.#ringPages !== undefined;
  }

  /** `set-vcpu-dirty-limit`: one vCPU, or all; 0 takes the limit away. Throws `qmp/generic`. */
  set(index: number | undefined, mibPerSecond: bigint): void {
    if (!this.hasRing) {
      throw refuse("dirty page limit feature requires KVM with accelerator property 'dirty-ring-size' set'");
    }
    if (mibPerSecond === 0n) {
      this.cancel(index);
      return;
    }
    this.#refuseIndex(index);
    this.#refuseDuringMigration();
    for (const each of this.#indices(index)) this.#asked.set(each, mibPerSecond);
    this.#apply();
  }

  /** `cancel-vcpu-dirty-limit`. Without rings there is nothing to cancel. Throws `qmp/generic`. */
  cancel(index: number | undefined): void {
    if (!this.hasRing) return;
    this.#refuseIndex(index);
    this.#refuseDuringMigration();
    for (const each of this.#indices(index)) this.#asked.delete(each);
    this.#apply();
  }

  /** `query-vcpu-dirty-limit`: the vCPUs that are limited. */
  query(): VcpuLimitInfo[] {
    return this.#indices(undefined).flatMap((index) => {
      const limit = this.#limitOf(index);
      if (limit === undefined) return [];
      return [{ 'cpu-index': index, 'limit-rate': limit, 'current-rate': Math.round(this.#rates[index] ?? 0) }];
    });
  }

  /** Limits all vCPUs for a migration, whatever was asked for. True when that is another limit than before. */
  limitForMigration(mibPerSecond: bigint): boolean {
    if (this.#ofMigration === mibPerSecond) return false;
    this.#ofMigration = mibPerSecond;
    this.#apply();
    return true;
  }

  /** The migration has ended, in whatever way: what was asked for by command holds again. */
  endMigration(): void {
    if (this.#ofMigration === undefined) return;
    this.#ofMigration = undefined;
    this.#apply();
  }

  /** Of the last period; undefined while no limit is in service. */
  get roundTimes(): RoundTimes | undefined {
    return this.#measuring === undefined ? undefined : this.#round;
  }

  [Symbol.dispose](): void {
    this.#measuring?.abort();
    this.#measuring = undefined;
  }

  #limitOf(index: number): bigint | undefined {
    return this.#ofMigration ?? this.#asked.get(index);
  }

  #indices(index: number | undefined): number[] {
    return index === undefined ? Array.from({ length: this.#vcpus.count }, (_, each) => each) : [index];
  }

  #apply(): void {
    let isLimited = false;
    for (const index of this.#indices(undefined)) {
      const limit = this.#limitOf(index);
      isLimited ||= limit !== undefined;
      const pages = Number(limit ?? 0n) * PAGES_PER_MIB;
      this.#vcpus.limit(index, pages > FASTEST ? 0 : pages);
    }
    if (!isLimited) this[Symbol.dispose]();
    else if (this.#measuring === undefined) this.#start();
  }

  #start(): void {
    const ending = new AbortController();
    this.#measuring = ending;
    this.#rates = [];
    this.#round = { throttleUs: 0, ringFullUs: 0 };
    this.#measure(ending.signal).catch(() => undefined); // it ends by its signal
  }

  async #measure(signal: AbortSignal): Promise<void> {
    for (;;) {
      const before = this.#vcpus.work();
      const startMs = this.#clock.nowMs();
      await this.#clock.sleep(this.#ofMigration === undefined ? PERIOD_MS : this.#migrationPeriodMs(), signal);
      const elapsedMs = this.#clock.nowMs() - startMs;
      const after = this.#vcpus.work();
      const done = after.map(({ pagesWritten, limitedUs }, index) => ({
        pages: pagesWritten - (before[index]?.pagesWritten ?? 0),
        limitedUs: limitedUs - (before[index]?.limitedUs ?? 0),
      }));
      this.#rates = done.map(({ pages }) => (pages / PAGES_PER_MIB / elapsedMs) * 1000);
      this.#round = this.#vcpus.isRunning() ? this.#roundOf(done, elapsedMs) : { throttleUs: 0, ringFullUs: 0 };
    }
  }

  #roundOf(done: readonly { pages: number; limitedUs: number }[], elapsedMs: number): RoundTimes {
    const ring = this.#ringPages ?? 0;
    const perRing = done.map(({ pages, limitedUs }) => (pages === 0 ? 0 : (limitedUs * ring) / pages));
    const averagePages = done.reduce((sum, { pages }) => sum + pages, 0) / Math.max(1, done.length);
    const ringFullUs = averagePages === 0 ? 0 : Math.round((ring * elapsedMs * 1000) / averagePages);
    return { throttleUs: Math.round(Math.max(0, ...perRing)), ringFullUs };
  }

  #refuseIndex(index: number | undefined): void {
    if (index !== undefined && (index < 0 || index >= this.#vcpus.count)) throw refuse('incorrect cpu index specified');
  }

  #refuseDuringMigration(): void {
    if (this.#ofMigration === undefined) return;
    throw refuse("a migration with capability 'dirty-limit' has limited the vCPUs; they are free again when it ends");
  }
}

function refuse(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}
