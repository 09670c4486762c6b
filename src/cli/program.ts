/** Every command but `vm`, as commander declares them: one row each, its implementation loaded when it runs. */

import { Command, CommanderError, Option } from 'commander';
import { EXIT_CODES, HarnessError } from '../base/errors.ts';
import type { CheckFlags } from './commands/check.ts';
import { FILLS } from './fill.ts';
import type { MigrateFlags } from './migrate-plan.ts';
import { packageVersion } from './version.ts';
import { MACHINE_TYPES } from './vm-options.ts';

/** A file, or false for `--no-history`. */
interface QmpFlags {
  readonly history?: string | boolean;
}

/** Runs a command line that is not `vm`; resolves with the exit code. */
export async function runProgram(args: readonly string[]): Promise<number> {
  let exitCode: number = EXIT_CODES.ok;
  const program = declareCommands((code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version are errors to commander; they have printed what was asked for.
    if (error.exitCode === 0) return EXIT_CODES.ok;
    throw new HarnessError('cli/usage', { text: error.message.replace(/^error: /, '') });
  }
  return exitCode;
}

function declareCommands(end: (code: number) => void): Command {
  const program = new Command('switchover')
    .description("Live migration of virtual hardware, in QEMU's wire format and with QMP")
    .version(packageVersion())
    .exitOverride()
    // Errors are printed once, by main; help with nothing to do is help, not an error.
    .configureOutput({ writeErr: () => undefined })
    .action((_flags, command: Command) => {
      if (command.args.length > 0) {
        throw new HarnessError('cli/usage', { text: `unknown command '${command.args[0]}'; see switchover --help` });
      }
      command.outputHelp();
    })
    .helpCommand(true)
    .allowExcessArguments();

  // Declared for the help only: main.ts sends `vm` to its own parser of QEMU's options.
  program.command('vm').description("a process that is a virtual machine and takes QEMU's command line");
  declareMigrate(program, end);

  program
    .command('analyze')
    .description("print a migration stream's sections, offsets, sizes and field values, up to where it is cut")
    .argument('<file>', 'a recorded stream, or - for standard input')
    .option('--json', 'one JSON object instead of text')
    .action(async (file: string, flags: { json?: boolean }) => {
      const { runAnalyze } = await import('./commands/analyze.ts');
      end(await runAnalyze(file, flags.json === true));
    });

  program
    .command('conformance')
    .description("check that a device's state is complete and strict and that no guest notices its migration")
    .argument('<device>', "a device's name, or the path of a module like ./my-device.ts")
    .option('--json', 'one JSON object instead of a table')
    .option('--junit <file>', 'also write the results as JUnit XML')
    .action(async (device: string, flags: { json?: boolean; junit?: string }) => {
      const { runConformanceCommand } = await import('./commands/conformance.ts');
      end(await runConformanceCommand(device, flags));
    });

  program
    .command('check')
    .description("compare two vmstate dumps, ours or QEMU's: everything that differs, and whether it breaks migration")
    .argument('<a>', 'a file that -dump-vmstate wrote, or - for standard input')
    .argument('<b>', 'the other one')
    .option('--json', 'one JSON object instead of text')
    .option('--junit <file>', 'also write the result for each device as JUnit XML')
    .addOption(
      new Option('--direction <way>', 'what has to work: forward is from A to B')
        .choices(['forward', 'backward', 'both'])
        .default('both'),
    )
    .action(async (a: string, b: string, flags: CheckFlags) => {
      const { runCheck } = await import('./commands/check.ts');
      end(await runCheck(a, b, flags));
    });

  program
    .command('qmp')
    .description('execute one QMP command and print what it returns as JSON; without one, a shell')
    .argument('<socket>', 'unix:PATH, tcp:HOST:PORT or a path')
    .argument('[command]', 'a QMP command')
    .argument('[arguments]', 'its arguments as a JSON object')
    .option('--history <file>', "where the shell keeps what was typed (default: in the user's state directory)")
    .option('--no-history', 'keep nothing')
    .action(async (socket: string, command: string | undefined, json: string | undefined, flags: QmpFlags) => {
      const { runQmp } = await import('./commands/qmp.ts');
      const request = { ...(command === undefined ? {} : { command }), ...(json === undefined ? {} : { json }) };
      end(await runQmp({ socket, ...request, history: flags.history ?? true }));
    });
  return program;
}

function declareMigrate(program: Command, end: (code: number) => void): void {
  const collect = (value: string, before: string[]) => [...before, value];
  program
    .command('migrate')
    .description('run a machine, migrate it live to a second one, and judge the result')
    .addOption(new Option('--machine <type>', 'machine type').choices(MACHINE_TYPES).default('harness'))
    .option('--memory <size>', 'guest RAM', '512MiB')
    .option('--guest <type,…>', 'what a vCPU runs, e.g. sweep,rate=200MiB; may be repeated', collect, [])
    .option(
      '--device <driver,…>',
      'a device by name or by the path of its file, with its properties; may be repeated',
      collect,
      [],
    )
    .addOption(new Option('--fill <kind>', 'what RAM holds before the guest starts').choices(FILLS).default('none'))
    .option('--seed <number>', 'seed of the fill', '1')
    .addOption(new Option('--transport <kind>', 'how the two are connected').choices(['tcp', 'unix']).default('tcp'))
    .option(
      '--max-bandwidth <rate>',
      "limit of the migration, e.g. 8Gbps or 500MiB (QEMU's default: 128MiB, with --device none; 0 is none)",
    )
    .option('--downtime-limit <time>', "the guest may stand still this long (QEMU's default: 300ms, with --device 2s)")
    .option('--return-path', 'let the destination answer and confirm the end')
    .option('--cap <names>', 'migration capabilities to switch on, separated by commas; may be repeated', collect, [])
    .option('--compare <names>', 'migrate twice, without and with these capabilities, and show both side by side')
    .option('--param <name=value>', 'a migration parameter; may be repeated', collect, [])
    .option(
      '--dirty-ring-size <pages>',
      "page writes that fill a vCPU's dirty ring; the capability dirty-limit needs it",
    )
    .option('--timeout <time>', 'give up after this long', '120s')
    .option('--json', 'one JSON object on standard output instead of a table')
    .action(async (flags: MigrateFlags) => {
      const { runMigrate } = await import('./commands/migrate.ts');
      end(await runMigrate(flags));
    });
}
