/** The pages of one packet as runs: pages that follow each other. */

/** In the order of the packet's table. */
export interface PageRuns {
  /** How many runs there are. */
  readonly runCount: number;
  /** Pages of all runs. */
  readonly totalPages: number;
  /** First page of a run. */
  firstPage(run: number): number;
  /** Number of pages of a run. */
  pageCount(run: number): number;
}
