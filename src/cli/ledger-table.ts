/** The downtime ledger for people: milliseconds by row and phase, and each row's time line, critical stretches marked. */

import { type JudgedPart, LEDGER_PHASES, type Ledger } from '../migration/ledger.ts';

const LINE_CELLS = 48;
const CELL = { idle: '·', busy: '─', critical: '█' } as const;

/** The ledger as an aligned table. A number with `*` lies (partly) on the critical path. */
export function formatLedger(ledger: Ledger): string {
  const { downtimeMs, explainedMs, parts } = ledger;
  const percent = downtimeMs === 0 ? 100 : (explainedMs / downtimeMs) * 100;
  const head = `downtime ledger: ${downtimeMs.toFixed(1)} ms, ${percent.toFixed(1)} % explained; ${CELL.critical} and * are on the critical path`;
  const names = [...new Set(parts.map(({ row }) => row))];
  const rows = names.map((name) => {
    const own = parts.filter(({ row }) => row === name);
    return [
      name,
      ...LEDGER_PHASES.map((phase) => cell(own.filter((part) => part.phase === phase))),
      line(own, downtimeMs),
    ];
  });
  return [head, ...aligned([['', ...LEDGER_PHASES, ''], ...rows])].map((text) => `${text.trimEnd()}\n`).join('');
}

function cell(parts: readonly JudgedPart[]): string {
  if (parts.length === 0) return '-';
  const ms = parts.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0);
  return `${ms.toFixed(1)}${parts.some(({ criticalMs }) => criticalMs > 0) ? '*' : ' '}`;
}

function line(parts: readonly JudgedPart[], downtimeMs: number): string {
  const cellMs = downtimeMs / LINE_CELLS;
  const glyph = (at: number) => {
    const there = parts.filter(({ startMs, endMs }) => startMs < (at + 1) * cellMs && endMs > at * cellMs);
    if (there.length === 0) return CELL.idle;
    return there.some(({ criticalMs }) => criticalMs > 0) ? CELL.critical : CELL.busy;
  };
  return Array.from({ length: LINE_CELLS }, (_, at) => glyph(at)).join('');
}

/** Pads columns: the first and the last to the left, numbers to the right. */
function aligned(table: readonly (readonly string[])[]): string[] {
  const columns = table[0]?.length ?? 0;
  const widths = Array.from({ length: columns }, (_, at) => Math.max(...table.map((row) => (row[at] ?? '').length)));
  return table.map((row) =>
    row
      .map((text, at) =>
        at === 0 || at === columns - 1 ? text.padEnd(widths[at] ?? 0) : text.padStart(widths[at] ?? 0),
      )
      .join('  '),
  );
}
