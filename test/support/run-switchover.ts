/** Runs one command of the command line to its end, as a user does: through bin/switchover.js, in a process of its own. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** The script behind `switchover`. */
export const SWITCHOVER_SCRIPT = fileURLToPath(new URL('../../bin/switchover.js', import.meta.url));

/** How a command ended and what it said. */
export interface CommandResult {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `switchover ARGS…` to its end; `input` goes to its standard input. */
export function runSwitchover(args: readonly string[], input?: Uint8Array): Promise<CommandResult> {
  return runCommand([SWITCHOVER_SCRIPT, ...args], input);
}

/** Runs a script of Node's with its arguments to its end; `input` goes to its standard input. */
export async function runCommand(
  command: readonly string[],
  input: Uint8Array = new Uint8Array(),
): Promise<CommandResult> {
  const child = spawn(process.execPath, command, {
    stdio: 'pipe',
    env: { ...process.env, NO_COLOR: '1' },
  });
  const closed = once(child, 'close');
  // A command that does not read its input may be gone before all of it is written.
  child.stdin.on('error', () => undefined).end(input);
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  await closed;
  return { exitCode: child.exitCode, stdout, stderr };
}
