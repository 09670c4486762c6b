/**
 * The work area of one receiving channel: headers of RAM packets as they arrive (spec/wire.md §5.2), and the pages of one as runs.
 * Kernels judge a header and go from table to runs, because a thread that has just started runs JavaScript slowly and WebAssembly at
 * once.
 */

import type { RamWindow } from '../../hw/ram-window.ts';
import type { PacketsKernel } from '../../threads/kernel-exports.ts';
import { native } from '../../threads/native.ts';
import type { PinnedBytes, Segments } from '../../threads/segments.ts';
import { LIMITS } from '../../wire/limits.ts';
import { RAM_PACKET_OFFSET as AT, PACKET_PAGES, RAM_PACKET_BYTES } from '../../wire/multifd.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { PageRuns } from './page-runs.ts';

/** Headers that are read ahead where no data stand between them. */
const HEADERS = 16;
/** Bytes of them. */
export const AHEAD_BYTES = HEADERS * RAM_PACKET_BYTES;
const NAME_BYTES = AT.TABLE - AT.RAM_BLOCK;
/** Byte offsets in the area. */
const AREA = { HEADERS: 0, NAME: AHEAD_BYTES, RUNS: AHEAD_BYTES + NAME_BYTES } as const;
const TABLE_ENTRY_BYTES = 8;

/** See the header. Places of headers are offsets in `bytes`. */
export class PacketTable implements PinnedBytes, PageRuns {
  readonly #memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  readonly #kernels = new Map<RamWindow, PacketsKernel>();
  /** Pairs of first page and number of pages. */
  readonly #runs = new Uint32Array(this.#memory.buffer, AREA.RUNS, 2 * PACKET_PAGES);
  readonly #name = new Uint8Array(this.#memory.buffer, AREA.NAME, NAME_BYTES);
  /** Headers and tables. */
  readonly bytes = new Uint8Array(this.#memory.buffer, AREA.HEADERS, AHEAD_BYTES);
  readonly view = new DataView(this.#memory.buffer, AREA.HEADERS, AHEAD_BYTES);
  readonly address = native?.addressOf(this.bytes) ?? 0;
  #window: RamWindow | undefined;
  #kernel: PacketsKernel | undefined;
  #runCount = 0;

  /** The block of the packets from now on, which their headers name so. */
  setBlock(window: RamWindow, field: Uint8Array): void {
    this.#window = window;
    this.#kernel = this.#kernels.get(window) ?? window.packetsKernel(this.#memory);
    this.#kernels.set(window, this.#kernel);
    this.#name.set(field);
  }

  /** The block that was set last. */
  get block(): RamWindow | undefined {
    return this.#window;
  }

  /** Whether nothing is wrong with the header of a packet of that block, with pages in this method's way. */
  isUsual(header: number, method: number): boolean {
    return this.#kernel?.isUsual(header, method, AREA.NAME, LIMITS.MULTIFD_PACKET_BYTES) === 1;
  }

  /**
   * Takes `count` offsets of a header's table from entry `first` on as runs. Returns the index of the first entry that is no page of the
   * block; undefined when all are.
   */
  read(header: number, first: number, count: number): number | undefined {
    const table = header + AT.TABLE + first * TABLE_ENTRY_BYTES;
    const found = this.#kernel!.runsOfTable(table, count, this.#window!.length, AREA.RUNS);
    this.#runCount = Math.max(0, found);
    return found < 0 ? first - 1 - found : undefined;
  }

  /** Stores the runs as zero pages. */
  storeZero(): void {
    const { writtenOffset, dirtyOffset } = this.#window!;
    this.#kernel!.storeZero(AREA.RUNS, this.#runCount, writtenOffset, dirtyOffset);
  }

  /** Records that the pages of the runs may hold data from now on. */
  markLoaded(): void {
    this.#kernel!.markWritten(AREA.RUNS, this.#runCount, this.#window!.writtenOffset);
  }

  get runCount(): number {
    return this.#runCount;
  }

  get totalPages(): number {
    let pages = 0;
    for (let run = 0; run < this.#runCount; run++) pages += this.pageCount(run);
    return pages;
  }

  firstPage(run: number): number {
    return this.#runs[run * 2]!;
  }

  pageCount(run: number): number {
    return this.#runs[run * 2 + 1]!;
  }

  /** Stores what `take` puts into the first pages, as far as it goes, and adds what is left of them. */
  addTo(segments: Segments, take: (target: Uint8Array) => number): void {
    const window = this.#window!;
    let isTaken = true;
    for (let run = 0; run < this.#runCount; run++) {
      const start = this.firstPage(run) * PAGE_SIZE;
      const length = this.pageCount(run) * PAGE_SIZE;
      const taken: number = isTaken ? take(window.bytes.subarray(start, start + length)) : 0;
      isTaken = taken === length;
      if (!isTaken) segments.add(window, start + taken, length - taken);
    }
  }
}
