/**
 * Statistics of an outgoing migration, as query-migrate defines them, and the threshold that decides switchover
 * (spec/control.md §5.3, §7.2–7.4, §7.7). Times in milliseconds of the injected clock; no input or output here.
 */

import type { Clock } from '../base/clock.ts';
import { PAGE_SIZE } from '../wire/ram.ts';
import type { DirtyPeriod } from './auto-converge.ts';
import type { LiveParameters } from './options/options.ts';
import type { RamPart } from './ram/ram-sender.ts';
import type { RamPathCounters } from './ram-path.ts';
import type { RamInfo } from './vm-control.ts';

/** The only window length: rate limit, bandwidth and threshold are renewed every 100 ms. */
export const WINDOW_MS = 100;
/** Below this many bytes a window says nothing about bandwidth. */
const MIN_WINDOW_BYTES = 10_000;
/** A window that carried less says nothing about the wire: the socket's buffer may have taken all of it. */
const TELLING_BYTES = 8 * 2 ** 20;
/** What is left of the wire's best speed with each window that was slower: it may have waited for a device of the destination. */
const WIRE_DECAY = 0.98;
/** The wire's speed while no window has told it (bytes per ms): 1 GiB/s. Nothing is gained by waiting for one with nothing to send. */
const ASSUMED_BYTES_PER_MS = 2 ** 30 / 1000;
/** Dirty rates need a period longer than this (ms). */
const RATE_PERIOD_MS = 1000;

/** Counters and windows of one outgoing migration. */
export class SourceStats {
  readonly startMs: number;
  setupMs = 0;
  totalMs: number | undefined;
  downtimeMs: number | undefined;
  downtimeStartMs: number | undefined;
  expectedDowntimeMs: number;
  dirtySyncCount = 0;
  /** Bytes that may be left so that sending them fits into the downtime limit. 0 until the first window has ended. */
  thresholdBytes = 0;
  /** Whether a window has ended, so that the bandwidth is known. */
  isMeasured = false;
  #normalPages = 0;
  #zeroPages = 0;
  #precopyBytes = 0;
  #downtimeBytes = 0;
  #dirtyPagesRate = 0;
  #mbps = 0;
  #pagesPerSecond = 0;
  #dirtyBytesAtSync = 0;
  #periodStartMs: number;
  #periodDirtyPages = 0;
  #periodBytes = 0;
  #windowStartMs: number;
  #windowBytes = 0;
  #windowPages = 0;
  #windowBusyMs = 0;
  #wireBytesPerMs = 0;
  /** Bytes that the last window sent too many. */
  #overdrawn = 0;
  readonly #clock: Clock;
  readonly #parameters: () => LiveParameters;
  readonly #bytes: () => number;
  readonly #channels: () => RamPathCounters;
  readonly #periodEnds: () => void;

  /** `bytes` tells how many bytes were handed to all channels so far, `channels` what there was on those beside the main one. */
  constructor(options: {
    clock: Clock;
    parameters: () => LiveParameters;
    bytes: () => number;
    channels?: () => RamPathCounters;
    /** Called when a period of rates has ended. */
    periodEnds?: () => void;
  }) {
    this.#clock = options.clock;
    this.#parameters = options.parameters;
    this.#bytes = options.bytes;
    this.#periodEnds = options.periodEnds ?? (() => undefined);
    this.#channels = options.channels ?? (() => ({ multifdBytes: 0, missedZeroCopy: 0 }));
    this.startMs = this.#clock.nowMs();
    this.#windowStartMs = this.startMs;
    this.#periodStartMs = this.startMs;
    this.expectedDowntimeMs = options.parameters().downtimeLimitMs;
  }

  /** Setup has ended: the first window starts. */
  setupDone(threadStartMs: number): void {
    this.setupMs = Math.round(this.#clock.nowMs() - threadStartMs);
    this.#openWindow();
  }

  /**
   * A bitmap sync found `fresh` new dirty pages; `dirtyBytes` are dirty in all. Returns the period that it ended, when
   * that was longer than a second.
   */
  synced(fresh: number, dirtyBytes: number): DirtyPeriod | undefined {
    this.dirtySyncCount += 1;
    this.#dirtyBytesAtSync = dirtyBytes;
    const now = this.#clock.nowMs();
    if (this.dirtySyncCount === 1) {
      // The first sync makes everything dirty; that is no rate.
      this.#openPeriod(now);
      return undefined;
    }
    this.#periodDirtyPages += fresh;
    const elapsed = now - this.#periodStartMs;
    if (elapsed <= RATE_PERIOD_MS) return undefined;
    this.#dirtyPagesRate = Math.trunc((this.#periodDirtyPages * 1000) / elapsed);
    const period = {
      dirtiedBytes: this.#periodDirtyPages * PAGE_SIZE,
      sentBytes: this.#bytes() - this.#periodBytes,
    };
    this.#openPeriod(now);
    this.#periodEnds();
    return period;
  }

  #openPeriod(nowMs: number): void {
    this.#periodStartMs = nowMs;
    this.#periodDirtyPages = 0;
    this.#periodBytes = this.#bytes();
  }

  /** A part of the RAM section was sent while the guest was `live` (run state `running`) or not. */
  partSent(part: RamPart, live: boolean): void {
    this.#normalPages += part.normalPages;
    this.#zeroPages += part.zeroPages;
    if (live) this.#precopyBytes += part.recordBytes;
    else this.#downtimeBytes += part.recordBytes;
  }

  /** Bytes that may still be sent in this window; Infinity without a limit, 0 or less when it is used up. */
  budgetLeft(): number {
    const budget = this.#budget();
    return budget === 0 ? Number.POSITIVE_INFINITY : budget - this.#overdrawn - (this.#bytes() - this.#windowBytes);
  }

