/**
 * The work area of one sending channel: headers and tables of a few RAM packets (spec/wire.md §5.2), and the places of everything
 * that one gathered write sends of them. A kernel makes all of it from a list of pages, because a thread that has just started runs
 * JavaScript slowly and WebAssembly at once.
 */

import type { RamWindow } from '../../hw/ram-window.ts';
import type { PacketsKernel } from '../../threads/kernel-exports.ts';
import { native } from '../../threads/native.ts';
import type { GatherList, PinnedBytes, Segments } from '../../threads/segments.ts';
import { PACKET_PAGES, RAM_PACKET_BYTES } from '../../wire/multifd.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { PageRuns } from './page-runs.ts';

/** Packets that are made at once, at most. */
export const BATCH_PACKETS = 8;
/** Pages of them. */
export const BATCH_PAGES = BATCH_PACKETS * PACKET_PAGES;

const PACKET_WORDS = 4;
/** Of a packet, in words. */
const PACKET = { NORMAL_PAGES: 0, ZERO_PAGES: 1, RUNS: 2 } as const;
const RUNS_BYTES = PACKET_PAGES * 8;
const MOST_ENTRIES = BATCH_PAGES + BATCH_PACKETS;
/** Byte offsets in the area. */
const AREA = (() => {
  const headers = 0;
  const packets = headers + BATCH_PACKETS * RAM_PACKET_BYTES;
  const pages = packets + BATCH_PACKETS * PACKET_WORDS * 4;
  const marks = pages + BATCH_PAGES * 4;
  const runs = marks + PACKET_PAGES;
  const iov = runs + BATCH_PACKETS * RUNS_BYTES;
  return { headers, packets, pages, marks, runs, iov, end: iov + MOST_ENTRIES * 16 } as const;
})();
const WASM_PAGE = 65_536;
/** What places in the area count from without native calls; those in RAM count from 0 then. */
const APART = 2 ** 46;

/** See the header. As a gather list it is all packets, headers and pages, from `gather` until the next `fill`. */
export class PacketBatch implements GatherList, PageRuns, PinnedBytes {
  readonly #memory = areaMemory();
  readonly #kernels = new Map<RamWindow, PacketsKernel>();
  readonly #pages = new Uint32Array(this.#memory.buffer, AREA.pages, BATCH_PAGES);
  readonly #packets = new Uint32Array(this.#memory.buffer, AREA.packets, BATCH_PACKETS * PACKET_WORDS);
  /** Pairs of first page and number of pages. */
  readonly #runs = new Uint32Array(this.#memory.buffer, AREA.runs, 2 * BATCH_PAGES);
  readonly #area = new Uint8Array(this.#memory.buffer);
  readonly #areaBase = native?.addressOf(this.#area) ?? APART;
  readonly entries = new BigUint64Array(this.#memory.buffer, AREA.iov, MOST_ENTRIES * 2);
  readonly iovAddress = native === undefined ? 0 : this.#areaBase + AREA.iov;
  /** All headers, one behind the other. */
  readonly bytes = this.#area.subarray(AREA.headers, AREA.headers + BATCH_PACKETS * RAM_PACKET_BYTES);
  readonly address = native === undefined ? 0 : this.#areaBase + AREA.headers;
  #window: RamWindow | undefined;
  #entryCount = 0;
  #packetCount = 0;
  #normalPages = 0;
  #zeroPages = 0;
  /** Whose runs are shown, and where they begin in `#runs`. */
  #shown = 0;
  #firstRun = 0;

  /**
   * Makes packets of the first `count` pages of `list`, at most BATCH_PAGES; the first has this number. With `detectZero` zero pages go
   * behind the others and are not sent.
   */
  fill(window: RamWindow, list: Uint32Array, count: number, options: { detectZero: boolean; number: number }): void {
    const kernel = this.#kernel(window);
    const { headers, packets, pages, marks, runs } = AREA;
    this.#pages.set(count === list.length ? list : list.subarray(0, count));
    const detectZero = options.detectZero ? 1 : 0;
    const made = kernel.makePackets(pages, count, detectZero, options.number, headers, packets, runs, marks);
    this.#window = window;
    this.#entryCount = 0;
    this.#packetCount = made;
    this.#normalPages = this.#sum(PACKET.NORMAL_PAGES);
    this.#zeroPages = this.#sum(PACKET.ZERO_PAGES);
    this.show(0);
  }

  /** Makes the entries of all packets, for pages that go as they are. */
  gather(): this {
    const { headers, packets, runs, iov } = AREA;
    const window = this.#window!;
    const kernel = this.#kernel(window);
    this.#entryCount = kernel.gather(
      this.#packetCount,
      headers,
      packets,
      runs,
      iov,
      this.#areaBase,
      window.address, // 0 without native calls
    );
    return this;
  }

  get packetCount(): number {
    return this.#packetCount;
  }

  /** Data pages of all packets. */
  get normalPages(): number {
    return this.#normalPages;
  }

  /** Zero pages of all packets. */
  get zeroPages(): number {
    return this.#zeroPages;
  }

  get entryCount(): number {
    return this.#entryCount;
  }

  get byteLength(): number {
    return this.#packetCount * RAM_PACKET_BYTES + this.#normalPages * PAGE_SIZE;
  }

  view(index: number): Uint8Array {
    const start = Number(this.entries[index * 2]!);
    const length = Number(this.entries[index * 2 + 1]!);
    const inArea = start - this.#areaBase;
    if (inArea >= 0 && inArea < WASM_PAGE) return this.#area.subarray(inArea, inArea + length);
    const window = this.#window!;
    const inRam = start - window.address;
    return window.bytes.subarray(inRam, inRam + length);
  }

  /** The runs are those of this packet from now on. */
  show(packet: number): void {
    this.#shown = packet;
    this.#firstRun = packet * PACKET_PAGES;
  }

  get runCount(): number {
    return this.#packets[this.#shown * PACKET_WORDS + PACKET.RUNS]!;
  }

  get totalPages(): number {
    return this.#packets[this.#shown * PACKET_WORDS + PACKET.NORMAL_PAGES]!;
  }

  /** Zero pages of the packet that is shown. */
  get shownZeroPages(): number {
    return this.#packets[this.#shown * PACKET_WORDS + PACKET.ZERO_PAGES]!;
  }

  firstPage(run: number): number {
    return this.#runs[(this.#firstRun + run) * 2]!;
  }

  pageCount(run: number): number {
    return this.#runs[(this.#firstRun + run) * 2 + 1]!;
  }

  /** Adds the header of one packet. */
  addHeader(segments: Segments, packet: number): void {
    segments.add(this, packet * RAM_PACKET_BYTES, RAM_PACKET_BYTES);
  }

  #sum(word: number): number {
    let sum = 0;
    for (let packet = 0; packet < this.#packetCount; packet++) sum += this.#packets[packet * PACKET_WORDS + word]!;
    return sum;
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

function areaMemory(): WebAssembly.Memory {
  const pages = Math.ceil(AREA.end / WASM_PAGE);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}
