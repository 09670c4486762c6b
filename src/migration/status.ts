/** Migration statuses and the only legal moves between them, for both directions (spec/control.md §4.1, §4.3). */

import { HarnessError } from '../base/errors.ts';

/** QEMU's MigrationStatus. */
export type MigrationStatus =
  | 'none'
  | 'setup'
  | 'cancelling'
  | 'cancelled'
  | 'active'
  | 'postcopy-active'
  | 'postcopy-paused'
  | 'postcopy-recover-setup'
  | 'postcopy-recover'
  | 'completed'
  | 'failed'
  | 'colo'
  | 'pre-switchover'
  | 'device'
  | 'wait-unplug';

type Moves = { readonly [S in MigrationStatus]?: readonly MigrationStatus[] };

/** Which status may follow which, per direction; a status without a row is never left (or never reached). */
export const STATUS_MOVES = {
  source: {
    none: ['setup'],
    completed: ['setup'],
    failed: ['setup'],
    cancelled: ['setup'],
    setup: ['active', 'failed', 'cancelling'],
    active: ['pre-switchover', 'device', 'failed', 'cancelling'],
    'pre-switchover': ['device', 'failed', 'cancelling'],
    device: ['completed', 'failed', 'cancelling'],
    cancelling: ['cancelled'],
  },
  destination: {
    none: ['setup'],
    // Back to none when the listener could not be opened: another migrate-incoming may try.
    setup: ['active', 'failed', 'none'],
    active: ['completed', 'failed'],
  },
} as const satisfies Record<'source' | 'destination', Moves>;

/** Every status, in QEMU's enum order, for parsing QMP arguments. */
export const MIGRATION_STATUSES = [
  'none',
  'setup',
  'cancelling',
  'cancelled',
  'active',
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover-setup',
  'postcopy-recover',
  'completed',
  'failed',
  'colo',
  'pre-switchover',
  'device',
  'wait-unplug',
] as const satisfies readonly MigrationStatus[];

/** Statuses in which an outgoing migration is under way (RUNNING in spec/control.md §1). */
const RUNNING: ReadonlySet<MigrationStatus> = new Set([
  'setup',
  'active',
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover-setup',
  'postcopy-recover',
  'pre-switchover',
  'device',
  'wait-unplug',
  'cancelling',
  'colo',
]);

/** True while an outgoing migration in this status blocks another one and changes of capabilities. */
export function isRunning(status: MigrationStatus): boolean {
  return RUNNING.has(status);
}

/** One direction's status; `move` is the only way to change it and tells every listener. */
export class StatusMachine {
  readonly side: 'source' | 'destination';
  #current: MigrationStatus = 'none';
  readonly #listeners: ((status: MigrationStatus) => void)[] = [];

  constructor(side: 'source' | 'destination') {
    this.side = side;
  }

  get current(): MigrationStatus {
    return this.#current;
  }

  /** Adds a listener that is told every new status. */
  onMove(listener: (status: MigrationStatus) => void): void {
    this.#listeners.push(listener);
  }

  /** Moves to `to`; throws `migration/illegal-move` when the table has no such move. */
  move(to: MigrationStatus): void {
    const moves: Moves = STATUS_MOVES[this.side];
    if (!moves[this.#current]?.includes(to)) {
      throw new HarnessError('migration/illegal-move', { side: this.side, from: this.#current, to });
    }
    this.#current = to;
    for (const listener of this.#listeners) listener(to);
  }
}
