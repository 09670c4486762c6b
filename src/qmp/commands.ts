/**
 * Every QMP command in one table: its arguments, when it may be used, and what it does with the machine
 * (spec/control.md §5.1, 5.2, 5.4). Dispatch and `query-commands` follow from it.
 */

import { HarnessError } from '../base/errors.ts';
import type { JsonPrintable, JsonValue } from '../base/json.ts';
import * as kinds from '../base/kinds.ts';
import { arrayOf, enumOf, type Kind, optional, required, struct } from '../base/kinds.ts';
import { objectKind } from '../migration/objects/object-registry.ts';
import { capabilitiesKind } from '../migration/options/capabilities.ts';
import { parametersKind } from '../migration/options/parameters.ts';
import { MIGRATION_STATUSES } from '../migration/status.ts';
import type { IncomingArguments, VmControl } from '../migration/vm-control.ts';
import { channelsKind, toChannels } from './channel-kind.ts';
import { saveMemory } from './memory-save.ts';
import { POSTCOPY_REFUSALS } from './refusals.ts';
import { cpuList, machineList, memoryBackendList, typeList, versionInfo } from './replies.ts';

/** What a command may use: the machine, and the connection it came from. */
export interface CommandContext {
  readonly vm: VmControl;
  /** Version of this package, for query-version. */
  readonly packageVersion: string;
  /** Ends the negotiation of this connection with these QMP capabilities on; throws when one is not offered. */
  negotiate(enable: readonly QmpCapability[]): void;
}

/** What a client may enable with qmp_capabilities. */
export type QmpCapability = 'oob';

/** A row of the table. */
export interface Command {
  /** The only command before negotiation, or one of those after it. */
  readonly when: 'negotiating' | 'ready';
  /** True if `exec-oob` may run it past the commands in the queue. */
  readonly allowOob: boolean;
  /** Parses the arguments and does it; resolves with the value of `return`. */
  run(args: JsonValue, context: CommandContext): Promise<JsonPrintable>;
}

/** What it returns becomes the reply; a handler that has nothing to say returns nothing. */
type Handler<A> = (args: A, context: CommandContext) => unknown;

function command<A>(kind: Kind<A>, handler: Handler<A>, row: Partial<Omit<Command, 'run'>> = {}): Command {
  return {
    when: 'ready',
    allowOob: false,
    ...row,
    // Handlers return plain data, as VmControl's types say; anything else fails in `stringify`.
    run: async (args, context) => ((await handler(kind.parse(args, ''), context)) ?? {}) as JsonPrintable,
  };
}

const nothing = struct({});
const NO_SUCH_CPU = "Parameter 'cpu-index' expects a CPU number";
const QMP_CAPABILITIES = ['oob'] as const satisfies readonly QmpCapability[];

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
const memoryKind = { val: required(kinds.uint64), size: required(kinds.uint64), filename: required(kinds.string) };
const typesKind = struct({ implements: optional(kinds.string), abstract: optional(kinds.boolean) });
const humanKind = struct({ 'command-line': required(kinds.string), 'cpu-index': optional(kinds.int64) });

