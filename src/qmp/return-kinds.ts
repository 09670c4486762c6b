/** What queries return, for query-qmp-schema: clients look there for members they want to rely on. */

import * as kinds from '../base/kinds.ts';
import { arrayOf, enumOf, optional, required, struct } from '../base/kinds.ts';
import { RUN_STATES } from '../hw/run-state.ts';
import { parametersKind } from '../migration/options/parameters.ts';
import { MIGRATION_STATUSES } from '../migration/status.ts';
import { socketKind } from './channel-kind.ts';

const count = required(kinds.int64);
const maybe = optional(kinds.int64);

/** query-status. */
export const STATUS_INFO_KIND = struct({ status: required(enumOf(RUN_STATES)), running: required(kinds.boolean) });

/** query-version and the greeting. */
export const VERSION_INFO_KIND = struct({
  qemu: required(struct({ major: count, minor: count, micro: count })),
  package: required(kinds.string),
});

const ramKind = struct({
  transferred: count,
  remaining: count,
  total: count,
  duplicate: count,
  normal: count,
  'normal-bytes': count,
  'dirty-pages-rate': count,
  mbps: required(kinds.float),
  'dirty-sync-count': count,
  'postcopy-requests': count,
  'page-size': count,
  'multifd-bytes': count,
  'pages-per-second': count,
  'precopy-bytes': count,
  'downtime-bytes': count,
  'postcopy-bytes': count,
  'dirty-sync-missed-zero-copy': count,
});

const xbzrleKind = struct({
  'cache-size': required(kinds.uint64),
  bytes: count,
  pages: count,
  'cache-miss': count,
  'cache-miss-rate': required(kinds.float),
  'encoding-rate': required(kinds.float),
  overflow: count,
});

const compressionKind = struct({
  pages: count,
  busy: count,
  'busy-rate': required(kinds.float),
  'compressed-size': count,
  'compression-rate': required(kinds.float),
});

/** query-migrate. */
export const MIGRATION_INFO_KIND = struct({
  status: optional(enumOf(MIGRATION_STATUSES)),
  ram: optional(ramKind),
  vfio: optional(struct({ transferred: count })),
  'xbzrle-cache': optional(xbzrleKind),
  compression: optional(compressionKind),
  'total-time': maybe,
  'expected-downtime': maybe,
  downtime: maybe,
  'setup-time': maybe,
  'cpu-throttle-percentage': maybe,
  'dirty-limit-throttle-time-per-round': maybe,
  'dirty-limit-ring-full-time': maybe,
  'error-desc': optional(kinds.string),
  'blocked-reasons': optional(arrayOf(kinds.string)),
  'socket-address': optional(arrayOf(socketKind)),
  'x-switchover': optional(kinds.any),
});

/** query-migrate-parameters: what may be set to null is a string when it is told. */
export const PARAMETERS_INFO_KIND = struct(
  Object.fromEntries(
    Object.entries(parametersKind.members).map(([name, member]) => [
      name,
      member.kind === kinds.stringOrNull ? optional(kinds.string) : member,
    ]),
  ),
);

/** query-kvm. */
export const KVM_INFO_KIND = struct({ enabled: required(kinds.boolean), present: required(kinds.boolean) });

/** query-current-machine. */
export const CURRENT_MACHINE_KIND = struct({ 'wakeup-suspend-support': required(kinds.boolean) });

/** query-memory-size-summary. */
export const MEMORY_SIZE_KIND = struct({ 'base-memory': count, 'plugged-memory': maybe });

/** blockdev-snapshot-delete-internal-sync. */
export const SNAPSHOT_INFO_KIND = struct({
  id: required(kinds.string),
  name: required(kinds.string),
  'vm-state-size': count,
  'date-sec': count,
  'date-nsec': count,
  'vm-clock-sec': count,
  'vm-clock-nsec': count,
  icount: maybe,
});
