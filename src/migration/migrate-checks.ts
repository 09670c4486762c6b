/** What `migrate` refuses before anything happens, in QEMU's order and words (spec/control.md §8.3); nothing has changed then. */

import { HarnessError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { RunState } from '../hw/run-state.ts';
import type { Blocker } from './blockers.ts';
import type { MigrationOptions, MigrationOptionsSnapshot } from './options/options.ts';
import { isRunning, type MigrationStatus } from './status.ts';
import type { Address } from './transport/address.ts';
import { isBidirectional, refuseTls, refuseTransport } from './transport/transport.ts';

/** The machine as the rules see it. */
export interface MigrateContext {
  readonly options: MigrationOptions;
  readonly status: MigrationStatus;
  readonly runState: RunState;
  /** The first of what keeps the machine from migrating at all. */
  readonly blocker: Blocker | undefined;
}

/** Throws `qmp/generic`. */
export function refuseMigrate(address: Address, resume: boolean, context: MigrateContext): void {
  const { options, runState } = context;
  refuseTransport(address, options);
  if (resume) throw refuse('Cannot resume if there is no paused migration');
  refuseSecondMigration(context.status);
  if (runState === 'inmigrate') throw refuse('Guest is waiting for an incoming migration');
  if (runState === 'postmigrate') throw refuse("Can't migrate the vm that was paused due to previous migration");
  if (context.blocker !== undefined) throw refuse(context.blocker.refusal);
  refuseTls(address, options);
  // The capability may have come after the parameter, whose own rules do not see it.
  if (options.isOn('mapped-ram') && options.snapshot().multifd.compression !== 'none') {
    throw refuse('Cannot use compression with mapped-ram');
  }
  if (options.isOn('return-path') && !isBidirectional(address)) {
    throw refuse(`The return-path capability needs a transport that goes both ways; ${address.uri} does not`);
  }
}

/** Throws `qmp/generic` while a migration goes out. */
export function refuseSecondMigration(status: MigrationStatus): void {
  if (isRunning(status)) throw refuse("There's a migration process in progress");
}

/** QEMU takes any x-clear-bitmap-shift, and tells at the start of each migration what it makes of one that is out of range. */
export function warnOfClamps({ properties }: Pick<MigrationOptionsSnapshot, 'properties'>, log: Logger): void {
  const shift = properties['x-clear-bitmap-shift'];
  if (shift < 6) log.warn(`clear_bitmap_shift (${shift}) too small, using min value (6)`);
  if (shift > 31) log.warn(`clear_bitmap_shift (${shift}) too big, using max value (31)`);
}

function refuse(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}
