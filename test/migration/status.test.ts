/** Statuses move as spec/control.md §4.1 and §4.3 say and in no other way. */

import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../src/base/errors.ts';
import {
  isRunning,
  MIGRATION_STATUSES,
  type MigrationStatus,
  STATUS_MOVES,
  StatusMachine,
} from '../../src/migration/status.ts';

/** The shortest way from `none` to a status, by the table. */
function wayTo(side: StatusMachine['side'], goal: MigrationStatus): MigrationStatus[] | undefined {
  const moves: { readonly [S in MigrationStatus]?: readonly MigrationStatus[] } = STATUS_MOVES[side];
  const ways: MigrationStatus[][] = [[]];
  const seen = new Set<MigrationStatus>(['none']);
  for (const way of ways) {
    const last = way.at(-1) ?? 'none';
    if (last === goal) return way;
    for (const next of moves[last] ?? []) {
      if (!seen.has(next)) ways.push([...way, next]);
      seen.add(next);
    }
  }
  return undefined;
}

function at(side: StatusMachine['side'], status: MigrationStatus): StatusMachine {
  const machine = new StatusMachine(side);
  for (const step of wayTo(side, status) ?? []) machine.move(step);
  return machine;
}

const LEGAL = {
  source: [
    'none → setup',
    'setup → active, cancelling, failed',
    'active → cancelling, device, failed, pre-switchover',
    'pre-switchover → cancelling, device, failed',
    'device → cancelling, completed, failed',
    'cancelling → cancelled',
    'completed → setup',
    'failed → setup',
    'cancelled → setup',
  ],
  destination: ['none → setup', 'setup → active, failed, none', 'active → completed, failed'],
};

describe.for(['source', 'destination'] as const)('%s', (side) => {
  const reachable = MIGRATION_STATUSES.filter((status) => wayTo(side, status) !== undefined);

  test('takes the legal moves and refuses all others', () => {
    const found = reachable.map((from) => {
      const taken = MIGRATION_STATUSES.filter((to) => {
        const machine = at(side, from);
        try {
          machine.move(to);
          expect(machine.current).toBe(to);
          return true;
        } catch (error) {
          if (!isHarnessError(error, 'migration/illegal-move')) throw error;
          expect(error.details).toEqual({ side, from, to });
          expect(machine.current).toBe(from);
          return false;
        }
      });
      return `${from} → ${taken.toSorted().join(', ')}`;
    });
    const ended = side === 'source' ? [] : ['completed → ', 'failed → '];
    expect(found.toSorted()).toEqual([...LEGAL[side], ...ended].toSorted());
  });
});

test('listeners hear every move, after it happened, and none that was refused', () => {
  const machine = new StatusMachine('source');
  const heard: string[] = [];
  machine.onMove((to) => heard.push(`${to} ${machine.current}`));
  machine.move('setup');
  expect(() => machine.move('completed')).toThrow("cannot go from 'setup' to 'completed'");
  machine.move('failed');
  expect(heard).toEqual(['setup setup', 'failed failed']);
});

test('a migration is under way until it ended', () => {
  const idle = MIGRATION_STATUSES.filter((status) => !isRunning(status));
  expect(idle).toEqual(['none', 'cancelled', 'completed', 'failed']);
});
