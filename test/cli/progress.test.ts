import { expect, test } from 'vitest';
import { formatProgress, ProgressReporter, type ProgressSample, sampleOf } from '../../src/cli/progress.ts';
import type { RamInfo } from '../../src/migration/vm-control.ts';

const RAM: RamInfo = {
  transferred: 1000,
  remaining: 3 * 1024 * 1024,
  total: 8 * 1024 * 1024,
  duplicate: 0,
  normal: 0,
  'normal-bytes': 0,
  'dirty-pages-rate': 512,
  mbps: 800,
  'dirty-sync-count': 4,
  'postcopy-requests': 0,
  'page-size': 4096,
  'multifd-bytes': 0,
  'pages-per-second': 0,
  'precopy-bytes': 0,
  'downtime-bytes': 0,
  'postcopy-bytes': 0,
  'dirty-sync-missed-zero-copy': 0,
};

const SAMPLE: ProgressSample = {
  elapsedMs: 0,
  phase: 'active',
  iteration: 1,
  remainingBytes: 0,
  bytesPerSecond: 0,
  dirtyBytesPerSecond: 0,
  devices: [],
};

function recordingStream(options: { isTTY: boolean; columns?: number }) {
  const written: string[] = [];
  return { ...options, written, write: (text: string) => written.push(text) };
}

test('a sample turns Mbit/s and pages/s into bytes per second', () => {
  expect(sampleOf({ status: 'active', ram: RAM }, 1500)).toEqual({
    elapsedMs: 1500,
    phase: 'active',
    iteration: 4,
    remainingBytes: 3 * 1024 * 1024,
    bytesPerSecond: 100e6,
    devices: [],
    dirtyBytesPerSecond: 2 * 1024 * 1024,
  });
});

test('a reply without ram, as in setup, is all zeros', () => {
  expect(sampleOf({ status: 'setup' }, 10)).toEqual({ ...SAMPLE, elapsedMs: 10, phase: 'setup', iteration: 0 });
});

test('a line has phase, iteration, remaining, speed and dirty rate', () => {
  expect(formatProgress(sampleOf({ status: 'active', ram: RAM }, 1500))).toBe(
    '   1.5 s  active          iteration   4  remaining    3.0 MiB    100.0 MB/s  dirtying 2.0 MiB/s',
  );
});

test('a terminal gets one line that is redrawn and never wraps', () => {
  const stream = recordingStream({ isTTY: true, columns: 20 });
  const reporter = new ProgressReporter(stream);
  reporter.update(SAMPLE);
  reporter.update({ ...SAMPLE, elapsedMs: 50 });
  reporter.end();
  reporter.end();
  expect(stream.written).toEqual(['\r\u001b[2K   0.0 s  active   ', '\r\u001b[2K   0.1 s  active   ', '\n']);
});

test('a pipe gets a plain line per phase, per iteration and per second', () => {
  const stream = recordingStream({ isTTY: false });
  const reporter = new ProgressReporter(stream);
  const samples: ProgressSample[] = [
    SAMPLE,
    { ...SAMPLE, elapsedMs: 50 },
    { ...SAMPLE, elapsedMs: 100, iteration: 2 },
    { ...SAMPLE, elapsedMs: 900, iteration: 2 },
    { ...SAMPLE, elapsedMs: 1100, iteration: 2 },
    { ...SAMPLE, elapsedMs: 1150, iteration: 2, phase: 'completed' },
  ];
  for (const sample of samples) reporter.update(sample);
  reporter.end();
  expect(stream.written).toEqual([0, 2, 4, 5].map((index) => `${formatProgress(samples[index] ?? SAMPLE)}\n`));
});

test('a note stands on a line of its own below the redrawn one', () => {
  const stream = recordingStream({ isTTY: true });
  const reporter = new ProgressReporter(stream);
  reporter.update(SAMPLE);
  reporter.note('comparing RAM');
  expect(stream.written.slice(1)).toEqual(['\n', 'comparing RAM\n']);
});
