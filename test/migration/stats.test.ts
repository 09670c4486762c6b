/** The arithmetic of query-migrate and of the switchover threshold (spec/control.md §5.3, §7.2–7.4, §7.7). */

import { beforeEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import type { LiveParameters } from '../../src/migration/options/options.ts';
import { SourceStats, WINDOW_MS } from '../../src/migration/stats.ts';

const MB = 1e6;

let clock: ManualClock;
let bytes: number;
let parameters: LiveParameters;
let stats: SourceStats;

beforeEach(() => {
  clock = new ManualClock();
  clock.advance(5000); // a clock does not start at 0
  bytes = 0;
  parameters = { maxBandwidth: 0, availSwitchoverBandwidth: 0, downtimeLimitMs: 300 };
  stats = new SourceStats({ clock, parameters: () => parameters, bytes: () => bytes });
});

const ram = (done = false) => stats.ram({ totalBytes: 1 << 20, remainingBytes: 8192, done });
const part = (normalPages: number, zeroPages = 0, recordBytes = 0) => ({ normalPages, zeroPages, recordBytes });

/** `ms` of sending `count` bytes, then the check at the end of the window. */
function window(ms: number, count: number): void {
  clock.advance(ms);
  bytes += count;
  stats.checkWindow();
}

describe('threshold', () => {
  test('is 0 until the first window has ended', () => {
    stats.setupDone(clock.nowMs());
    window(WINDOW_MS - 1, MB);
    expect(stats.thresholdBytes).toBe(0);
    window(1, MB);
    expect(stats.thresholdBytes).toBe((2 * MB * 300) / WINDOW_MS);
  });

  test('counts from the end of setup', () => {
    clock.advance(60);
    bytes = 7777;
    stats.setupDone(clock.nowMs());
    window(WINDOW_MS, MB);
    expect(stats.thresholdBytes).toBe(3 * MB);
  });

  test('is what one window measured, not an average', () => {
    stats.setupDone(clock.nowMs());
    window(100, 10 * MB);
    window(200, MB);
    expect(stats.thresholdBytes).toBe(Math.trunc((MB / 200) * 300));
  });

  test('takes the announced bandwidth instead of the measured one, in whole bytes per ms', () => {
    parameters = { ...parameters, availSwitchoverBandwidth: 1_234_567 };
    stats.setupDone(clock.nowMs());
    window(100, 10 * MB);
    expect(stats.thresholdBytes).toBe(1234 * 300);
  });

  test('follows downtime-limit at the next window, and is 0 with a limit of 0', () => {
    stats.setupDone(clock.nowMs());
    window(100, MB);
    parameters = { ...parameters, downtimeLimitMs: 0 };
    expect(stats.thresholdBytes).toBe(3 * MB);
    window(100, MB);
    expect(stats.thresholdBytes).toBe(0);
  });

  test('is a whole number of bytes', () => {
    stats.setupDone(clock.nowMs());
    window(101, 1000);
    expect(stats.thresholdBytes).toBe(2970);
  });
});

describe('rate limit', () => {
  test('a tenth of max-bandwidth goes out per window', () => {
    parameters = { ...parameters, maxBandwidth: 10 * MB };
    stats.setupDone(clock.nowMs());
    expect(stats.budgetLeft()).toBe(MB);
    bytes += MB;
    expect(stats.budgetLeft()).toBe(0);
    expect(stats.rateExceeded()).toBe(false);
    bytes += 1;
    expect(stats.rateExceeded()).toBe(true);
    clock.advance(30);
    expect(stats.windowLeftMs()).toBe(70);
    clock.advance(70);
    expect(stats.windowLeftMs()).toBe(0);
    stats.checkWindow();
    expect(stats.budgetLeft()).toBe(MB - 1); // the byte too many
  });

  test.for([1 << 20, 3_000_000, 100 << 20, 1 << 30])(
    '%i bytes/s come out within 1 % in a second of late timers and whole pages',
    (maxBandwidth) => {
      parameters = { ...parameters, maxBandwidth };
      stats.setupDone(clock.nowMs());
      const endMs = clock.nowMs() + 1000;
      while (clock.nowMs() < endMs - 1e-6) {
        bytes += Math.max(1, Math.ceil(stats.budgetLeft() / 4096)) * 4104;
        clock.advance(1);
        stats.checkWindow();
        if (!stats.rateExceeded()) continue;
        clock.advance(Math.min(stats.windowLeftMs() + 1.3, endMs - clock.nowMs()));
        stats.checkWindow();
      }
      expect(Math.abs(bytes / maxBandwidth - 1)).toBeLessThan(0.01);
    },
  );

  test('a window that was over long ago does not move the next one into the past', () => {
    parameters = { ...parameters, maxBandwidth: 10 * MB };
    stats.setupDone(clock.nowMs());
    window(350, MB);
    expect(stats.windowLeftMs()).toBe(WINDOW_MS);
  });

  test('avail-switchover-bandwidth below a byte per ms leaves expected-downtime alone', () => {
    parameters = { ...parameters, availSwitchoverBandwidth: 999 };
    stats.setupDone(clock.nowMs());
    stats.synced(0, 4096);
    clock.advance(1100);
    stats.synced(5000, 4096);
    window(100, MB);
    expect(ram()['dirty-pages-rate']).toBeGreaterThan(0);
    expect(stats.expectedDowntimeMs).toBe(300);
    expect(stats.thresholdBytes).toBe(0);
  });

  test('max-bandwidth 0 is no limit', () => {
    parameters = { ...parameters, maxBandwidth: 0 };
    bytes += 100 * MB;
    expect(stats.budgetLeft()).toBe(Number.POSITIVE_INFINITY);
    expect(stats.rateExceeded()).toBe(false);
  });

  test.for([1, 9, 19])('max-bandwidth %i is one byte per window', (maxBandwidth) => {
    parameters = { ...parameters, maxBandwidth };
    expect(stats.budgetLeft()).toBe(1);
  });

  test('a change of max-bandwidth counts at once', () => {
    parameters = { ...parameters, maxBandwidth: 10 * MB };
    bytes += 2 * MB;
    expect(stats.rateExceeded()).toBe(true);
    parameters = { ...parameters, maxBandwidth: 40 * MB };
    expect(stats.budgetLeft()).toBe(2 * MB);
  });
});

describe('rates of a window', () => {
  test('megabits and pages per second', () => {
    stats.setupDone(clock.nowMs());
    stats.partSent(part(300, 33), true);
    window(125, 5 * MB);
    expect(ram().mbps).toBe(320);
    expect(ram()['pages-per-second']).toBe(2664);
    stats.partSent(part(1), true);
    window(100, 0);
    expect(ram()).toMatchObject({ mbps: 0, 'pages-per-second': 10 });
  });

  test('stay between two windows', () => {
    stats.setupDone(clock.nowMs());
    window(100, MB);
    clock.advance(50);
    bytes += 9 * MB;
    expect(ram().mbps).toBe(80);
  });
});

describe('dirty pages', () => {
  test('a sync more than a second after the last rate tells what was dirtied and sent meanwhile', () => {
    bytes = 500;
    expect(stats.synced(1_000_000, 4096)).toBeUndefined();
    clock.advance(600);
    bytes += 10_000;
    expect(stats.synced(3, 4096)).toBeUndefined();
    clock.advance(600);
    bytes += 5000;
    expect(stats.synced(4, 4096)).toEqual({ dirtiedBytes: 7 * 4096, sentBytes: 15_000 });
    clock.advance(1001);
    expect(stats.synced(1, 4096)).toEqual({ dirtiedBytes: 4096, sentBytes: 0 });
  });

  test('a rate needs more than a second, and the first sync is none', () => {
    stats.synced(1_000_000, 4096);
    clock.advance(1000);
    stats.synced(500, 4096);
    expect(ram()['dirty-pages-rate']).toBe(0);
    clock.advance(250);
    stats.synced(500, 4096);
    expect(ram()['dirty-pages-rate']).toBe(800);
    expect(ram()['dirty-sync-count']).toBe(3);
  });

  test('a rate counts from the last rate, and is whole', () => {
    stats.synced(0, 0);
    clock.advance(2000);
    stats.synced(1, 0);
    expect(ram()['dirty-pages-rate']).toBe(0);
    clock.advance(1500);
    stats.synced(1000, 0);
    expect(ram()['dirty-pages-rate']).toBe(666);
  });

  test('expected-downtime is downtime-limit at first, then what was dirty at the last sync over the bandwidth', () => {
    parameters = { ...parameters, downtimeLimitMs: 500 };
    stats.setupDone(clock.nowMs());
    window(100, MB);
    expect(stats.expectedDowntimeMs).toBe(300);
    stats.synced(1, MB);
    clock.advance(1001);
    stats.synced(5000, 7 * MB);
    stats.checkWindow();
    window(100, MB);
    expect(stats.expectedDowntimeMs).toBe(700);
  });

  test('a window of at most 10,000 bytes says nothing about expected-downtime', () => {
    stats.setupDone(clock.nowMs());
    stats.synced(0, 0);
    clock.advance(1001);
    stats.synced(5000, 7 * MB);
    stats.checkWindow();
    window(100, 10_000);
    expect(stats.expectedDowntimeMs).toBe(300);
    window(100, 10_001);
    expect(stats.expectedDowntimeMs).toBe(Math.trunc((7 * MB) / 100.01));
  });
});

test('pages and bytes are counted by what they were and when they went', () => {
  stats.partSent(part(10, 5, 41_125), true);
  stats.partSent(part(2, 1, 8225), false);
  bytes = 50_000;
  expect(ram()).toEqual({
    transferred: 50_000,
    remaining: 8192,
    total: 1 << 20,
    duplicate: 6,
    normal: 12,
    'normal-bytes': 49_152,
    'dirty-pages-rate': 0,
    mbps: 0,
    'dirty-sync-count': 0,
    'postcopy-requests': 0,
    'page-size': 4096,
    'multifd-bytes': 0,
    'pages-per-second': 0,
    'precopy-bytes': 41_125,
    'downtime-bytes': 8225,
    'postcopy-bytes': 0,
    'dirty-sync-missed-zero-copy': 0,
  });
});

describe('times', () => {
  test('setup, downtime and total are whole milliseconds of what passed', () => {
    clock.advance(3.4);
    const threadStartMs = clock.nowMs();
    clock.advance(20.2);
    stats.setupDone(threadStartMs);
    expect(stats.setupMs).toBe(20);
    clock.advance(1000);
    expect(stats.totalTimeMs()).toBe(1024);
    stats.downtimeStarts();
    clock.advance(7);
    stats.downtimeStarts(); // set once
    clock.advance(5);
    bytes = 2 * MB;
    stats.completed();
    expect({ total: stats.totalMs, downtime: stats.downtimeMs }).toEqual({ total: 1036, downtime: 12 });
    clock.advance(5000);
    expect(stats.totalTimeMs()).toBe(1036);
  });

  test('at the end mbps is the average after setup, nothing remains and nothing is dirtied', () => {
    stats.synced(0, 0);
    clock.advance(1001);
    stats.synced(5000, MB);
    stats.setupDone(clock.nowMs() - 1);
    clock.advance(999);
    bytes = 10 * MB;
    stats.completed();
    expect(ram(true)).toMatchObject({ remaining: 0, 'dirty-pages-rate': 0, transferred: 10 * MB });
    expect(ram(true).mbps).toBeCloseTo((10 * MB * 8) / 1999 / 1000, 6);
  });

  test('a migration that took no time has no average', () => {
    stats.completed();
    expect({ total: stats.totalMs, downtime: stats.downtimeMs, mbps: ram(true).mbps }).toEqual({
      total: 0,
      downtime: 0,
      mbps: 0,
    });
  });
});

describe("the wire's own speed", () => {
  const MIB = 2 ** 20;
  /** Runs windows of 100 ms: MiB sent, and ms spent sending them. */
  function speedAfter(windows: readonly (readonly [sentMiB: number, busyMs: number])[]): number {
    const clock = new ManualClock();
    let bytes = 0;
    const parameters = () => ({ maxBandwidth: 0, availSwitchoverBandwidth: 0, downtimeLimitMs: 300 });
    const stats = new SourceStats({ clock, parameters, bytes: () => bytes });
    stats.setupDone(0);
    for (const [sentMiB, busyMs] of windows) {
      bytes += sentMiB * MIB;
      stats.busy(busyMs);
      clock.advance(100);
      stats.checkWindow();
    }
    return (stats.switchoverBytesPerMs * 1000) / MIB;
  }

  test('is taken to be 1 GiB/s before a window has told it', () => {
    expect(speedAfter([])).toBeCloseTo(1024);
    expect(speedAfter([[1, 100]])).toBeCloseTo(1024);
  });

  test('counts sending only, and is not forgotten when all has been sent', () => {
    expect(speedAfter([[50, 25]])).toBeCloseTo(2000);
    expect(
      speedAfter([
        [50, 25],
        [0, 0],
        [1, 100],
      ]),
    ).toBeCloseTo(2000);
  });

  test('fades with windows that were slower: a device of the destination may have held them up', () => {
    expect(
      speedAfter([
        [50, 25],
        [10, 100],
      ]),
    ).toBeCloseTo(1960);
  });
});
