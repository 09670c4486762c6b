/**
 * Benchmarks of single numbers: each row measures one, again and again in turn with the others; medians, spread, and a bar.
 * For what is compared with QEMU pair by pair see migration-pairs.ts.
 */

import { type Bar, type Bench, barText, verdict } from './bench.ts';
import { NOISY_SPREAD, quartileSpread, type Spread, spreadOf } from './statistics.ts';
import { formatTable } from './table.ts';
import { UndisturbedMeasuring } from './undisturbed.ts';

/** One number that can be measured again and again. */
export interface ValueRow {
  /** `ms`, `µs`, `GB/s` … */
  readonly unit: string;
  readonly bar?: Bar;
  /** Measures once. */
  measure(): number | Promise<number>;
}

/** A number that follows from the medians of others. */
export interface DerivedRow {
  readonly unit: string;
  readonly bar?: Bar;
  from(medians: Readonly<Record<string, number>>): number;
}

/** A benchmark made of such rows. Every row is measured once for nothing before. */
export function valueBench(options: {
  readonly question: string;
  readonly rows: Readonly<Record<string, ValueRow>>;
  /** Shown when all rows were measured. */
  readonly derived?: Readonly<Record<string, DerivedRow>>;
  readonly defaultPairs?: number;
}): Bench {
  const { question, rows, derived = {}, defaultPairs = 7 } = options;
  return {
    question,
    rows: Object.keys(rows),
    defaultPairs,
    run: async (chosen) => {
      // At most twice as many measurements, however busy the host is.
      const measuring = new UndisturbedMeasuring(chosen.rows.length * chosen.pairs);
      const samples = await measureInTurn({ rows, names: chosen.rows, repeats: chosen.pairs, measuring });
      const spreads = Object.fromEntries(Object.entries(samples).map(([name, sample]) => [name, spreadOf(sample)]));
      const medians = Object.fromEntries(Object.entries(spreads).map(([name, { median }]) => [name, median]));
      const isWhole = chosen.rows.length === Object.keys(rows).length;
      const results = isWhole
        ? Object.entries(derived).map(([name, row]) => ({ name, row, value: row.from(medians) }))
        : [];
      print({ rows, spreads, results });
      const { repeated, disturbed } = measuring;
      console.log(
        `The host took CPU time: ${repeated} values measured again, ${disturbed} values count although disturbed.`,
      );
      const derivedValues = Object.fromEntries(results.map(({ name, value }) => [name, value]));
      return { repeated, disturbed, samples, derived: derivedValues };
    },
  };
}

/** Milliseconds per call of `work`, which is called until at least `leastMs` have passed. */
export function msPerCall(work: () => void, leastMs = 100): number {
  const start = performance.now();
  for (let calls = 1; ; calls += 1) {
    work();
    const elapsed = performance.now() - start;
    if (elapsed >= leastMs) return elapsed / calls;
  }
}

async function measureInTurn(chosen: {
  readonly rows: Readonly<Record<string, ValueRow>>;
  readonly names: readonly string[];
  readonly repeats: number;
  readonly measuring: UndisturbedMeasuring;
}): Promise<Record<string, number[]>> {
  const { rows, names, repeats, measuring } = chosen;
  const samples: Record<string, number[]> = {};
  for (const name of names) await rows[name]?.measure();
  for (let n = 0; n < repeats; n += 1) {
    // Who goes first alternates: what a row leaves behind is not always another's.
    for (const name of n % 2 === 0 ? names : names.toReversed()) {
      const value = await measuring.take(() => rows[name]?.measure());
      if (value !== undefined) (samples[name] ??= []).push(value);
    }
    console.log(`  ${n + 1}/${repeats}`);
  }
  return samples;
}

function print(parts: {
  rows: Readonly<Record<string, ValueRow>>;
  spreads: Readonly<Record<string, Spread>>;
  results: readonly { name: string; row: DerivedRow; value: number }[];
}): void {
  const { rows, spreads, results } = parts;
  const measured = Object.entries(spreads).map(([name, spread]) => {
    const { unit = '', bar } = rows[name] ?? {};
    const isNoisy = quartileSpread(spread) > NOISY_SPREAD;
    const range = (low: number, high: number) => `${short(low)}..${short(high)}`;
    return [
      ...[name, short(spread.median), unit, range(spread.q1, spread.q3), range(spread.min, spread.max)],
      ...[barText(bar), verdict(spread.median, bar), isNoisy ? 'noisy' : ''],
    ];
  });
  const derived = results.map(({ name, row, value }) => [
    ...[name, short(value), row.unit, '', ''],
    ...[barText(row.bar), verdict(value, row.bar), ''],
  ]);
  const header = ['row', 'median', 'unit', 'quartiles', 'min..max', 'bar', '', ''];
  console.log(`\n${formatTable(header, [...measured, ...derived])}\n`);
  const noisy = Object.entries(spreads).filter(([, spread]) => quartileSpread(spread) > NOISY_SPREAD);
  if (noisy.length > 0) {
    console.log(`TOO NOISY TO TELL: ${noisy.map(([name]) => name).join(', ')} (quartiles far apart; measure again)`);
  }
}

function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
