/**
 * Measures how fast the guest dirties memory (calc-dirty-rate, spec/control.md §5.5), in three ways: by looking at some pages
 * twice, by counting the pages that became dirty, by counting each vCPU's page writes. The first sees only pages that really
 * changed, the last counts a page as often as it is written.
 */

import { randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Breather } from '../base/breather.ts';
import type { Clock } from '../base/clock.ts';
import { HarnessError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { RamBlock } from '../hw/ram.ts';
import { PAGE_SIZE } from '../wire/ram.ts';

const PERIOD_MS = { minimum: 50, maximum: 60_000 } as const;
const SAMPLE_PAGES = { minimum: 128, maximum: 16_384, initial: 512 } as const;
/** Smaller blocks are not looked at (bytes). */
const SMALLEST_BLOCK = 128 * 1024;
const GIB_SHIFT = 30n;
const MIB = 2 ** 20;
const PAGES_PER_MIB = MIB / PAGE_SIZE;
/** What QEMU tells when there was nothing to look at. */
const NOTHING_SAMPLED = -1;

/** The ways to measure. */
export const DIRTY_RATE_MODES = ['page-sampling', 'dirty-ring', 'dirty-bitmap'] as const;
type DirtyRateMode = (typeof DIRTY_RATE_MODES)[number];
/** Units of a period. */
export const TIME_UNITS = ['second', 'millisecond'] as const;
type TimeUnit = (typeof TIME_UNITS)[number];

/** Arguments of calc-dirty-rate. */
export interface DirtyRateRequest {
  readonly 'calc-time': bigint;
  readonly 'calc-time-unit'?: TimeUnit;
  readonly 'sample-pages'?: bigint;
  readonly mode?: DirtyRateMode;
}

/** The reply of query-dirty-rate; rates in MiB/s, the start in seconds since 1970. */
export interface DirtyRateInfo {
  readonly status: 'unstarted' | 'measuring' | 'measured';
  readonly 'start-time': number;
  readonly 'calc-time': number;
  readonly 'calc-time-unit': TimeUnit;
  /** Per GiB; 0 in the other modes. */
  readonly 'sample-pages': number;
  readonly mode: DirtyRateMode;
  readonly 'dirty-rate'?: number;
  readonly 'vcpu-dirty-rate'?: readonly { readonly id: number; readonly 'dirty-rate': number }[];
}

/** What is measured. */
export interface MeasuredMachine {
  readonly ramBlocks: readonly RamBlock[];
  /** Page writes of each vCPU so far. */
  pagesWritten(): readonly number[];
  readonly hasRing: boolean;
  /** A migration collects dirty bits. */
  isMigrating(): boolean;
}

interface Rates {
  readonly rate: number;
  readonly vcpus?: readonly number[];
}

type Result = { readonly elapsedMs: number } & Rates;

/** See the header. Dispose of it to give a measurement up. */
export class DirtyRateMeter implements Disposable {
  readonly #machine: MeasuredMachine;
  readonly #clock: Clock;
  readonly #epochSeconds: () => number;
  readonly #choose: (below: number) => number;
  readonly #log: Logger;
  readonly #ending = new AbortController();
  #status: DirtyRateInfo['status'] = 'unstarted';
  #mode: DirtyRateMode = 'page-sampling';
  #startSeconds = 0;
  #periodMs = 0;
  #samplePages = 0;
  #result: Result | undefined;

  constructor(deps: {
    machine: MeasuredMachine;
    clock: Clock;
    epochSeconds: () => number;
    /** Chance; by default the system's. */
    choose?: (below: number) => number;
    log: Logger;
  }) {
    this.#machine = deps.machine;
    this.#clock = deps.clock;
    this.#epochSeconds = deps.epochSeconds;
    this.#choose = deps.choose ?? ((below) => randomInt(below));
    this.#log = deps.log;
  }

  /** calc-dirty-rate: starts a measurement; the resolved promise within is its end. Throws `qmp/generic` in QEMU's words. */
  start(request: DirtyRateRequest): { readonly done: Promise<void> } {
    if (this.#status === 'measuring') throw refuse('the dirty rate is already being measured.');
    const { mode = 'page-sampling', 'calc-time-unit': unit = 'second', 'sample-pages': samples } = request;
    const periodMs = Number(request['calc-time']) * (unit === 'second' ? 1000 : 1);
    if (periodMs < PERIOD_MS.minimum || periodMs > PERIOD_MS.maximum) {
      throw refuse(`Calculation time is out of range [${PERIOD_MS.minimum}ms, ${PERIOD_MS.maximum}ms].`);
    }
    if (samples !== undefined && mode !== 'page-sampling') {
      throw refuse('sample-pages is used only in page-sampling mode');
    }
    const samplePages = Number(samples ?? BigInt(SAMPLE_PAGES.initial));
    if (samplePages < SAMPLE_PAGES.minimum || samplePages > SAMPLE_PAGES.maximum) {
      throw refuse(`sample-pages is out of range[${SAMPLE_PAGES.minimum}, ${SAMPLE_PAGES.maximum}].`);
    }
    this.#refuseMode(mode);
    this.#status = 'measuring';
    this.#mode = mode;
    this.#startSeconds = this.#epochSeconds();
    this.#periodMs = periodMs;
    this.#samplePages = mode === 'page-sampling' ? samplePages : 0;
    this.#result = undefined;
    return { done: this.#run(mode, { periodMs, samplePages }) };
  }

  #refuseMode(mode: DirtyRateMode): void {
    const { hasRing } = this.#machine;
    if ((mode === 'dirty-ring' && !hasRing) || (mode === 'dirty-bitmap' && hasRing)) {
      throw refuse(`mode ${mode} is not enabled, use other method instead.`);
    }
    if (mode === 'dirty-bitmap' && this.#machine.isMigrating()) {
      throw refuse('mode dirty-bitmap is not possible while a migration collects dirty pages, use page-sampling');
    }
  }

  /** query-dirty-rate. */
  info(unit: TimeUnit = 'second'): DirtyRateInfo {
    const { rate, vcpus, elapsedMs = this.#periodMs } = this.#result ?? {};
    return {
      status: this.#status,
      'sample-pages': this.#samplePages,
      ...(rate === undefined ? {} : { 'dirty-rate': rate }),
      ...(vcpus === undefined ? {} : { 'vcpu-dirty-rate': vcpus.map((each, id) => ({ id, 'dirty-rate': each })) }),
      mode: this.#mode,
      'calc-time-unit': unit,
      'start-time': this.#startSeconds,
      'calc-time': Math.floor(elapsedMs / (unit === 'second' ? 1000 : 1)),
    };
  }

  [Symbol.dispose](): void {
    this.#ending.abort();
  }

  async #run(mode: DirtyRateMode, options: { periodMs: number; samplePages: number }): Promise<void> {
    try {
      this.#result = await this.#measure(mode, options);
      this.#status = 'measured';
    } catch (error) {
      this.#status = 'unstarted';
      if (!this.#ending.signal.aborted) this.#log.error({ err: error }, 'measuring the dirty rate failed');
    }
  }

  async #measure(mode: DirtyRateMode, options: { periodMs: number; samplePages: number }): Promise<Result> {
    switch (mode) {
      case 'page-sampling':
        return this.#bySampling(options);
      case 'dirty-bitmap':
        return this.#byBitmap(options.periodMs);
      case 'dirty-ring':
        return this.#byRing(options.periodMs);
      default:
        return mode satisfies never;
    }
  }

  async #wait(periodMs: number): Promise<number> {
    const startMs = this.#clock.nowMs();
    await this.#clock.sleep(periodMs, this.#ending.signal);
    return this.#clock.nowMs() - startMs;
  }

  async #bySampling({ periodMs, samplePages }: { periodMs: number; samplePages: number }): Promise<Result> {
    const blocks = this.#machine.ramBlocks.filter((block) => block.length >= SMALLEST_BLOCK);
    const samples = blocks.map((block) => chooseSample(block, samplePages, this.#choose));
    const startMs = this.#clock.nowMs();
    const before = await Promise.all(samples.map(hashes));
    // Looking took its time, which belongs to the period.
    await this.#clock.sleep(Math.max(0, startMs + periodMs - this.#clock.nowMs()), this.#ending.signal);
    const elapsedMs = this.#clock.nowMs() - startMs;
    const after = await Promise.all(samples.map(hashes));
    let [looked, changed, bytes] = [0, 0, 0];
    for (const [index, { block, pages }] of samples.entries()) {
      if (pages.length === 0) continue;
      looked += pages.length;
      bytes += block.length;
      for (let n = 0; n < pages.length; n++) if (before[index]![n] !== after[index]![n]) changed += 1;
    }
    if (looked === 0) return { rate: NOTHING_SAMPLED, elapsedMs };
    return { rate: Math.round((changed * (bytes / MIB) * 1000) / (looked * elapsedMs)), elapsedMs };
  }

  async #byBitmap(periodMs: number): Promise<Result> {
    const watches = this.#machine.ramBlocks.map((block) => block.watchDirty());
    try {
      const elapsedMs = await this.#wait(periodMs);
      const pages = watches.reduce((sum, watch) => sum + watch.count(), 0);
      return { rate: mibPerSecond(pages, elapsedMs), elapsedMs };
    } finally {
      for (const block of this.#machine.ramBlocks) block.endWatch();
    }
  }

  async #byRing(periodMs: number): Promise<Result> {
    const before = this.#machine.pagesWritten();
    const elapsedMs = await this.#wait(periodMs);
    const vcpus = this.#machine.pagesWritten().map((pages, id) => mibPerSecond(pages - (before[id] ?? 0), elapsedMs));
    return { rate: vcpus.reduce((sum, each) => sum + each, 0), vcpus, elapsedMs };
  }
}

interface Sample {
  readonly block: RamBlock;
  readonly pages: Uint32Array;
}

/** Random pages of a block, so many for each GiB; a page may be among them twice. */
function chooseSample(block: RamBlock, pagesPerGib: number, choose: (below: number) => number): Sample {
  const count = Number((BigInt(block.length) * BigInt(pagesPerGib)) >> GIB_SHIFT);
  return { block, pages: Uint32Array.from({ length: count }, () => choose(block.pageCount)) };
}

async function hashes({ block, pages }: Sample): Promise<Uint32Array> {
  const breather = new Breather();
  const found = new Uint32Array(pages.length);
  for (let n = 0; n < pages.length; n++) {
    const turn = breather.breathe();
    if (turn !== undefined) await turn;
    const at = pages[n]! * PAGE_SIZE;
    found[n] = crc32(block.bytes.subarray(at, at + PAGE_SIZE));
  }
  return found;
}

function mibPerSecond(pages: number, elapsedMs: number): number {
  return Math.round((pages * 1000) / PAGES_PER_MIB / elapsedMs);
}

function refuse(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}
