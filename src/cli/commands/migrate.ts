/** `switchover migrate`: both machines from one command line, live progress on stderr, the verdict on stdout. */

import { HarnessError, messageOf } from '../../base/errors.ts';
import { type MigrateFlags, planOf } from '../migrate-plan.ts';
import { runMigration } from '../migration-run.ts';
import { paintJudgement } from '../paint.ts';
import { ProgressReporter } from '../progress.ts';
import { exitCodeOfVerdict, formatVerdict, verdictOf } from '../verdict.ts';

/** Runs the command; resolves with the exit code, throws usage errors and, without --json, a failed migration. */
export async function runMigrate(flags: MigrateFlags): Promise<number> {
  const plan = planOf(flags);
  const progress = new ProgressReporter(process.stderr);
  const interrupt = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => {
    interrupt.abort(new HarnessError('cli/migration', { text: `interrupted by ${signal}` }));
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.once(signal, onSignal);
  try {
    const seen = await runMigration(plan, {
      onSample: (sample) => progress.update(sample),
      onNote: (text) => progress.note(text),
      signal: interrupt.signal,
    });
    progress.end();
    const verdict = verdictOf(seen);
    process.stdout.write(flags.json ? `${JSON.stringify(verdict, null, 2)}\n` : formatVerdict(verdict, paintJudgement));
    return exitCodeOfVerdict(verdict);
  } catch (error) {
    progress.end();
    if (flags.json) {
      process.stdout.write(`${JSON.stringify({ verdict: 'migration-failed', error: messageOf(error) }, null, 2)}\n`);
    }
    throw error;
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
}
