/**
 * The command line: which command runs, and how every command ends. Errors are one sentence on stderr and an exit code
 * of the table in base/errors.ts; data goes to stdout. Only the command that runs is loaded: `vm` starts in a fraction of
 * a second because it never sees the option parser of the others.
 */

import { EXIT_CODES, exitCodeOf, messageOf } from '../base/errors.ts';

/** Runs one command line (without node and script) and ends the process with its exit code. */
export async function main(args: readonly string[]): Promise<void> {
  process.stderr.on('error', () => undefined);
  try {
    process.exitCode = await run(args);
  } catch (error) {
    // Whoever starts QEMU and gets another program knows only 1 (spec/control.md §1.3, §2.2).
    process.exitCode = args[0] === 'vm' ? EXIT_CODES.expectation : exitCodeOf(error);
    process.stderr.write(`switchover${commandName(args)}: ${messageOf(error)}\n`);
    if (process.env['SWITCHOVER_LOG'] === 'debug' && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  }
  // A machine that is gone is gone: no timer or client that lingers may keep its process. Elsewhere a hang is a bug to see.
  if (args[0] === 'vm') process.exit();
}

async function run(args: readonly string[]): Promise<number> {
  if (args[0] === 'vm') {
    // A monitor on a pipe whose reader has gone is closed; the machine lives on.
    process.stdout.on('error', () => undefined);
    const { runVm } = await import('./commands/vm.ts');
    return runVm(args.slice(1));
  }
  // `switchover analyze F | head` ends when head has seen enough; that is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT_CODES.ok);
    throw error;
  });
  const { runProgram } = await import('./program.ts');
  return runProgram(args);
}

function commandName(args: readonly string[]): string {
  return args[0] === undefined || args[0].startsWith('-') ? '' : ` ${args[0]}`;
}
