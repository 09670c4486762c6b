import { expect, test } from 'vitest';
import { formatLedger } from '../../src/cli/ledger-table.ts';
import { ledgerOf } from '../../src/migration/ledger.ts';

test('the table adds up each phase and marks the critical path', () => {
  const ledger = ledgerOf(
    [
      { row: 'machine', phase: 'stop', startMs: 0, endMs: 12 },
      { row: 'nic', phase: 'save', startMs: 12, endMs: 24 },
      { row: 'nic', phase: 'wire', startMs: 24, endMs: 30 },
      { row: 'nic', phase: 'wire', startMs: 30, endMs: 36 },
      { row: 'rtc', phase: 'save', startMs: 12, endMs: 13 },
      { row: 'nic', phase: 'load', startMs: 36, endMs: 47 },
    ],
    48,
  );
  expect(formatLedger(ledger).split('\n')).toEqual([
    'downtime ledger: 48.0 ms, 97.9 % explained; █ and * are on the critical path',
    '          stop   save  queue   wire   load  start  confirm',
    `machine  12.0*      -      -      -      -      -        -  ${'█'.repeat(12)}${'·'.repeat(36)}`,
    `nic          -  12.0*      -  12.0*  11.0*      -        -  ${'·'.repeat(12)}${'█'.repeat(35)}·`,
    `rtc          -   1.0       -      -      -      -        -  ${'·'.repeat(12)}─${'·'.repeat(35)}`,
    '',
  ]);
});
