import { expect, test } from 'vitest';
import { exitCodeOfVerdict, formatVerdict, type MigrationObservation, verdictOf } from '../../src/cli/verdict.ts';

const GOOD: MigrationObservation = {
  info: { status: 'completed', 'total-time': 1200, 'setup-time': 3, downtime: 45 },
  expectedDowntimeMs: 50,
  sourceSha256: 'aa',
  destinationSha256: 'aa',
  guests: [{ guest: 'guest0', ok: true, detail: 'one edge at page 7' }],
  continued: true,
};

test('equal RAM, whole guests and a guest that went on pass', () => {
  const verdict = verdictOf(GOOD);
  expect(verdict).toMatchObject({
    verdict: 'pass',
    totalMs: 1200,
    setupMs: 3,
    downtimeMs: 45,
    expectedDowntimeMs: 50,
    ramEqual: true,
    sha256: 'aa',
    guestContinued: true,
  });
  expect(exitCodeOfVerdict(verdict)).toBe(0);
});

test.each<[string, Partial<MigrationObservation>]>([
  ['different RAM', { destinationSha256: 'bb' }],
  ['a broken guest', { guests: [{ guest: 'guest0', ok: false, detail: 'two edges' }] }],
  ['a guest that stands still', { continued: false }],
])('%s fails with exit code 1', (_name, change) => {
  const verdict = verdictOf({ ...GOOD, ...change });
  expect(verdict.verdict).toBe('fail');
  expect(exitCodeOfVerdict(verdict)).toBe(1);
});

test('a machine without guests is judged by its RAM alone', () => {
  const { continued: _continued, ...seen } = GOOD;
  expect(verdictOf({ ...seen, guests: [] })).toMatchObject({ verdict: 'pass', guestContinued: null });
});

test('the table aligns its rows and paints what judges', () => {
  const verdict = verdictOf({ ...GOOD, destinationSha256: 'bb' });
  expect(formatVerdict(verdict, (text, good) => `${good ? '+' : '-'}${text}`).split('\n')).toEqual([
    'total time   1200 ms (setup 3 ms)',
    'downtime     45 ms (expected 50 ms)',
    'iterations   0',
    'transferred  0 B for 0 B of RAM',
    'throughput   0.0 MB/s',
    'RAM          -DIFFERENT: source aa, destination bb',
    'guest0       +ok: one edge at page 7',
    'after        +the guest went on writing on the destination',
    'verdict      -fail',
    '',
  ]);
});
