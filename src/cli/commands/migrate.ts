/** `switchover migrate`: both machines from one command line, live progress on stderr, the verdict on stdout. */

import { HarnessError, messageOf } from '../../base/errors.ts';
import { comparisonOf, formatComparison, plansToCompare } from '../comparison.ts';
import { type MigrateFlags, type MigrationPlan, planOf } from '../migrate-plan.ts';
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
    const migrate = async (one: MigrationPlan) => {
      const seen = await runMigration(one, {
        onSample: (sample) => progress.update(sample),
        onNote: (text) => progress.note(text),
        signal: interrupt.signal,
      });
      progress.end();
      return verdictOf(seen);
    };
    const print = (value: object, text: () => string) =>
      process.stdout.write(flags.json ? `${JSON.stringify(value, null, 2)}\n` : text());
    if (plan.compare.length === 0) {
      const verdict = await migrate(plan);
      print(verdict, () => formatVerdict(verdict, paintJudgement));
      return exitCodeOfVerdict(verdict);
    }
    const plans = plansToCompare(plan);
    const runs = { without: await migrate(plans.without), with: await migrate(plans.with) };
    const comparison = comparisonOf(plan.compare, runs);
    print(comparison, () => formatComparison(comparison, paintJudgement));
    return exitCodeOfVerdict(comparison);
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
