/** What query-migrate tells about deltas (spec/control.md §5.3): counters as they are, rates of the last period. */

import { PAGE_SIZE } from '../../wire/ram.ts';
import type { XbzrleInfo } from '../vm-control.ts';
import type { XbzrleCounters } from './xbzrle-save.ts';

/** Rates over the counters of one migration. */
export class XbzrleRates {
  readonly #counters: XbzrleCounters;
  #before: XbzrleCounters;
  #missRate = 0;
  #encodingRate = 0;

  constructor(counters: XbzrleCounters) {
    this.#counters = counters;
    this.#before = { ...counters };
  }

  /** Renews the rates, which are 0 until the first period has ended. */
  periodEnds(): void {
    const [now, before] = [this.#counters, this.#before];
    const pages = now.pages - before.pages;
    const handled = now.handled - before.handled;
    const bytes = now.bytes - before.bytes;
    this.#missRate = handled === 0 ? 0 : (now.misses - before.misses) / handled;
    this.#encodingRate = bytes === 0 ? 0 : (pages * PAGE_SIZE) / bytes;
    this.#before = { ...now };
  }

  info(): Omit<XbzrleInfo, 'cache-size'> {
    const { pages, bytes, misses, overflows } = this.#counters;
    return {
      bytes,
      pages,
      'cache-miss': misses,
      'cache-miss-rate': this.#missRate,
      'encoding-rate': this.#encodingRate,
      overflow: overflows,
    };
  }
}
