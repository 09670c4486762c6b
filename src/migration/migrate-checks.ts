/** What `migrate` refuses before anything happens, in QEMU's order and words (spec/control.md §8.3); nothing has changed then. */

import { HarnessError } from '../base/errors.ts';
import type { RunState } from '../hw/run-state.ts';
import type { MigrationOptions } from './options/options.ts';
import { isRunning, type MigrationStatus } from './status.ts';
import type { Address } from './transport/address.ts';
import { isBidirectional, refuseTls, refuseTransport } from './transport/transport.ts';

/** The machine as the rules see it. */
export interface MigrateContext {
  readonly options: MigrationOptions;
  readonly status: MigrationStatus;
  readonly runState: RunState;
}

/** Throws `qmp/generic`. */
export function refuseMigrate(address: Address, resume: boolean, context: MigrateContext): void {
  const { options, runState } = context;
  refuseTransport(address, options);
  if (resume) throw refuse('Cannot resume if there is no paused migration');
  refuseSecondMigration(context.status);
  if (runState === 'inmigrate') throw refuse('Guest is waiting for an incoming migration');
  if (runState === 'postmigrate') throw refuse("Can't migrate the vm that was paused due to previous migration");
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

function refuse(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}
