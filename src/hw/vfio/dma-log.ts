/**
 * DMA logging of one VFIO device: which pages of the logged ranges the device wrote (spec/vfio.md §1.6, features 6 to 8). The
 * checks are the kernel's. A page size that logging is started with is a hint: the log counts the smallest pages that a
 * report may ask for, so that a report clears exactly what it reports.
 */

import { HarnessError } from '../../base/errors.ts';

/** A range of I/O virtual addresses (bytes). */
export interface DmaRange {
  readonly iova: number;
  readonly length: number;
}

/** Most ranges of one log: the kernel's table is one page. */
const MAX_RANGES = 256;
/** Most bytes of all ranges together: their log has one bit for each 4 KiB. */
const MAX_LOGGED_BYTES = 2 ** 44;
/** The smallest page of a report. */
const LOG_PAGE = 4096;

interface LoggedRange {
  readonly start: number;
  readonly end: number;
  /** Number of the page that bit 0 counts. */
  readonly firstPage: number;
  readonly bits: Uint8Array;
  /** No bit is set before bit `low`, nor from bit `high` on: a report looks at no more. */
  low: number;
  high: number;
}

/** The log of one device. */
export class DmaLog {
  #ranges: readonly LoggedRange[] = [];
  #isStarted = false;

  /** Throws `vfio/refused` with EINVAL, EOVERFLOW, or E2BIG for too much; `device` names the device there. */
  start(device: string, options: { pageSize: number; ranges: readonly DmaRange[] }): void {
    const refuse = refusal(device, 'DMA logging');
    if (this.#isStarted) throw refuse('EINVAL', 'logging stopped', 'logging already started');
    checkRanges(options, refuse);
    this.#isStarted = true;
    this.#ranges = options.ranges.map(({ iova, length }) => {
      const firstPage = Math.floor(iova / LOG_PAGE);
      const pageCount = Math.ceil((iova + length) / LOG_PAGE) - firstPage;
      const bits = new Uint8Array(Math.ceil(pageCount / 8));
      return { start: iova, end: iova + length, firstPage, bits, low: pageCount, high: 0 };
    });
  }

  /** Ends logging and forgets the log. */
  stop(): void {
    this.#ranges = [];
    this.#isStarted = false;
  }

  /** Whether a report would find nothing. */
  get isClean(): boolean {
    return this.#ranges.every(({ low, high }) => low >= high);
  }

  /** The device wrote these bytes. Returns whether all of them are in logged ranges. */
  record(iova: number, length: number): boolean {
    let loggedBytes = 0;
    for (const range of this.#ranges) {
      const { start, end, firstPage, bits } = range;
      const from = Math.max(iova, start);
      const to = Math.min(iova + length, end);
      if (from >= to) continue;
      loggedBytes += to - from;
      const last = Math.floor((to - 1) / LOG_PAGE) - firstPage;
      const first = Math.floor(from / LOG_PAGE) - firstPage;
      for (let bit = first; bit <= last; bit += 1) bits[bit >>> 3]! |= 1 << (bit & 7);
      range.low = Math.min(range.low, first);
      range.high = Math.max(range.high, last + 1);
    }
    return loggedBytes === length;
  }

  /**
   * Ors what was logged of `range` into `bitmap` (bit n = page n of the range; a fresh one by default), clears it from the
   * log, and returns the bitmap. Throws `vfio/refused`: then everything counts as dirty.
   */
  report(device: string, range: DmaRange & { pageSize: number }, bitmap?: Uint8Array<ArrayBuffer>) {
    const refuse = refusal(device, 'DMA log report');
    if (!this.#isStarted) throw refuse('EINVAL', 'logging started', 'logging stopped');
    const { iova, length, pageSize } = range;
    checkReport(range, refuse);
    const pageCount = length / pageSize;
    const target = bitmap ?? new Uint8Array(Math.ceil(pageCount / 8));
    if (target.length * 8 < pageCount)
      throw refuse('EINVAL', `a bit for each of ${pageCount} pages`, `${target.length} bytes`);
    for (const logged of this.#ranges) {
      const { firstPage, bits, low, high } = logged;
      const from = Math.max(low, iova / LOG_PAGE - firstPage);
      const to = Math.min(high, (iova + length) / LOG_PAGE - firstPage);
      for (let bit = from; bit < to; bit += 1) {
        if ((bit & 7) === 0 && bits[bit >>> 3] === 0) {
          bit += 7; // most pages are clean
          continue;
        }
        const mask = 1 << (bit & 7);
        if ((bits[bit >>> 3]! & mask) === 0) continue;
        bits[bit >>> 3]! &= ~mask;
        const dirty = Math.floor(((firstPage + bit) * LOG_PAGE - iova) / pageSize);
        target[dirty >>> 3]! |= 1 << (dirty & 7);
      }
      if (from === low && to === high) [logged.low, logged.high] = [bits.length * 8, 0];
    }
    return target;
  }
}

