/** The downtime ledger: which parts are on the critical path, and how much of the downtime they explain. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type LedgerPart, type LedgerPhase, ledgerOf } from '../../src/migration/ledger.ts';

const part = (row: string, phase: LedgerPhase, startMs: number, endMs: number): LedgerPart => ({
  row,
  phase,
  startMs,
  endMs,
});
const critical = (parts: readonly LedgerPart[], downtimeMs: number) =>
  ledgerOf(parts, downtimeMs)
    .parts.filter(({ criticalMs }) => criticalMs > 0)
    .map(({ row, phase, criticalMs }) => `${row}/${phase} ${criticalMs}`);

describe('the critical path', () => {
  test('is the chain without which the guest had run earlier', () => {
    const parts = [
      part('machine', 'stop', 0, 10),
      part('ram', 'wire', 10, 20),
      part('nic', 'save', 10, 60),
      part('nic', 'wire', 60, 80),
      part('disk', 'save', 10, 30),
      part('disk', 'queue', 30, 80),
      part('disk', 'wire', 80, 81),
      part('nic', 'load', 80, 95),
      part('machine', 'start', 95, 100),
    ];
    expect(critical(parts, 100)).toEqual([
      'machine/stop 10',
      'nic/save 50',
      'nic/wire 20',
      'nic/load 15',
      'machine/start 5',
    ]);
    expect(ledgerOf(parts, 100).explainedMs).toBe(100);
  });

  test('takes of an overlapping part only what was waited for', () => {
    const parts = [part('a', 'wire', 0, 60), part('a', 'load', 50, 100)];
    expect(critical(parts, 100)).toEqual(['a/wire 50', 'a/load 50']);
  });
});

test('time that no part accounts for is not explained', () => {
  expect(ledgerOf([part('a', 'save', 0, 30), part('a', 'load', 50, 100)], 100).explainedMs).toBe(80);
  expect(ledgerOf([], 100).explainedMs).toBe(0);
});

test('parts outside the downtime are cut off', () => {
  const { parts } = ledgerOf([part('a', 'save', -20, 5), part('a', 'load', 90, 130)], 100);
  expect(parts.map(({ startMs, endMs }) => [startMs, endMs])).toEqual([
    [0, 5],
    [90, 100],
  ]);
});

test('explained time is the time that the parts cover, however they lie', () => {
  const time = fc.integer({ min: 0, max: 100 });
  fc.assert(
    fc.property(fc.array(fc.tuple(time, time), { maxLength: 12 }), (pairs) => {
      const parts = pairs.map(([a, b], index) => part(`r${index}`, 'wire', Math.min(a, b), Math.max(a, b)));
      const covered = Array.from({ length: 100 }, (_, ms) => parts.some((p) => p.startMs <= ms && p.endMs >= ms + 1));
      const { explainedMs, parts: judged } = ledgerOf(parts, 100);
      expect(explainedMs).toBe(covered.filter(Boolean).length);
      expect(judged.reduce((sum, p) => sum + p.criticalMs, 0)).toBe(explainedMs);
    }),
  );
});
