/**
 * QMP commands about what a machine here does not have: block devices, jobs, passed file descriptors, other hardware
 * (spec/control.md §5.4, 5.8, 5.10). Lists are empty, and what would act is refused as by a QEMU without such things.
 */

import { HarnessError } from '../base/errors.ts';
import * as kinds from '../base/kinds.ts';
import { arrayOf, enumOf, type Kind, optional, required, struct } from '../base/kinds.ts';
import { type Command, type CommandTable, command, NO_ARGUMENTS, query, refusal, refuse } from './command.ts';
import { ABSENCES } from './refusals.ts';
import { SNAPSHOT_INFO_KIND } from './return-kinds.ts';
import * as described from './return-kinds-described.ts';

const list = arrayOf(kinds.any);
const text = required(kinds.string);
const nodeKind = { node: required(kinds.string), name: required(kinds.string) };
const snapshotKind = { 'job-id': required(kinds.string), tag: required(kinds.string) };
const IDENTIFIER = /^[a-z][a-z0-9._-]*$/i;
const snapshotDevices = { vmstate: required(kinds.string), devices: required(arrayOf(kinds.string)) };
/** The element of a list has no name in QEMU's message. */
const bitmapKind: Kind<string | object> = {
  ...struct(nodeKind),
  name: 'BlockDirtyBitmapOrStr',
  parse(value, path) {
    if (typeof value === 'string') return value;
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return struct(nodeKind).parse(value, path);
    return refuse("Invalid parameter type for 'null', expected: BlockDirtyBitmapOrStr");
  },
};
const idKind = struct({ id: required(kinds.string) });
const NO_DESCRIPTOR = 'No file descriptor supplied via SCM_RIGHTS: the monitors of Switchover cannot receive any';
const NO_SNAPSHOTS = 'Snapshots inside disk images are not implemented: there are no block devices';

