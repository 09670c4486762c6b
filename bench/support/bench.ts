/** What a benchmark is to `bench/main.ts`. */

/** One benchmark: a question, and rows that answer it. */
export interface Bench {
  readonly question: string;
  /** Names of the rows, for --rows. */
  readonly rows: readonly string[];
  readonly defaultPairs: number;
  /** Measures, prints tables, and returns what is recorded as JSON. */
  run(options: { readonly pairs: number; readonly rows: readonly string[] }): Promise<object>;
}
