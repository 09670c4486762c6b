import { expect, test } from 'vitest';
import { comparisonOf, formatComparison, plansToCompare } from '../../src/cli/comparison.ts';
import type { MigrationPlan } from '../../src/cli/migrate-plan.ts';
import { verdictOf } from '../../src/cli/verdict.ts';

const run = (downtime: number, destinationSha256 = 'aa') =>
  verdictOf({
    info: { status: 'completed', 'total-time': 2500, downtime },
    sourceSha256: 'aa',
    destinationSha256,
    guests: [],
  });

test('the second migration has the capabilities, the first has not', () => {
  const plan = { capabilities: ['return-path'], compare: ['switchover-ack'] } as unknown as MigrationPlan;
  const plans = plansToCompare(plan);
  expect(plans.without.capabilities).toEqual(['return-path']);
  expect(plans.with.capabilities).toEqual(['return-path', 'switchover-ack']);
});

test('the ratio is that of the downtimes, and both must pass', () => {
  expect(comparisonOf(['x'], { without: run(1900), with: run(420) })).toMatchObject({
    verdict: 'pass',
    downtimeRatio: 4.52,
  });
  expect(comparisonOf(['x'], { without: run(1900), with: run(420, 'bb') }).verdict).toBe('fail');
});

test('the table has both beside each other and ends in the verdict', () => {
  const comparison = comparisonOf(['switchover-ack'], { without: run(1900), with: run(420) });
  expect(formatComparison(comparison).split('\n')).toEqual([
    '               without         with switchover-ack',
    'downtime       1900 ms         420 ms          4.5 times less',
    'expected       -               -',
    'total time     2500 ms         2500 ms',
    'devices ready  -               -',
    'RAM            equal           equal',
    'verdict        pass',
    '',
  ]);
});