/** See the header. */
export const ABSENT_COMMANDS: CommandTable = {
  'query-block': none('block devices', list),
  'query-block-jobs': none('block jobs', described.BLOCK_JOBS_KIND),
  'query-jobs': none('jobs', described.JOBS_KIND),
  'query-fdsets': none('sets of file descriptors', described.FDSETS_KIND),
  'query-iothreads': none('threads for input and output', described.IOTHREADS_KIND),
  'query-memory-devices': none('pluggable memory', described.MEMORY_DEVICES_KIND),
  'query-pci': none('PCI buses', list),
  'query-named-block-nodes': command(
    { summary: 'block nodes; there are none', args: struct({ flat: optional(kinds.boolean) }), returns: list },
    () => [],
  ),
  'query-rx-filter': command(
    {
      summary: 'network cards; there are none',
      args: struct({ name: optional(kinds.string) }),
      returns: described.RX_FILTERS_KIND,
    },
    ({ name }) => (name === undefined ? [] : refuse(`invalid net client name: ${name}`)),
  ),

  'block-dirty-bitmap-add': refusal(
    {
      summary: 'make a dirty bitmap',
      args: struct({
        ...nodeKind,
        granularity: optional(kinds.uint32),
        persistent: optional(kinds.boolean),
        disabled: optional(kinds.boolean),
      }),
    },
    ({ node, name }) =>
      name === '' ? 'Bitmap name cannot be empty' : `Cannot find device='${node}' nor node-name='${node}'`,
  ),
  'block-dirty-bitmap-remove': noNode('delete a dirty bitmap'),
  'block-dirty-bitmap-clear': noNode('clear a dirty bitmap'),
  'block-dirty-bitmap-enable': noNode('let a dirty bitmap record'),
  'block-dirty-bitmap-disable': noNode('let a dirty bitmap rest'),
  'block-dirty-bitmap-merge': refusal(
    {
      summary: 'merge dirty bitmaps',
      args: struct({
        node: required(kinds.string),
        target: required(kinds.string),
        bitmaps: required(arrayOf(bitmapKind)),
      }),
    },
    ({ node }) => `Node '${node}' not found`,
  ),
  'x-debug-block-dirty-bitmap-sha256': noNode('a checksum of a dirty bitmap', described.SHA256_KIND),

  'blockdev-snapshot': refusal(
    { summary: 'put an image over a block node', args: struct({ node: text, overlay: text }) },
    ({ node }) => `Cannot find device='${node}' nor node-name='${node}'`,
  ),
  'blockdev-snapshot-sync': refusal(
    {
      summary: 'put a new image over a block device',
      args: struct({
        device: optional(kinds.string),
        'node-name': optional(kinds.string),
        'snapshot-file': text,
        'snapshot-node-name': optional(kinds.string),
        format: optional(kinds.string),
        mode: optional(enumOf(['existing', 'absolute-paths'])),
      }),
    },
    ({ device = '', 'node-name': node = '' }) => `Cannot find device='${device}' nor node-name='${node}'`,
  ),
  'blockdev-snapshot-internal-sync': refusal(
    { summary: 'make a snapshot inside a disk image', args: struct({ device: text, name: text }) },
    noDevice,
  ),
  'blockdev-snapshot-delete-internal-sync': refusal(
    {
      summary: 'delete a snapshot inside a disk image',
      args: struct({ device: text, id: optional(kinds.string), name: optional(kinds.string) }),
      returns: SNAPSHOT_INFO_KIND,
    },
    noDevice,
  ),
  'snapshot-save': noSnapshot('save to a disk image', snapshotDevices),
  'snapshot-load': noSnapshot('load from a disk image', snapshotDevices),
  'snapshot-delete': noSnapshot('delete from a disk image', { devices: snapshotDevices.devices }),
  'job-dismiss': refusal({ summary: 'forget a job that is over', args: idKind }, 'Job not found'),
  'job-cancel': refusal({ summary: 'cancel a job', args: idKind }, 'Job not found'),

  getfd: refusal(
    { summary: 'receive a file descriptor', args: struct({ fdname: required(kinds.string) }) },
    NO_DESCRIPTOR,
  ),
  closefd: refusal(
    { summary: 'close a received file descriptor', args: struct({ fdname: required(kinds.string) }) },
    ({ fdname }) => `File descriptor named '${fdname}' not found`,
  ),
  'add-fd': refusal(
    {
      summary: 'receive a file descriptor into a set',
      args: struct({ 'fdset-id': optional(kinds.int64), opaque: optional(kinds.string) }),
      returns: described.ADDED_FD_KIND,
    },
    NO_DESCRIPTOR,
  ),
  'remove-fd': refusal(
    {
      summary: 'close file descriptors of a set',
      args: struct({ 'fdset-id': required(kinds.int64), fd: optional(kinds.int64) }),
    },
    ({ 'fdset-id': set, fd }) => {
      const name = fd === undefined ? `fdset-id:${set}` : `fdset-id:${set}, fd:${fd}`;
      return `File descriptor named '${name}' not found`;
    },
  ),

  'xen-set-global-dirty-log': command(
    { summary: 'log writes to memory on Xen, which this is not', args: struct({ enable: required(kinds.boolean) }) },
    () => undefined,
  ),
  client_migrate_info: command(
    {
      summary: 'tell viewers of the screen where the machine goes; there are none',
      args: struct({
        protocol: text,
        hostname: text,
        port: optional(kinds.int64),
        'tls-port': optional(kinds.int64),
        'cert-subject': optional(kinds.string),
      }),
    },
    ({ protocol }) => {
      if (protocol !== 'spice') return refuse(ABSENCES.noSpice);
      throw new HarnessError('qmp/device-not-active', { text: ABSENCES.spice });
    },
  ),
  system_wakeup: refusal({ summary: 'wake the guest up', args: NO_ARGUMENTS }, ABSENCES.wakeup),
  'query-hotpluggable-cpus': refusal(
    { summary: 'CPUs that could be plugged in', args: NO_ARGUMENTS, returns: described.PLUGGABLE_CPUS_KIND },
    'machine does not support hot-plugging CPUs',
  ),
  device_del: command({ summary: 'unplug a device', args: idKind }, ({ id }) => {
    if (id === '' || id === '/machine') return refuse(`${id} is not a device`); // paths of what is there
    throw new HarnessError('qmp/device-not-found', { text: `Device '${id}' not found` });
  }),
};

function none(summary: string, returns: Kind<unknown>): Command {
  return query(`${summary}; there are none`, () => [], returns);
}

function noNode(summary: string, returns?: Kind<unknown>): Command {
  return refusal(
    { summary, args: struct(nodeKind), ...(returns && { returns }) },
    ({ node }) => `Node '${node}' not found`,
  );
}

function noDevice({ device }: { readonly device: string }): string {
  return `Cannot find device='${device}' nor node-name='${device}'`;
}

function noSnapshot(summary: string, more: Parameters<typeof struct>[0]): Command {
  return refusal({ summary, args: struct({ ...snapshotKind, ...more }) }, ({ 'job-id': id }) =>
    IDENTIFIER.test(id) ? NO_SNAPSHOTS : `Invalid job ID '${id}'`,
  );
}