const COMMANDS: Readonly<Record<string, Command>> = {
  qmp_capabilities: command(
    struct({ enable: optional(arrayOf(qmpCapabilityKind())) }),
    ({ enable = [] }, context) => context.negotiate(enable),
    { when: 'negotiating' },
  ),
  'query-version': command(nothing, (_, { packageVersion }) => versionInfo(packageVersion)),
  'query-commands': command(nothing, () => Object.keys(COMMANDS).map((name) => ({ name }))),
  'query-name': command(nothing, (_, { vm }) => (vm.name === undefined ? {} : { name: vm.name })),
  'query-uuid': command(nothing, (_, { vm }) => ({ UUID: vm.uuid })),
  'query-target': command(nothing, () => ({ arch: 'x86_64' })),
  'query-kvm': command(nothing, () => ({ enabled: false, present: false })),
  'query-machines': command(nothing, () => machineList()),
  'query-cpus-fast': command(nothing, (_, { vm }) => cpuList(vm.cpuCount)),
  'query-memory-size-summary': command(nothing, (_, { vm }) => ({ 'base-memory': vm.ramBytes, 'plugged-memory': 0 })),

  'object-add': command(objectKind, (args, { vm }) => vm.objects.add(args)),
  'object-del': command(struct({ id: required(kinds.string) }), ({ id }, { vm }) => vm.objects.remove(id)),
  'qom-list-types': command(typesKind, (args) => typeList(args)),
  'query-memdev': command(nothing, (_, { vm }) => memoryBackendList(vm.objects)),

  'query-status': command(nothing, (_, { vm }) => vm.queryStatus()),
  stop: command(nothing, (_, { vm }) => vm.stop()),
  cont: command(nothing, (_, { vm }) => vm.cont()),
  system_reset: command(nothing, (_, { vm }) => vm.reset()),
  quit: command(nothing, (_, { vm }) => vm.quit('host-qmp-quit')),

  migrate: command(migrateKind, ({ channels, ...rest }, { vm }) => vm.migrate({ ...rest, ...someChannels(channels) })),
  'migrate-incoming': command(incomingKind, ({ channels, ...rest }, { vm }) =>
    vm.migrateIncoming({ ...rest, ...someChannels(channels) }),
  ),
  migrate_cancel: command(nothing, (_, { vm }) => vm.migrateCancel()),
  'migrate-continue': command(struct({ state: required(enumOf(MIGRATION_STATUSES)) }), ({ state }, { vm }) =>
    vm.migrateContinue(state),
  ),
  'query-migrate': command(nothing, (_, { vm }) => vm.queryMigrate()),
  'query-migrationthreads': command(nothing, () => []),
  'migrate-set-capabilities': command(
    struct({ capabilities: required(capabilitiesKind) }),
    ({ capabilities }, { vm }) => vm.setCapabilities(capabilities),
  ),
  'query-migrate-capabilities': command(nothing, (_, { vm }) => vm.queryCapabilities()),
  'migrate-set-parameters': command(parametersKind, (values, { vm }) => vm.setParameters(values)),
  'query-migrate-parameters': command(nothing, (_, { vm }) => vm.queryParameters()),
  'migrate-start-postcopy': command(nothing, () => refuse(POSTCOPY_REFUSALS.start)),
  'migrate-pause': command(nothing, () => refuse(POSTCOPY_REFUSALS.pause), { allowOob: true }),
  'migrate-recover': command(struct({ uri: required(kinds.string) }), () => refuse(POSTCOPY_REFUSALS.recover), {
    allowOob: true,
  }),

  pmemsave: command(struct(memoryKind), ({ val, size, filename }, { vm }) =>
    saveMemory(vm, { address: val, size, filename }),
  ),
  // Virtual addresses are those of a CPU, and no vCPU here has any: what QEMU says when there is no CPU.
  memsave: command(struct({ ...memoryKind, 'cpu-index': optional(kinds.int64) }), () => refuse(NO_SUCH_CPU)),
  'human-monitor-command': command(humanKind, ({ 'command-line': line, 'cpu-index': cpu }, { vm, packageVersion }) =>
    cpu === undefined ? human(line, { vm, packageVersion }) : refuse(NO_SUCH_CPU),
  ),
};

/** The row of a command; undefined when there is none of this name. */
export function findCommand(name: string): Command | undefined {
  return Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
}

/** The human monitor is loaded when someone uses it: a machine greets its first client 20 ms sooner without it. */
async function human(line: string, context: Pick<CommandContext, 'vm' | 'packageVersion'>): Promise<string> {
  const { runHumanCommand } = await import('./hmp.ts');
  return await runHumanCommand(line, context);
}

/** An empty list counts as absent, as in QEMU. */
function someChannels(
  channels: Parameters<typeof toChannels>[0] | undefined,
): Pick<IncomingArguments, 'channels'> | undefined {
  return channels === undefined || channels.length === 0 ? undefined : { channels: toChannels(channels) };
}

function refuse(text: string): never {
  throw new HarnessError('qmp/generic', { text });
}

/** QEMU has no name for an element of a list and prints `null`, where our kinds print the path. */
function qmpCapabilityKind(): Kind<QmpCapability> {
  const names = enumOf(QMP_CAPABILITIES);
  return { name: names.name, parse: (value, path) => names.parse(value, typeof value === 'string' ? 'null' : path) };
}
