/** What a row of the command tables is, and how one is written. */

import { HarnessError } from '../base/errors.ts';
import type { JsonPrintable, JsonValue } from '../base/json.ts';
import { any, type Kind, struct } from '../base/kinds.ts';
import type { VmControl } from '../migration/vm-control.ts';
import type { YankableMonitors } from './yank.ts';

/** What a command may use: the machine, and the connection it came from. */
export interface CommandContext {
  readonly vm: VmControl;
  /** Version of this package, for query-version. */
  readonly packageVersion: string;
  /** For yank. */
  readonly monitors: YankableMonitors;
  /** Ends the negotiation of this connection with these QMP capabilities on; throws when one is not offered. */
  negotiate(enable: readonly QmpCapability[]): void;
}

/** What a client may enable with qmp_capabilities. */
export type QmpCapability = 'oob';

/** A row of a command table. */
export interface Command {
  readonly summary: string;
  /** The only command before negotiation, or one of those after it. */
  readonly when: 'negotiating' | 'ready';
  /** True if `exec-oob` may run it past the commands in the queue. */
  readonly allowOob: boolean;
  readonly args: Kind<unknown>;
  /** What it returns; `undefined` for an empty object. */
  readonly returns: Kind<unknown> | undefined;
  /** Parses the arguments and does it; resolves with the value of `return`. */
  run(args: JsonValue, context: CommandContext): Promise<JsonPrintable>;
}

/** Commands by name. */
export type CommandTable = Readonly<Record<string, Command>>;

type Columns<A> = { readonly summary: string; readonly args: Kind<A> } & Partial<
  Pick<Command, 'when' | 'allowOob' | 'returns'>
>;

/** No arguments. */
export const NO_ARGUMENTS = struct({});

/** A command that does something; what its handler returns becomes the reply, nothing becomes `{}`. */
export function command<A>(columns: Columns<A>, handler: (args: A, context: CommandContext) => unknown): Command {
  return {
    when: 'ready',
    allowOob: false,
    returns: undefined,
    ...columns,
    // Handlers return plain data, as VmControl's types say; anything else fails in `stringify`.
    run: async (args, context) => ((await handler(columns.args.parse(args, ''), context)) ?? {}) as JsonPrintable,
  };
}

/** A command without arguments that only tells something. */
export function query(
  summary: string,
  handler: (context: CommandContext) => unknown,
  returns: Kind<unknown> = any,
): Command {
  return command({ summary, args: NO_ARGUMENTS, returns }, (_, context) => handler(context));
}

/** A command whose arguments are checked and which is then always refused. */
export function refusal<A>(columns: Columns<A>, text: string | ((args: A) => string)): Command {
  return command(columns, (args) => refuse(typeof text === 'string' ? text : text(args)));
}

/** Refuses a command with QEMU's general error class. */
export function refuse(text: string): never {
  throw new HarnessError('qmp/generic', { text });
}
