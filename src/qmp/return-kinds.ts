/** What queries return, for query-qmp-schema: clients look there for members they want to rely on. */

import * as kinds from '../base/kinds.ts';
import { arrayOf, enumOf, optional, required, struct } from '../base/kinds.ts';
import { RUN_STATES } from '../hw/run-state.ts';
import { MIGRATION_STATUSES } from '../migration/status.ts';

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

const addressKind = struct({
  type: required(enumOf(['inet', 'unix'])),
  host: optional(kinds.string),
  port: optional(kinds.string),
  path: optional(kinds.string),
  ipv4: optional(kinds.boolean),
  ipv6: optional(kinds.boolean),
});

/** query-migrate. */
export const MIGRATION_INFO_KIND = struct({
  status: optional(enumOf(MIGRATION_STATUSES)),
  ram: optional(ramKind),
  'total-time': maybe,
  'expected-downtime': maybe,
  downtime: maybe,
  'setup-time': maybe,
  'cpu-throttle-percentage': maybe,
  'dirty-limit-throttle-time-per-round': maybe,
  'dirty-limit-ring-full-time': maybe,
  'error-desc': optional(kinds.string),
  'blocked-reasons': optional(arrayOf(kinds.string)),
  'socket-address': optional(arrayOf(addressKind)),
  'x-switchover': optional(kinds.any),
});
