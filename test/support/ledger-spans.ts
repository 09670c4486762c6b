/** What the downtime ledger of a migration says of its devices. */

import type { MachinePair } from './machine-pair.ts';

/** From when to when a device loaded (ms, on the source's clock). */
export interface LoadSpan {
  readonly row: string;
  readonly startMs: number;
  readonly endMs: number;
}

/** When each of the devices d0, d1, … loaded, by the source's ledger. */
export function loadSpans({ source }: MachinePair): LoadSpan[] {
  const parts = (source.vm.queryMigrate()['x-switchover']?.ledger?.parts ?? []).filter(
    ({ row, phase }) => phase === 'load' && row.startsWith('d'),
  );
  const rows = [...new Set(parts.map(({ row }) => row))].sort();
  return rows.map((row) => {
    const own = parts.filter((part) => part.row === row);
    const startMs = Math.min(...own.map((part) => part.startMs));
    return { row, startMs, endMs: Math.max(...own.map((part) => part.endMs)) };
  });
}

/** For how long all of them loaded at the same time (ms); negative when never. */
export function togetherMs(spans: readonly LoadSpan[]): number {
  return Math.min(...spans.map(({ endMs }) => endMs)) - Math.max(...spans.map(({ startMs }) => startMs));
}
