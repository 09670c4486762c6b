/** What a benchmark is to `bench/main.ts`. */

/** Which two machines migrate: both QEMU, both ours, or one of each. */
export const SUBJECTS = {
  qemu: { source: 'qemu', destination: 'qemu' },
  ours: { source: 'switchover', destination: 'switchover' },
  'ours-to-qemu': { source: 'switchover', destination: 'qemu' },
  'qemu-to-ours': { source: 'qemu', destination: 'switchover' },
} as const;
/** Name of a subject. */
export type Subject = keyof typeof SUBJECTS;

/** What the command line chose. */
export interface BenchOptions {
  /** How often each row is measured; for comparisons, in how many pairs. */
  readonly pairs: number;
  /** Names of the rows to measure. */
  readonly rows: readonly string[];
  /** Who takes part in a comparison; the first is what the others are measured against. */
  readonly subjects: readonly Subject[];
  /** Rows as earlier runs recorded them, to be shown beside those that are measured now. */
  readonly earlier?: readonly object[];
  /** Told of each row as soon as it is measured, as it is to be recorded. */
  readonly onRow?: (row: object) => void;
}

/** One benchmark: a question, and rows that answer it. */
export interface Bench {
  readonly question: string;
  /** Names of the rows, for --rows. */
  readonly rows: readonly string[];
  readonly defaultPairs: number;
  /** Its rows stand for themselves: they may be measured on different days. */
  readonly canResume?: boolean;
  /** Measures, prints tables, and returns what is recorded as JSON. */
  run(options: BenchOptions): Promise<object>;
}

/** What a number must reach. */
export type Bar = { readonly atMost: number } | { readonly atLeast: number };

/** Whether `value` reaches its bar, as the tables say it. */
export function verdict(value: number, bar: Bar | undefined): string {
  if (bar === undefined) return '';
  const isMet = 'atMost' in bar ? value <= bar.atMost : value >= bar.atLeast;
  return isMet ? 'met' : 'MISSED';
}

/** The bar as the tables show it. */
export function barText(bar: Bar | undefined): string {
  if (bar === undefined) return '';
  return 'atMost' in bar ? `≤ ${bar.atMost}` : `≥ ${bar.atLeast}`;
}
