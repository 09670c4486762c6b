/**
 * What QEMU's queries return that here are lists without elements, or of what this program is, for query-qmp-schema: clients
 * look there for members before they ask. Nothing is parsed by these kinds.
 */

import * as kinds from '../base/kinds.ts';
import { arrayOf, enumOf, type Kind, optional, required, struct } from '../base/kinds.ts';

const int = required(kinds.int64);
const maybeInt = optional(kinds.int64);
const bool = required(kinds.boolean);
const text = required(kinds.string);
const maybeText = optional(kinds.string);
const nothing = struct({});
const JOB_TYPES = ['commit', 'stream', 'mirror', 'backup', 'create', 'amend'] as const;
const jobType = [...JOB_TYPES, 'snapshot-load', 'snapshot-save', 'snapshot-delete'] as const;
const jobStatus = required(
  enumOf([
    ...['undefined', 'created', 'running', 'paused', 'ready', 'standby', 'waiting', 'pending', 'aborting'],
    ...['concluded', 'null'],
  ]),
);
const TARGETS = [
  ...['aarch64', 'alpha', 'arm', 'avr', 'hppa', 'i386', 'loongarch64', 'm68k', 'microblaze', 'microblazeel', 'mips'],
  ...['mips64', 'mips64el', 'mipsel', 'or1k', 'ppc', 'ppc64', 'riscv32', 'riscv64', 'rx', 's390x', 'sh4', 'sh4eb'],
  ...['sparc', 'sparc64', 'tricore', 'x86_64', 'xtensa', 'xtensaeb'],
] as const;

/** A union of these branches, each of which has the common members. */
function described(shape: Omit<Extract<NonNullable<Kind<object>['shape']>, { type: 'union' }>, 'type'>): Kind<object> {
  return { name: 'object', shape: { type: 'union', ...shape }, parse: (value) => value as object };
}

/** query-target. */
export const TARGET_KIND = struct({ arch: required(enumOf(TARGETS)) });

const schemaMember = {
  name: text,
  type: text,
  default: optional(kinds.any),
  features: optional(arrayOf(kinds.string)),
};
const enumMember = struct({ name: text, features: optional(arrayOf(kinds.string)) });

/** query-qmp-schema. */
export const SCHEMA_KIND = arrayOf(
  described({
    tag: 'meta-type',
    common: { name: text, features: optional(arrayOf(kinds.string)) },
    branches: {
      builtin: struct({
        'json-type': required(enumOf(['string', 'number', 'int', 'boolean', 'null', 'object', 'array', 'value'])),
      }),
      enum: struct({ members: required(arrayOf(enumMember)), values: required(arrayOf(kinds.string)) }),
      array: struct({ 'element-type': text }),
      object: struct({
        members: required(arrayOf(struct(schemaMember))),
        tag: maybeText,
        variants: optional(arrayOf(struct({ case: text, type: text }))),
      }),
      alternate: struct({ members: required(arrayOf(struct({ type: text }))) }),
      command: struct({ 'arg-type': text, 'ret-type': text, 'allow-oob': optional(kinds.boolean) }),
      event: struct({ 'arg-type': text }),
    },
  }),
);

/** query-machines. */
export const MACHINES_KIND = arrayOf(
  struct({
    name: text,
    alias: maybeText,
    'is-default': optional(kinds.boolean),
    'cpu-max': int,
    'hotpluggable-cpus': bool,
    'numa-mem-supported': bool,
    deprecated: bool,
    'default-cpu-type': maybeText,
    'default-ram-id': maybeText,
    acpi: bool,
    'compat-props': optional(arrayOf(struct({ 'qom-type': text, property: text, value: text }))),
  }),
);

const cpuPlace = struct({
  'node-id': maybeInt,
  'drawer-id': maybeInt,
  'book-id': maybeInt,
  'socket-id': maybeInt,
  'die-id': maybeInt,
  'cluster-id': maybeInt,
  'module-id': maybeInt,
  'core-id': maybeInt,
  'thread-id': maybeInt,
});
const s390x = struct({
  'cpu-state': required(enumOf(['uninitialized', 'stopped', 'check-stop', 'operating', 'load'])),
  dedicated: optional(kinds.boolean),
  entitlement: optional(enumOf(['auto', 'low', 'medium', 'high'])),
});