  /** Bytes per window; 0 without a limit. */
  #budget(): number {
    const { maxBandwidth } = this.#parameters();
    // QEMU's 1 to 9 bytes per second are no limit, because a tenth of them is 0.
    return maxBandwidth === 0 ? 0 : Math.max(1, Math.floor(maxBandwidth / 10));
  }

  /** True when more than the window's budget went out. */
  rateExceeded(): boolean {
    return this.budgetLeft() < 0;
  }

  /** Milliseconds until the window ends. */
  windowLeftMs(): number {
    return Math.max(0, this.#windowStartMs + WINDOW_MS - this.#clock.nowMs());
  }

  /** The downtime limit as it is now (ms). */
  get downtimeLimitMs(): number {
    return this.#parameters().downtimeLimitMs;
  }

  /**
   * What the wire will carry during switchover (bytes per ms): the parameter, or else the best that it carried while something
   * was being sent, which fades with slower windows.
   */
  get switchoverBytesPerMs(): number {
    const { availSwitchoverBandwidth } = this.#parameters();
    if (availSwitchoverBandwidth !== 0) return availSwitchoverBandwidth / 1000;
    return this.#wireBytesPerMs === 0 ? ASSUMED_BYTES_PER_MS : this.#wireBytesPerMs;
  }

  /** Sending took this long. Unlike QEMU's bandwidth this tells idle time, when all is sent, from a slow wire. */
  busy(ms: number): void {
    this.#windowBusyMs += ms;
  }

  /** Ends the window when its 100 ms are over: bandwidth, threshold and expected downtime are renewed. */
  checkWindow(): void {
    const elapsed = this.#clock.nowMs() - this.#windowStartMs;
    if (elapsed < WINDOW_MS) return;
    const bytes = this.#bytes() - this.#windowBytes;
    const measured = bytes / elapsed;
    const { availSwitchoverBandwidth, downtimeLimitMs } = this.#parameters();
    const bandwidth = availSwitchoverBandwidth === 0 ? measured : Math.floor(availSwitchoverBandwidth / 1000);
    this.isMeasured = true;
    this.thresholdBytes = Math.trunc(bandwidth * downtimeLimitMs);
    if (bytes >= TELLING_BYTES && this.#windowBusyMs > 0) {
      this.#wireBytesPerMs = Math.max(bytes / this.#windowBusyMs, this.#wireBytesPerMs * WIRE_DECAY);
    }
    this.#mbps = (bytes * 8) / elapsed / 1000;
    this.#pagesPerSecond = Math.trunc(((this.#normalPages + this.#zeroPages - this.#windowPages) * 1000) / elapsed);
    if (this.#dirtyPagesRate !== 0 && bytes > MIN_WINDOW_BYTES && bandwidth > 0) {
      this.expectedDowntimeMs = Math.trunc(this.#dirtyBytesAtSync / bandwidth);
    }
    const budget = this.#budget();
    const spent = bytes + this.#overdrawn;
    const limited = budget > 0 && spent >= budget;
    this.#openWindow();
    if (!limited) return;
    // What makes the rate exact over many windows: a page too many is taken from the next window, and windows that are
    // only waited for start every 100 ms, although the timer that ends them is late.
    this.#overdrawn = Math.min(budget, spent - budget);
    if (elapsed < 2 * WINDOW_MS) this.#windowStartMs -= elapsed - WINDOW_MS;
  }

  #openWindow(): void {
    this.#windowStartMs = this.#clock.nowMs();
    this.#windowBytes = this.#bytes();
    this.#windowPages = this.#normalPages + this.#zeroPages;
    this.#windowBusyMs = 0;
    this.#overdrawn = 0;
  }

  /** The guest is about to be stopped: downtime counts from here. */
  downtimeStarts(): void {
    this.downtimeStartMs ??= this.#clock.nowMs();
  }

  /** Everything arrived: the final numbers. */
  completed(): void {
    const now = this.#clock.nowMs();
    this.totalMs = Math.round(now - this.startMs);
    this.downtimeMs = Math.round(now - (this.downtimeStartMs ?? now));
    const sendingMs = this.totalMs - this.setupMs;
    if (sendingMs > 0) this.#mbps = (this.#bytes() * 8) / sendingMs / 1000;
  }

  /** Total time so far, or the final one once completed. */
  totalTimeMs(): number {
    return this.totalMs ?? Math.round(this.#clock.nowMs() - this.startMs);
  }

  /** The `ram` member of query-migrate. */
  ram(state: { totalBytes: number; remainingBytes: number; done: boolean }): RamInfo {
    const channels = this.#channels();
    return {
      transferred: this.#bytes(),
      remaining: state.done ? 0 : state.remainingBytes,
      total: state.totalBytes,
      duplicate: this.#zeroPages,
      normal: this.#normalPages,
      'normal-bytes': this.#normalPages * PAGE_SIZE,
      'dirty-pages-rate': state.done ? 0 : this.#dirtyPagesRate,
      mbps: this.#mbps,
      'dirty-sync-count': this.dirtySyncCount,
      'postcopy-requests': 0,
      'page-size': PAGE_SIZE,
      'multifd-bytes': channels.multifdBytes,
      'pages-per-second': this.#pagesPerSecond,
      'precopy-bytes': this.#precopyBytes,
      'downtime-bytes': this.#downtimeBytes,
      'postcopy-bytes': 0,
      'dirty-sync-missed-zero-copy': channels.missedZeroCopy,
    };
  }
}
