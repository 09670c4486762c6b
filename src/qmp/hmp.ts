/**
 * The part of QEMU's human monitor that scripts use through `human-monitor-command` (spec/control.md §5.11). Replies
 * are text with CRLF; a command that fails says so in its text and is no QMP error.
 */

import { messageOf } from '../base/errors.ts';
import { CAPABILITY_NAMES, type CapabilityName } from '../migration/options/capabilities.ts';
import type { AnnounceParameters } from '../migration/options/options.ts';
import { MIGRATION_STATUSES } from '../migration/status.ts';
import { incomingAddressOf } from '../migration/transport/address.ts';
import type { VmControl } from '../migration/vm-control.ts';
import type { HumanCommand, HumanContext } from './hmp-command.ts';
import { DIRTY_HUMAN_COMMANDS, DIRTY_INFO_COMMANDS } from './hmp-dirty.ts';
import { capabilitiesText, migrateText, parametersText, statusText } from './hmp-info.ts';
import { LineError, parseLine, splitName } from './hmp-line.ts';
import { parameterFromText } from './hmp-parameter.ts';
import { ABSENCES, POSTCOPY_REFUSALS } from './refusals.ts';
import { versionText } from './replies.ts';

/** `info` and what it can tell. */
const INFO_COMMANDS: readonly HumanCommand[] = [
  ...DIRTY_INFO_COMMANDS,
  {
    names: ['migrate'],
    summary: 'how the migration fares',
    run: ({ vm }) => migrateText(vm.queryMigrate(), vm.globals),
  },
  {
    names: ['migrate_capabilities'],
    summary: 'migration capabilities and whether they are on',
    run: ({ vm }) => capabilitiesText(vm.queryCapabilities()),
  },
  {
    names: ['migrate_parameters'],
    summary: 'migration parameters and their values',
    run: ({ vm }) => parametersText(vm.queryParameters()),
  },
  { names: ['name'], summary: "the machine's name", run: ({ vm }) => (vm.name === undefined ? '' : `${vm.name}\n`) },
  {
    names: ['memory_size_summary'],
    summary: 'bytes of RAM',
    run: ({ vm }) => `base memory: ${vm.ramBytes}\nplugged memory: 0\n`,
  },
  { names: ['status'], summary: 'run state of the machine', run: ({ vm }) => statusText(vm.queryStatus()) },
  { names: ['uuid'], summary: "the machine's UUID", run: ({ vm }) => `${vm.uuid}\n` },
  {
    names: ['version'],
    summary: 'version of this program',
    run: ({ packageVersion }) => `${versionText(packageVersion)}\n`,
  },
];

const COMMANDS: readonly HumanCommand[] = [
  ...DIRTY_HUMAN_COMMANDS,
  {
    names: ['announce_self'],
    arguments: ['string?', 'string?'],
    usage: '[interfaces] [id]',
    summary: 'announce the machine to the network, with the announce-… parameters',
    run({ vm }, { values: [interfaces, id] }) {
      const {
        'announce-initial': initial,
        'announce-max': max,
        'announce-rounds': rounds,
        'announce-step': step,
      } = vm.queryParameters();
      // They are sizes, as the table of parameters says.
      const parameters = { initial, max, rounds, step } as AnnounceParameters;
      vm.announcer.announce(parameters, { id, interfaces: interfaces?.split(',') });
      return '';
    },
  },
  {
    names: ['client_migrate_info'],
    arguments: ['string', 'string', 'int?', 'int?', 'string?'],
    usage: 'protocol hostname [port] [tls-port] [cert-subject]',
    summary: 'tell viewers of the screen where the machine goes; there are none',
    run: (_, { values: [protocol] }) => failure(protocol === 'spice' ? ABSENCES.spice : ABSENCES.noSpice),
  },
  action(['cont', 'c'], 'start or resume the guest', (vm) => vm.cont()),
  {
    names: ['help', '?'],
    arguments: ['string?', 'string?'],
    usage: '[cmd]',
    summary: 'list the commands, or tell about one',
    run: (_, { values: [name, topic] }) => help(name, topic),
  },
  action(['migrate_cancel'], 'cancel the outgoing migration', (vm) => vm.migrateCancel()),
  {
    names: ['migrate'],
    flags: 'dr',
    arguments: ['string'],
    usage: '[-d] [-r] uri',
    summary: 'migrate to a URI; always detached (-d), -r resumes a paused postcopy migration',
    async run({ vm }, { flags, values: [uri = ''] }) {
      await vm.migrate(flags.has('r') ? { uri, resume: true } : { uri });
      return flags.has('d') ? '' : 'terminal does not allow synchronous migration, continuing detached\n';
    },
  },
  {
    names: ['migrate_continue'],
    arguments: ['string'],
    usage: 'state',
    summary: 'let a migration that paused in this status go on',
    async run({ vm }, { values: [text = ''] }) {
      const state = MIGRATION_STATUSES.find((name) => name === text);
      if (state === undefined) return failure(`invalid parameter value: ${text}`);
      await vm.migrateContinue(state);
      return '';
    },
  },
  {
    names: ['migrate_incoming'],
    arguments: ['string'],
    usage: 'uri',
    summary: 'wait for an incoming migration at a URI; a failure does not end the process',
    async run({ vm }, { values: [uri = ''] }) {
      incomingAddressOf({ uri }); // a URI that is none is told before anything else, as in QEMU
      await vm.migrateIncoming({ uri, 'exit-on-error': false });
      return '';
    },
  },
  { names: ['migrate_pause'], summary: 'pause a postcopy migration', run: () => failure(POSTCOPY_REFUSALS.pause) },
  {
    names: ['migrate_recover'],
    arguments: ['string'],
    usage: 'uri',
    summary: 'wait at a URI for a paused postcopy migration to resume',
    run: () => failure(POSTCOPY_REFUSALS.recover),
  },
  {
    names: ['migrate_set_capability'],
    arguments: ['string', 'on-off'],
    usage: 'capability on|off',
    summary: 'switch a migration capability',
    run({ vm }, { values: [name = '', state] }) {
      if (!isCapability(name)) return failure(`invalid parameter value: ${name}`);
      vm.setCapabilities([{ capability: name, state: state === 'on' }]);
      const isDeprecated = vm.queryCapabilities().some((row) => row.capability === 'zero-blocks' && row.state);
      return isDeprecated ? 'warning: zero-blocks capability is deprecated\n' : '';
    },
  },
  {
    names: ['migrate_set_parameter'],
    arguments: ['string', 'string'],
    usage: 'parameter value',
    summary: 'set a migration parameter; bandwidths are in MiB/s unless they have a suffix',
    run({ vm }, { values: [name = '', text = ''] }) {
      vm.setParameters(parameterFromText(name, text));
      return '';
    },
  },
  {
    names: ['migrate_start_postcopy'],
    summary: 'switch to postcopy',
    run: () => failure(POSTCOPY_REFUSALS.start),
  },
  action(['quit', 'q'], 'end the process', (vm) => vm.quit('host-qmp-quit')),
  action(['stop', 's'], 'stop the guest', (vm) => vm.stop()),
  action(['system_reset'], 'reset the machine', (vm) => vm.reset()),
  { names: ['system_wakeup'], summary: 'wake the guest up', run: () => failure(ABSENCES.wakeup) },
  { names: ['x_colo_lost_heartbeat'], summary: 'fail over to this machine', run: () => failure(ABSENCES.colo) },
];

