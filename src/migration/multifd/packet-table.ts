/**
 * The work area of one receiving channel: the header and table of a RAM packet (spec/wire.md §5.2), and its pages as runs.
 * A kernel goes from one to the other, because a thread that has just started runs JavaScript slowly and
 * WebAssembly at once.
 */

import type { RamWindow } from '../../hw/ram-window.ts';
import type { PacketsKernel } from '../../threads/kernel-exports.ts';
import { native } from '../../threads/native.ts';
import type { PinnedBytes, Segments } from '../../threads/segments.ts';
import { PACKET_PAGES, RAM_PACKET_BYTES, RAM_PACKET_OFFSET } from '../../wire/multifd.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { PageRuns } from './page-runs.ts';

/** Byte offsets in the area. */
const AREA = { HEADER: 0, RUNS: 2048 } as const;
const TABLE_ENTRY_BYTES = 8;

/** See the header. */
export class PacketTable implements PinnedBytes, PageRuns {
  readonly #memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  readonly #kernels = new Map<RamWindow, PacketsKernel>();
  /** Pairs of first page and number of pages. */
  readonly #runs = new Uint32Array(this.#memory.buffer, AREA.RUNS, 2 * PACKET_PAGES);
  /** Header and table. */
  readonly bytes = new Uint8Array(this.#memory.buffer, AREA.HEADER, RAM_PACKET_BYTES);
  readonly view = new DataView(this.#memory.buffer, AREA.HEADER, RAM_PACKET_BYTES);
  readonly address = native?.addressOf(this.bytes) ?? 0;
  #runCount = 0;

  /**
   * Takes `count` offsets of a received table from entry `first` on as runs. Returns the index of the first entry that is no
   * page of the block; undefined when all are.
   */
  read(window: RamWindow, first: number, count: number): number | undefined {
    const table = RAM_PACKET_OFFSET.TABLE + first * TABLE_ENTRY_BYTES;
    const found = this.#kernel(window).runsOfTable(table, count, window.length, AREA.RUNS);
    this.#runCount = Math.max(0, found);
    return found < 0 ? first - 1 - found : undefined;
  }

  /** How many runs there are. */
  get runCount(): number {
    return this.#runCount;
  }

  /** Pages of all runs. */
  get totalPages(): number {
    let pages = 0;
    for (let run = 0; run < this.#runCount; run++) pages += this.pageCount(run);
    return pages;
  }

  /** First page of a run. */
  firstPage(run: number): number {
    return this.#runs[run * 2]!;
  }

  /** Number of pages of a run. */
  pageCount(run: number): number {
    return this.#runs[run * 2 + 1]!;
  }

  /** Adds the runs, in order. */
  addTo(segments: Segments, window: RamWindow): void {
    for (let run = 0; run < this.#runCount; run++) {
      segments.add(window, this.firstPage(run) * PAGE_SIZE, this.pageCount(run) * PAGE_SIZE);
    }
  }

  /** A kernel finds zero pages in one block only. */
  #kernel(window: RamWindow): PacketsKernel {
    const known = this.#kernels.get(window);
    if (known !== undefined) return known;
    const kernel = window.packetsKernel(this.#memory);
    this.#kernels.set(window, kernel);
    return kernel;
  }
}
