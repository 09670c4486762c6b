/** The QMP commands of migration (spec/control.md §5.2), postcopy's and COLO's refused as a QEMU refuses them that has them off. */

import * as kinds from '../base/kinds.ts';
import { arrayOf, enumOf, optional, required, struct, union } from '../base/kinds.ts';
import { capabilitiesKind } from '../migration/options/capabilities.ts';
import { parametersKind } from '../migration/options/parameters.ts';
import { MIGRATION_STATUSES } from '../migration/status.ts';
import type { IncomingArguments } from '../migration/vm-control.ts';
import { channelsKind, toChannels } from './channel-kind.ts';
import { type CommandTable, command, NO_ARGUMENTS, query, refusal } from './command.ts';
import { ABSENCES, POSTCOPY_REFUSALS } from './refusals.ts';
import { MIGRATION_INFO_KIND, PARAMETERS_INFO_KIND } from './return-kinds.ts';
import { yank, yankInstances } from './yank.ts';

const migrateKind = struct({
  uri: optional(kinds.string),
  channels: optional(channelsKind),
  detach: optional(kinds.boolean),
  resume: optional(kinds.boolean),
});
const incomingKind = struct({
  uri: optional(kinds.string),
  channels: optional(channelsKind),
  'exit-on-error': optional(kinds.boolean),
});
const announceKind = struct({
  initial: required(kinds.int64),
  max: required(kinds.int64),
  rounds: required(kinds.int64),
  step: required(kinds.int64),
  interfaces: optional(arrayOf(kinds.string)),
  id: optional(kinds.string),
});
const coloModeKind = enumOf(['none', 'primary', 'secondary']);
const coloKind = struct({
  mode: required(coloModeKind),
  'last-mode': required(coloModeKind),
  reason: required(enumOf(['none', 'request', 'error', 'processing'])),
});
const yankInstanceKind = union('type', {
  'block-node': struct({ 'node-name': required(kinds.string) }),
  chardev: struct({ id: required(kinds.string) }),
  migration: struct({}),
});

/** See the header. */
export const MIGRATION_COMMANDS: CommandTable = {
  migrate: command({ summary: 'start an outgoing migration', args: migrateKind }, ({ channels, ...rest }, { vm }) =>
    vm.migrate({ ...rest, ...someChannels(channels) }),
  ),
  'migrate-incoming': command(
    { summary: 'wait for an incoming migration; needs `-incoming defer`', args: incomingKind },
    ({ channels, ...rest }, { vm }) => vm.migrateIncoming({ ...rest, ...someChannels(channels) }),
  ),
  migrate_cancel: command({ summary: 'cancel the outgoing migration', args: NO_ARGUMENTS }, (_, { vm }) =>
    vm.migrateCancel(),
  ),
  'migrate-continue': command(
    {
      summary: 'let a migration that paused in this status go on',
      args: struct({ state: required(enumOf(MIGRATION_STATUSES)) }),
    },
    ({ state }, { vm }) => vm.migrateContinue(state),
  ),
  'query-migrate': query(
    'status, times and counters of the migration',
    ({ vm }) => vm.queryMigrate(),
    MIGRATION_INFO_KIND,
  ),
  'query-migrationthreads': query(
    'threads of the outgoing migration',
    ({ vm }) => vm.queryMigrationThreads(),
    arrayOf(struct({ name: required(kinds.string), 'thread-id': required(kinds.int64) })),
  ),
  'migrate-set-capabilities': command(
    { summary: 'switch capabilities, all or none of them', args: struct({ capabilities: required(capabilitiesKind) }) },
    ({ capabilities }, { vm }) => vm.setCapabilities(capabilities),
  ),
  'query-migrate-capabilities': query('every capability', ({ vm }) => vm.queryCapabilities(), capabilitiesKind),
  'migrate-set-parameters': command(
    { summary: 'set parameters, all or none of them', args: parametersKind },
    (values, { vm }) => vm.setParameters(values),
  ),
  'query-migrate-parameters': query('every parameter', ({ vm }) => vm.queryParameters(), PARAMETERS_INFO_KIND),

  'migrate-start-postcopy': refusal({ summary: 'switch to postcopy', args: NO_ARGUMENTS }, POSTCOPY_REFUSALS.start),
  'migrate-pause': refusal(
    { summary: 'pause a postcopy migration', args: NO_ARGUMENTS, allowOob: true },
    POSTCOPY_REFUSALS.pause,
  ),
  'migrate-recover': refusal(
    {
      summary: 'wait for a paused postcopy migration to resume',
      args: struct({ uri: required(kinds.string) }),
      allowOob: true,
    },
    POSTCOPY_REFUSALS.recover,
  ),
  'query-colo-status': query(
    'state of checkpointing, which this build does not have',
    () => ({ mode: 'none', 'last-mode': 'none', reason: 'none' }),
    coloKind,
  ),
  'x-colo-lost-heartbeat': refusal({ summary: 'fail over to this machine', args: NO_ARGUMENTS }, ABSENCES.colo),

  yank: command(
    {
      summary: 'close connections by force; a migration under way then fails',
      args: struct({ instances: required(arrayOf(yankInstanceKind)) }),
      allowOob: true,
    },
    ({ instances }, context) => yank(instances, context),
  ),
  'query-yank': command(
    { summary: 'what yank can close', args: NO_ARGUMENTS, returns: arrayOf(yankInstanceKind), allowOob: true },
    (_, context) => yankInstances(context),
  ),
  'announce-self': command(
    {
      summary: 'announce the network cards, of which there are none, in rounds that the log tells',
      args: announceKind,
    },
    ({ id, interfaces, ...parameters }, { vm }) => void vm.announcer.announce(parameters, { id, interfaces }),
  ),
};

/** An empty list counts as absent, as in QEMU. */
function someChannels(
  channels: Parameters<typeof toChannels>[0] | undefined,
): Pick<IncomingArguments, 'channels'> | undefined {
  return channels === undefined || channels.length === 0 ? undefined : { channels: toChannels(channels) };
}