/** query-cpus-fast. */
export const CPUS_KIND = arrayOf(
  described({
    tag: 'target',
    common: { 'cpu-index': int, 'qom-path': text, 'thread-id': int, props: optional(cpuPlace) },
    branches: { ...Object.fromEntries(TARGETS.map((name) => [name, nothing])), s390x },
  }),
);

/** query-hotpluggable-cpus. */
export const PLUGGABLE_CPUS_KIND = arrayOf(
  struct({ type: text, 'vcpus-count': int, props: required(cpuPlace), 'qom-path': maybeText }),
);

/** qom-list-types. */
export const TYPES_KIND = arrayOf(struct({ name: text, abstract: optional(kinds.boolean), parent: maybeText }));

/** query-memdev. */
export const MEMDEV_KIND = arrayOf(
  struct({
    id: maybeText,
    size: int,
    merge: bool,
    dump: bool,
    prealloc: bool,
    share: bool,
    reserve: optional(kinds.boolean),
    'host-nodes': required(arrayOf(kinds.uint16)),
    policy: required(enumOf(['default', 'preferred', 'bind', 'interleave'])),
  }),
);

/** query-jobs. */
export const JOBS_KIND = arrayOf(
  struct({
    id: text,
    type: required(enumOf(jobType)),
    status: jobStatus,
    'current-progress': int,
    'total-progress': int,
    error: maybeText,
  }),
);

/** query-block-jobs. */
export const BLOCK_JOBS_KIND = arrayOf(
  described({
    tag: 'type',
    common: {
      device: text,
      len: int,
      offset: int,
      busy: bool,
      paused: bool,
      speed: int,
      'io-status': required(enumOf(['ok', 'failed', 'nospace'])),
      ready: bool,
      status: jobStatus,
      'auto-finalize': bool,
      'auto-dismiss': bool,
      error: maybeText,
    },
    branches: {
      ...Object.fromEntries(jobType.map((name) => [name, nothing])),
      mirror: struct({ 'actively-synced': bool }),
    },
  }),
);

/** query-fdsets. */
export const FDSETS_KIND = arrayOf(
  struct({ 'fdset-id': int, fds: required(arrayOf(struct({ fd: int, opaque: maybeText }))) }),
);

/** add-fd. */
export const ADDED_FD_KIND = struct({ 'fdset-id': int, fd: int });

/** x-debug-block-dirty-bitmap-sha256. */
export const SHA256_KIND = struct({ sha256: text });

/** query-iothreads. */
export const IOTHREADS_KIND = arrayOf(
  struct({
    id: text,
    'thread-id': int,
    'poll-max-ns': int,
    'poll-grow': int,
    'poll-shrink': int,
    'aio-max-batch': int,
  }),
);

const filterState = required(enumOf(['normal', 'none', 'all']));

/** query-rx-filter. */
export const RX_FILTERS_KIND = arrayOf(
  struct({
    name: text,
    promiscuous: bool,
    multicast: filterState,
    unicast: filterState,
    vlan: filterState,
    'broadcast-allowed': bool,
    'multicast-overflow': bool,
    'unicast-overflow': bool,
    'main-mac': text,
    'vlan-table': required(arrayOf(kinds.int64)),
    'unicast-table': required(arrayOf(kinds.string)),
    'multicast-table': required(arrayOf(kinds.string)),
  }),
);

const dimm = {
  id: maybeText,
  addr: int,
  size: int,
  slot: int,
  node: int,
  memdev: text,
  hotplugged: bool,
  hotpluggable: bool,
};
const virtioMem = { 'requested-size': int, size: int, 'max-size': int, 'block-size': int, node: int, memdev: text };
const wrapped = (members: Parameters<typeof struct>[0]) => struct({ data: required(struct(members)) });

/** query-memory-devices. */
export const MEMORY_DEVICES_KIND = arrayOf(
  described({
    tag: 'type',
    branches: {
      dimm: wrapped(dimm),
      nvdimm: wrapped(dimm),
      'virtio-pmem': wrapped({ id: maybeText, memaddr: int, size: int, memdev: text }),
      'virtio-mem': wrapped({ id: maybeText, memaddr: int, ...virtioMem }),
      'sgx-epc': wrapped({ id: maybeText, memaddr: int, size: int, node: int, memdev: text }),
      'hv-balloon': wrapped({ id: maybeText, memaddr: maybeInt, 'max-size': int, memdev: maybeText }),
    },
  }),
);
