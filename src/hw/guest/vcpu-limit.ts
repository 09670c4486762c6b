/**
 * The limit of one vCPU's dirty rate (spec/control.md §7.6): whatever the guest would write, no more pages go out than the limit allows.
 * Times are the guest's own, as for the pacer.
 */

import { PAGE_SIZE } from '../../wire/ram.ts';
import { Pacer } from './pacer.ts';

/** See the header. */
export class VcpuLimit {
  #perSecond = 0;
  #pacer: Pacer | undefined;
  #heldSinceMs: number | undefined;
  #nowMs = 0;

  /** Nothing is held back at `nowMs`. */
  reset(nowMs: number): void {
    this.#pacer?.reset(nowMs);
    this.#heldSinceMs = undefined;
  }

  /** How many of `due` pages may be written at `nowMs` with `perSecond` as limit (0 = none); 0 until some may. */
  pagesAllowed(due: number, { nowMs, perSecond }: { nowMs: number; perSecond: number }): number {
    this.#nowMs = nowMs;
    if (perSecond !== this.#perSecond) {
      this.#perSecond = perSecond;
      this.#pacer = perSecond === 0 ? undefined : new Pacer(perSecond * PAGE_SIZE);
      this.#pacer?.reset(nowMs);
    }
    const pages = Math.min(due, this.#pacer?.pagesDue(nowMs) ?? due);
    if (pages === 0) this.#heldSinceMs ??= nowMs;
    return pages;
  }

  /** Milliseconds from the last `pagesAllowed` until some may be written. */
  get waitMs(): number {
    return this.#pacer?.waitMs ?? 0;
  }

  /** Records pages that were written; returns for how long they had been held back (ms). */
  spend(pages: number): number {
    this.#pacer?.spend(pages);
    const heldMs = this.#heldSinceMs === undefined ? 0 : this.#nowMs - this.#heldSinceMs;
    this.#heldSinceMs = undefined;
    return heldMs;
  }
}
