/** Replies of the queries that say what this program is, rather than how its machine fares (spec/control.md §5.1, §5.4). */

import { MEMORY_BACKEND_TYPES } from '../migration/objects/memory-backend.ts';
import { OBJECT_TYPE_NAMES, objectRow } from '../migration/objects/object-kinds.ts';
import type { ObjectRegistry } from '../migration/objects/object-registry.ts';

/** The release of QEMU whose QMP this is; clients compare it to know what they may use. */
const QEMU_VERSION = { major: 10, minor: 0, micro: 2 } as const;

/** query-version and the greeting: QEMU's numbers, and a package by which clients can tell us apart. */
export function versionInfo(packageVersion: string): { readonly qemu: typeof QEMU_VERSION; readonly package: string } {
  return { qemu: QEMU_VERSION, package: `Switchover ${packageVersion}` };
}

/** `info version`: the numbers with the package behind them, without a space, as QEMU prints them. */
export function versionText(packageVersion: string): string {
  const { major, minor, micro } = QEMU_VERSION;
  return `${major}.${minor}.${micro}Switchover ${packageVersion}`;
}

/** query-machines; `compatProps` adds what a machine type changes in devices, which is nothing. */
export function machineList({ compatProps = false }: { compatProps?: boolean | undefined } = {}): object[] {
  return ['none', 'harness'].map((name) => ({
    name,
    ...(compatProps ? { 'compat-props': [] } : {}),
    'cpu-max': 1,
    'hotpluggable-cpus': false,
    'numa-mem-supported': false,
    deprecated: false,
    acpi: false,
    'default-ram-id': 'ram',
  }));
}

/** query-cpus-fast: scripted guests, which have no QEMU CPU type, with the system's numbers of their threads. */
export function cpuList(threadIds: readonly number[]): object[] {
  return threadIds.map((threadId, index) => ({
    'cpu-index': index,
    'qom-path': `/machine/guest[${index}]`,
    'thread-id': threadId,
    target: 'x86_64',
  }));
}

/** Types that only others implement. */
const ABSTRACT_TYPES: readonly { readonly name: string; readonly parent?: string }[] = [
  { name: 'object' },
  { name: 'machine', parent: 'object' },
  { name: 'device', parent: 'object' },
  { name: 'authz', parent: 'object' },
  { name: 'memory-backend', parent: 'object' },
  { name: 'tls-creds', parent: 'object' },
];

/** qom-list-types: the machines, the objects of object-add, and their parents where they are asked for. */
export function typeList(options: { readonly implements?: string; readonly abstract?: boolean }): object[] {
  const { implements: wanted, abstract = false } = options;
  const types = [
    ...(abstract ? ABSTRACT_TYPES.map((type) => ({ ...type, abstract: true })) : []),
    ...OBJECT_TYPE_NAMES.map((name) => ({ name, parent: objectRow(name).parent })),
    ...['none-machine', 'harness-machine'].map((name) => ({ name, parent: 'machine' })),
  ];
  if (wanted === undefined || wanted === 'object') return types;
  if (wanted === 'user-creatable') return types.filter(({ name }) => OBJECT_TYPE_NAMES.some((type) => type === name));
  return types.filter((type) => type.name === wanted || type.parent === wanted);
}

/** query-memdev. */
export function memoryBackendList(objects: ObjectRegistry): object[] {
  return objects.list(...MEMORY_BACKEND_TYPES).map(({ id, object: { size, share, hints } }) => ({
    id,
    size,
    ...hints,
    share,
    'host-nodes': [],
    policy: 'default',
  }));
}