type Errno = 'EINVAL' | 'E2BIG' | 'EOVERFLOW';
type Refuse = (errno: Errno, expected: string, actual: string) => HarnessError;

function checkRanges({ pageSize, ranges }: { pageSize: number; ranges: readonly DmaRange[] }, refuse: Refuse): void {
  if (!isPowerOfTwo(pageSize)) throw refuse('EINVAL', 'a page size that is a power of two', `${pageSize}`);
  if (ranges.length === 0) throw refuse('EINVAL', 'at least one range', 'none');
  if (ranges.length > MAX_RANGES) throw refuse('E2BIG', `at most ${MAX_RANGES} ranges`, `${ranges.length}`);
  let loggedBytes = 0;
  const sorted = ranges.toSorted((a, b) => a.iova - b.iova);
  for (const [index, range] of sorted.entries()) {
    checkAddresses(range, refuse);
    if (range.length <= 0 || range.iova % pageSize !== 0 || range.length % pageSize !== 0) {
      throw refuse('EINVAL', `ranges of whole pages of ${pageSize} bytes`, describe(range));
    }
    const next = sorted[index + 1];
    if (next !== undefined && range.iova + range.length > next.iova) {
      throw refuse('EINVAL', 'ranges that do not overlap', `${describe(range)} and ${describe(next)}`);
    }
    loggedBytes += range.length;
  }
  if (loggedBytes > MAX_LOGGED_BYTES) throw refuse('E2BIG', `at most ${MAX_LOGGED_BYTES} bytes`, `${loggedBytes}`);
}

function checkReport(range: DmaRange & { pageSize: number }, refuse: Refuse): void {
  const { iova, length, pageSize } = range;
  if (!isPowerOfTwo(pageSize) || pageSize < LOG_PAGE) {
    throw refuse('EINVAL', `a page size that is a power of two from ${LOG_PAGE}`, `${pageSize}`);
  }
  checkAddresses(range, refuse);
  if (length <= 0 || iova % pageSize !== 0 || length % pageSize !== 0) {
    throw refuse('EINVAL', `a range of whole pages of ${pageSize} bytes`, describe(range));
  }
  if (length > MAX_LOGGED_BYTES) throw refuse('E2BIG', `at most ${MAX_LOGGED_BYTES} bytes`, `${length}`);
}

function checkAddresses(range: DmaRange, refuse: Refuse): void {
  const { iova, length } = range;
  if (iova >= 0 && [iova, length, iova + length].every(Number.isSafeInteger)) return;
  throw refuse('EOVERFLOW', 'addresses from 0 that are exact numbers', describe(range));
}

function isPowerOfTwo(size: number): boolean {
  return Number.isSafeInteger(size) && size > 0 && Number.isInteger(Math.log2(size));
}

function describe({ iova, length }: DmaRange): string {
  return `${length} bytes at 0x${iova.toString(16)}`;
}

function refusal(device: string, what: string): Refuse {
  return (errno, expected, actual) => new HarnessError('vfio/refused', { device, what, errno, expected, actual });
}
