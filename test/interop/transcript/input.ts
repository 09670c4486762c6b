/** What a transcript is made of. */

/**
 * Something to send: text as it is, a command with its arguments, or the statuses that the migration has to have one of
 * before the next input. In texts `{dir}` stands for a directory of the peer's own, and `{tag}` for a word.
 */
export type Input = string | readonly [command: string, args?: object] | { readonly until: readonly string[] };

/** A line of the human monitor. */
export function human(line: string): Input {
  return ['human-monitor-command', { 'command-line': line }];
}

/** migrate to a URI. */
export function migrate(uri: string, more: object = {}): Input {
  return ['migrate', { uri, ...more }];
}

/** migrate to the address of a channel. */
export function migrateTo(addr: unknown): Input {
  return ['migrate', { channels: [{ 'channel-type': 'main', addr }] }];
}

/** migrate-incoming from a URI; a failure does not end the process. */
export function incoming(uri: string): Input {
  return ['migrate-incoming', { uri, 'exit-on-error': false }];
}

/** Switches capabilities, in this order. */
export function switchCapabilities(...states: readonly (readonly [capability: unknown, state: unknown])[]): Input {
  return ['migrate-set-capabilities', { capabilities: states.map(([capability, state]) => ({ capability, state })) }];
}

/** The text that is sent. */
export function textOf(input: Exclude<Input, { readonly until: readonly string[] }>): string {
  return typeof input === 'string' ? input : JSON.stringify({ execute: input[0], arguments: input[1] });
}

/** How a machine is started, and what it is sent. */
export interface Session {
  /** `-incoming`. */
  readonly incoming?: string;
  /** Whether the guest runs at the start; otherwise `-S`. */
  readonly running?: boolean;
  /** `-m`; 16M unless it is given. */
  readonly memory?: string;
  readonly args?: readonly string[];
  readonly inputs: readonly Input[];
}