/** Runs one line and returns what the monitor would print. Never throws. */
export async function runHumanCommand(line: string, context: HumanContext): Promise<string> {
  return (await run(line, context)).replaceAll('\n', '\r\n');
}

async function run(line: string, context: HumanContext): Promise<string> {
  const { name, rest } = splitName(line);
  if (name === '') return '';
  if (name !== 'info') return dispatch(COMMANDS, { name, rest, prefix: '' }, context);
  const topic = splitName(rest);
  if (topic.name === '') return helpText('info ', INFO_COMMANDS);
  return dispatch(INFO_COMMANDS, { ...topic, prefix: 'info ' }, context);
}

async function dispatch(
  table: readonly HumanCommand[],
  { name, rest, prefix }: { name: string; rest: string; prefix: string },
  context: HumanContext,
): Promise<string> {
  const row = table.find(({ names }) => names.includes(name));
  if (row === undefined) return `unknown command: '${prefix}${name}'\n`;
  try {
    return await row.run(context, parseLine(rest, { flags: row.flags ?? '', arguments: row.arguments ?? [] }));
  } catch (error) {
    if (!(error instanceof LineError)) return failure(messageOf(error));
    const label = error.labelled ? `${row.names.join('|')}: ` : '';
    return `${label}${error.message}\nTry "help ${prefix}${name}" for more information\n`;
  }
}

function action(names: readonly string[], summary: string, act: (vm: VmControl) => Promise<void>): HumanCommand {
  return {
    names,
    summary,
    run: async ({ vm }) => {
      await act(vm);
      return '';
    },
  };
}

/** All commands, or the line of one; what comes behind `info` is looked up among its topics. */
function help(name: string | undefined, topic: string | undefined): string {
  if (name === undefined) return helpText('', COMMANDS);
  if (name === 'info' && topic === undefined) return helpText('info ', INFO_COMMANDS);
  const [prefix, wanted, table] = name === 'info' ? ['info ', topic, INFO_COMMANDS] : ['', name, COMMANDS];
  const rows = (table as readonly HumanCommand[]).filter(({ names }) => names.includes(wanted as string));
  return rows.length === 0 ? `unknown command: '${prefix}${wanted}'\n` : helpText(prefix as string, rows);
}

function helpText(prefix: string, rows: readonly HumanCommand[]): string {
  return rows.map(({ names, usage = '', summary }) => `${prefix}${names.join('|')} ${usage} -- ${summary}\n`).join('');
}

function failure(text: string): string {
  return `Error: ${text}\n`;
}

function isCapability(name: string): name is CapabilityName {
  return CAPABILITY_NAMES.some((known) => known === name);
}
