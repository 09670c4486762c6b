/**
 * Every QMP command (spec/control.md §5): the tables by subject put together, and those about QMP itself. Dispatch,
 * `query-commands`, `query-qmp-schema` and docs/reference/qmp-commands.md follow from them.
 */

import * as kinds from '../base/kinds.ts';
import { arrayOf, enumOf, type Kind, optional, required, struct } from '../base/kinds.ts';
import { type Command, type CommandTable, command, type QmpCapability, query } from './command.ts';
import { ABSENT_COMMANDS } from './commands-absent.ts';
import { DIRTY_COMMANDS } from './commands-dirty.ts';
import { MACHINE_COMMANDS } from './commands-machine.ts';
import { MIGRATION_COMMANDS } from './commands-migration.ts';
import { SCHEMA_KIND } from './return-kinds-described.ts';

const QMP_CAPABILITIES = ['oob'] as const satisfies readonly QmpCapability[];

/** Every command by name. */
export const COMMANDS: CommandTable = {
  qmp_capabilities: command(
    {
      summary: 'end the negotiation, with out-of-band execution if it is asked for',
      args: struct({ enable: optional(arrayOf(qmpCapabilityKind())) }),
      when: 'negotiating',
    },
    ({ enable = [] }, context) => context.negotiate(enable),
  ),
  'query-commands': query(
    'every command',
    () => Object.keys(COMMANDS).map((name) => ({ name })),
    arrayOf(struct({ name: required(kinds.string) })),
  ),
  'query-qmp-schema': query('commands and events with their types', schema, SCHEMA_KIND),
  ...MACHINE_COMMANDS,
  ...MIGRATION_COMMANDS,
  ...DIRTY_COMMANDS,
  ...ABSENT_COMMANDS,
};

/** The row of a command; undefined when there is none of this name. */
export function findCommand(name: string): Command | undefined {
  return Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
}

/** Loaded when it is asked for: few clients do. */
async function schema(): Promise<object[]> {
  const { qmpSchema } = await import('./schema.ts');
  return qmpSchema();
}

/** QEMU has no name for an element of a list and prints `null`, where our kinds print the path. */
function qmpCapabilityKind(): Kind<QmpCapability> {
  const names = enumOf(QMP_CAPABILITIES);
  return { ...names, parse: (value, path) => names.parse(value, typeof value === 'string' ? 'null' : path) };
}
