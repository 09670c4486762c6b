/** Two migrations of the same machines side by side: without and with some capabilities. */

import type { Ledger } from '../migration/ledger.ts';
import { formatLedger } from './ledger-table.ts';
import type { MigrationPlan } from './migrate-plan.ts';
import { formatRows, type MigrationVerdict } from './verdict.ts';

/** What `switchover migrate --compare … --json` prints. */
export interface Comparison {
  readonly verdict: 'pass' | 'fail';
  /** The capabilities that make the difference. */
  readonly capabilities: readonly string[];
  /** Downtime without them over downtime with them. */
  readonly downtimeRatio: number;
  readonly without: MigrationVerdict;
  readonly with: MigrationVerdict;
}

/** The two plans to run, one after the other. */
export function plansToCompare(plan: MigrationPlan): { readonly without: MigrationPlan; readonly with: MigrationPlan } {
  return { without: plan, with: { ...plan, capabilities: [...new Set([...plan.capabilities, ...plan.compare])] } };
}

/** Draws the conclusion: pass when both migrations pass. */
export function comparisonOf(
  capabilities: readonly string[],
  runs: { readonly without: MigrationVerdict; readonly with: MigrationVerdict },
): Comparison {
  const pass = runs.without.verdict === 'pass' && runs.with.verdict === 'pass';
  const downtimeRatio = Math.round((runs.without.downtimeMs / Math.max(1, runs.with.downtimeMs)) * 100) / 100;
  return { verdict: pass ? 'pass' : 'fail', capabilities, downtimeRatio, ...runs };
}

/** Both ledgers, then the figures beside each other; `paint` may colour the words that judge. */
export function formatComparison(
  comparison: Comparison,
  paint: (text: string, good: boolean) => string = (text) => text,
): string {
  const names = comparison.capabilities.join(', ');
  const runs = [comparison.without, comparison.with] as const;
  const cells = (of: (verdict: MigrationVerdict) => string) => runs.map((run) => of(run).padEnd(16)).join('');
  const equal = (run: MigrationVerdict) => (run.ramEqual ? 'equal' : 'DIFFERENT');
  const rows: [string, string][] = [
    ['', `${'without'.padEnd(16)}with ${names}`],
    ['downtime', `${cells((run) => `${run.downtimeMs} ms`)}${comparison.downtimeRatio.toFixed(1)} times less`],
    ['expected', cells((run) => (run.expectedDowntimeMs === null ? '-' : `${run.expectedDowntimeMs} ms`))],
    ['total time', cells((run) => `${run.totalMs} ms`)],
    [
      'devices ready',
      cells(
        (run) =>
          Object.entries(run.ackMs)
            .map(([id, ms]) => `${id} ${ms} ms`)
            .join(', ') || '-',
      ),
    ],
    ['RAM', cells(equal)],
    ['verdict', paint(comparison.verdict, comparison.verdict === 'pass')],
  ];
  const ledgers = runs.flatMap((run, index) =>
    ledgerText(run.ledger, index === 0 ? `without ${names}` : `with ${names}`),
  );
  return `${ledgers.join('')}${formatRows(rows.map(([label, text]) => [label, text.trimEnd()]))}`;
}

function ledgerText(ledger: Ledger | null, title: string): string[] {
  return ledger === null ? [] : [`${title}\n${formatLedger(ledger)}\n`];
}
