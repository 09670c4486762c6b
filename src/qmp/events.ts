/** Every event a monitor may send (spec/control.md §5.7): its data and when it comes. */

import * as kinds from '../base/kinds.ts';
import { enumOf, type Kind, required, struct } from '../base/kinds.ts';
import { MIGRATION_STATUSES } from '../migration/status.ts';
import type { VmEvent } from '../migration/vm-control.ts';
import { VFIO_STATE, type VfioState } from '../wire/vfio.ts';

interface EventRow {
  readonly summary: string;
  /** Its `data`; undefined when it has none. */
  readonly data: Kind<unknown> | undefined;
}

/** The states that devices tell of; QEMU's event has no `error`. */
const VFIO_STATE_NAMES = (Object.keys(VFIO_STATE) as VfioState[]).filter((state) => state !== 'error');

const causeKind = struct({
  guest: required(kinds.boolean),
  reason: required(enumOf(['host-qmp-quit', 'host-signal', 'host-qmp-system-reset'])),
});

/** One row for every event of `VmEvent`. */
export const EVENTS: Readonly<Record<VmEvent['name'], EventRow>> = {
  STOP: { summary: 'the guest stands still', data: undefined },
  RESUME: { summary: 'the guest runs', data: undefined },
  SHUTDOWN: { summary: 'the process ends', data: causeKind },
  RESET: { summary: 'the machine was reset', data: causeKind },
  MIGRATION: {
    summary: 'the status of a migration changed; only with the capability `events`',
    data: struct({ status: required(enumOf(MIGRATION_STATUSES)) }),
  },
  VFIO_MIGRATION: {
    summary: 'a VFIO device reached another state; only with its property `migration-events`',
    data: struct({
      'device-id': required(kinds.string),
      'qom-path': required(kinds.string),
      'device-state': required(enumOf(VFIO_STATE_NAMES)),
    }),
  },
  MIGRATION_PASS: {
    summary: 'the source began another pass over RAM; only with the capability `events`',
    data: struct({ pass: required(kinds.number) }),
  },
};
