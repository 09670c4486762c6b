/** What a row of the human monitor's tables is. */

import type { VmControl } from '../migration/vm-control.ts';
import type { ArgumentKind, LineArguments } from './hmp-line.ts';

/** What a human command may use. */
export interface HumanContext {
  readonly vm: VmControl;
  readonly packageVersion: string;
}

/** A row. */
export interface HumanCommand {
  /** The name, and a short form if there is one. */
  readonly names: readonly string[];
  readonly flags?: string;
  readonly arguments?: readonly ArgumentKind[];
  /** How the arguments are written in the help. */
  readonly usage?: string;
  readonly summary: string;
  /** Returns what to print, with plain newlines. */
  run(context: HumanContext, args: LineArguments): string | Promise<string>;
}
