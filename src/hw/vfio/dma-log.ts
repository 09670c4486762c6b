/**
 * DMA logging of one VFIO device: which pages of the logged ranges the device wrote (spec/vfio.md §1.6, features 6 to 8). The
 * checks are the kernel's.
 */

import { HarnessError } from '../../base/errors.ts';

/** A range of I/O virtual addresses (bytes). */
export interface DmaRange {
  readonly iova: number;
  readonly length: number;
}

/** Most ranges of one log: the kernel's table is one page. */
const MAX_RANGES = 256;
const MIN_PAGE = 4096;

interface LoggedRange extends DmaRange {
  readonly bits: Uint8Array;
}

/** The log of one device; bits count pages of the page size that logging was started with. */
export class DmaLog {
  #ranges: readonly LoggedRange[] = [];
  #pageSize = 0;

  /** Throws `vfio/refused` with EINVAL, or E2BIG for too many ranges; `device` names the device there. */
  start(device: string, options: { pageSize: number; ranges: readonly DmaRange[] }): void {
    const refuse = refusal(device, 'DMA logging');
    const { pageSize, ranges } = options;
    if (this.#pageSize !== 0) throw refuse('EINVAL', 'logging stopped', 'logging already started');
    if (!isPageSize(pageSize)) throw refuse('EINVAL', 'a page size that is a power of two', `${pageSize}`);
    if (ranges.length === 0) throw refuse('EINVAL', 'at least one range', 'none');
    if (ranges.length > MAX_RANGES) throw refuse('E2BIG', `at most ${MAX_RANGES} ranges`, `${ranges.length}`);
    const sorted = ranges.toSorted((a, b) => a.iova - b.iova);
    for (const [index, range] of sorted.entries()) {
      if (range.length <= 0 || range.iova % pageSize !== 0 || range.length % pageSize !== 0) {
        throw refuse('EINVAL', `ranges of whole pages of ${pageSize} bytes`, describe(range));
      }
      const next = sorted[index + 1];
      if (next !== undefined && range.iova + range.length > next.iova) {
        throw refuse('EINVAL', 'ranges that do not overlap', `${describe(range)} and ${describe(next)}`);
      }
    }
    this.#pageSize = pageSize;
    this.#ranges = sorted.map((range) => ({ ...range, bits: new Uint8Array(Math.ceil(range.length / pageSize / 8)) }));
  }

  /** Ends logging and forgets the log. */
  stop(): void {
    this.#ranges = [];
    this.#pageSize = 0;
  }

  /** The device wrote these bytes. */
  record(iova: number, length: number): void {
    for (const range of this.#ranges) {
      const start = Math.max(iova, range.iova);
      const end = Math.min(iova + length, range.iova + range.length);
      for (let at = start - (start % this.#pageSize); at < end; at += this.#pageSize) {
        const page = (at - range.iova) / this.#pageSize;
        range.bits[page >>> 3]! |= 1 << (page & 7);
      }
    }
  }

  /** Ors what was logged of `range` into `bitmap` and clears it. Throws `vfio/refused`: then everything counts as dirty. */
  report(device: string, range: DmaRange & { pageSize: number }, bitmap: Uint8Array): void {
    const refuse = refusal(device, 'DMA log report');
    const { iova, length, pageSize } = range;
    if (this.#pageSize === 0) throw refuse('EINVAL', 'logging started', 'logging stopped');
    if (!isPageSize(pageSize) || pageSize < MIN_PAGE) {
      throw refuse('EINVAL', `a page size that is a power of two from ${MIN_PAGE}`, `${pageSize}`);
    }
    if (length <= 0 || iova % pageSize !== 0 || bitmap.length * 8 < Math.ceil(length / pageSize)) {
      throw refuse('EINVAL', 'a range of whole pages and a bit for each', `${describe(range)}, ${bitmap.length} bytes`);
    }
    for (const logged of this.#ranges) {
      const start = Math.max(iova, logged.iova);
      const end = Math.min(iova + length, logged.iova + logged.length);
      for (let at = start - (start % this.#pageSize); at < end; at += this.#pageSize) {
        const page = (at - logged.iova) / this.#pageSize;
        const mask = 1 << (page & 7);
        if ((logged.bits[page >>> 3]! & mask) === 0) continue;
        logged.bits[page >>> 3]! &= ~mask;
        for (let dirty = Math.max(at, iova); dirty < at + this.#pageSize && dirty < end; dirty += pageSize) {
          const bit = Math.floor((dirty - iova) / pageSize);
          bitmap[bit >>> 3]! |= 1 << (bit & 7);
        }
      }
    }
  }
}

function isPageSize(size: number): boolean {
  return Number.isInteger(size) && size > 0 && (size & (size - 1)) === 0;
}

function describe({ iova, length }: DmaRange): string {
  return `${length} bytes at 0x${iova.toString(16)}`;
}

function refusal(device: string, what: string) {
  return (errno: 'EINVAL' | 'E2BIG', expected: string, actual: string) =>
    new HarnessError('vfio/refused', { device, what, errno, expected, actual });
}
