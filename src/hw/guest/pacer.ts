/** Keeps a guest at its configured rate: pages become due as time passes, in batches large enough to be worth waking for. */

import { PAGE_SIZE } from '../../wire/ram.ts';

/** Pages a guest writes between two looks at its gate, at most. */
const MAX_BATCH_PAGES = 64;
/** A slow guest is woken this often (ms) rather than for a whole batch. */
const BATCH_MS = 5;
/** Time (ms) a guest may catch up after its thread was held up; what is older is forgotten. */
const CATCH_UP_MS = 100;
/** Pages that sums of rates may be wrong by. */
const ROUNDING = 1e-6;

/** Counts the pages a guest may write. Times are the guest's own: they stand still while it is stopped or throttled. */
export class Pacer {
  /** Pages per millisecond; 0 = unlimited. */
  readonly #rate: number;
  readonly #batchPages: number;
  readonly #maxDue: number;
  #due = 0;
  #lastMs = 0;

  constructor(rateBytes: number) {
    this.#rate = rateBytes / PAGE_SIZE / 1000;
    this.#batchPages = Math.min(MAX_BATCH_PAGES, Math.max(1, Math.ceil(this.#rate * BATCH_MS)));
    this.#maxDue = Math.max(this.#batchPages, this.#rate * CATCH_UP_MS);
  }

  /** Nothing is due at `nowMs`. */
  reset(nowMs: number): void {
    this.#due = 0;
    this.#lastMs = nowMs;
  }

  /** Pages that may be written at `nowMs`, at most MAX_BATCH_PAGES; 0 until a batch is due. */
  pagesDue(nowMs: number): number {
    if (this.#rate === 0) return MAX_BATCH_PAGES;
    this.#due = Math.min(this.#maxDue, this.#due + (nowMs - this.#lastMs) * this.#rate);
    this.#lastMs = nowMs;
    // After exactly `waitMs` the sum may be a rounding error short of the batch; nobody could wait for so little.
    const due = this.#due + ROUNDING;
    return due < this.#batchPages ? 0 : Math.min(MAX_BATCH_PAGES, Math.floor(due));
  }

  /** Milliseconds from the last `pagesDue` until a batch is due. */
  get waitMs(): number {
    return this.#rate === 0 ? 0 : Math.max(0, (this.#batchPages - this.#due) / this.#rate);
  }

  /** Records pages that were written. */
  spend(pages: number): void {
    this.#due -= pages;
  }
}
