/**
 * Makes the packets of one sending channel (spec/wire.md §5.2): header and table in a buffer of its own, the pages where
 * they are in guest RAM. Zero pages are found here when `detectZero` says so, and go into the table behind the others.
 */

import { UNWRITTEN_PAGE } from '../../hw/ram.ts';
import type { RamWindow } from '../../hw/ram-window.ts';
import { type PinnedBytes, pinned, Segments } from '../../threads/segments.ts';
import type { Tally } from '../../threads/tally.ts';
import {
  RAM_PACKET_OFFSET as AT,
  MULTIFD_FLAG,
  MULTIFD_MAGIC,
  MULTIFD_VERSION,
  PACKET_PAGES,
  RAM_PACKET_BYTES,
} from '../../wire/multifd.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { PageCompressor } from './compression.ts';

const LOW = 2 ** 32;
/** Pages per mask of the zero scan. */
const GROUP = 32;

/** Makes one channel's packets; each is valid until the next is made. */
export class PacketWriter {
  readonly #windows: readonly RamWindow[];
  readonly #compressor: PageCompressor;
  readonly #detectZero: boolean;
  readonly #syncPagesAlloc: number;
  readonly #numbers: Tally;
  readonly #header: PinnedBytes = pinned(RAM_PACKET_BYTES);
  readonly #view = new DataView(this.#header.bytes.buffer);
  readonly #segments = new Segments(PACKET_PAGES + 1);
  readonly #pages = new Uint32Array(PACKET_PAGES);
  readonly #isZero = new Uint8Array(PACKET_PAGES);
  #block: RamWindow | undefined;
  #tableEntries = 0;
  /** Pages of the last packet. */
  normalPages = 0;
  zeroPages = 0;

  /** `numbers` counts the packets of all channels together. `oldLayout` is that of QEMU up to 8.2. */
  constructor(options: {
    windows: readonly RamWindow[];
    compressor: PageCompressor;
    detectZero: boolean;
    oldLayout: boolean;
    numbers: Tally;
  }) {
    this.#windows = options.windows;
    this.#compressor = options.compressor;
    this.#detectZero = options.detectZero;
    this.#syncPagesAlloc = options.oldLayout ? PACKET_PAGES : 0;
    this.#numbers = options.numbers;
    this.#view.setUint32(AT.MAGIC, MULTIFD_MAGIC);
    this.#view.setUint32(AT.VERSION, MULTIFD_VERSION);
  }

  /** A packet of the `count` pages in `list`, all of one block. */
  pages(blockIndex: number, list: Uint32Array, count: number): Segments {
    const block = this.#windows[blockIndex]!;
    this.#name(block);
    this.#pages.set(list.subarray(0, count));
    const normal = this.#detectZero ? this.#partition(block, count) : this.#allData(count);
    this.#table(count);
    const segments = this.#segments;
    segments.reset();
    segments.add(this.#header, 0, RAM_PACKET_BYTES);
    this.#compressor.add(segments, block, this.#pages, normal);
    this.#fields({
      flags: this.#compressor.method,
      pagesAlloc: PACKET_PAGES,
      normal,
      zero: count - normal,
      dataBytes: segments.byteLength - RAM_PACKET_BYTES,
    });
    return segments;
  }

  /** The packet that asks the other side to wait for all channels. */
  sync(): Segments {
    this.#name(undefined);
    this.#table(0);
    this.#fields({ flags: MULTIFD_FLAG.SYNC, pagesAlloc: this.#syncPagesAlloc, normal: 0, zero: 0, dataBytes: 0 });
    this.#segments.reset();
    this.#segments.add(this.#header, 0, RAM_PACKET_BYTES);
    return this.#segments;
  }

  #fields(packet: { flags: number; pagesAlloc: number; normal: number; zero: number; dataBytes: number }): void {
    const view = this.#view;
    view.setUint32(AT.FLAGS, packet.flags);
    view.setUint32(AT.PAGES_ALLOC, packet.pagesAlloc);
    view.setUint32(AT.NORMAL_PAGES, packet.normal);
    view.setUint32(AT.DATA_BYTES, packet.dataBytes);
    const number = this.#numbers.add(0, 1);
    view.setUint32(AT.PACKET_NUMBER, Math.floor(number / LOW));
    view.setUint32(AT.PACKET_NUMBER + 4, number % LOW);
    view.setUint32(AT.ZERO_PAGES, packet.zero);
    this.normalPages = packet.normal;
    this.zeroPages = packet.zero;
  }

  #name(block: RamWindow | undefined): void {
    if (block === this.#block) return;
    this.#block = block;
    const field = this.#header.bytes.subarray(AT.RAM_BLOCK, AT.TABLE);
    field.fill(0);
    if (block !== undefined) field.set(Buffer.from(block.name));
  }

  #table(count: number): void {
    const view = this.#view;
    for (let index = 0; index < count; index++) {
      const offset = this.#pages[index]! * PAGE_SIZE;
      view.setUint32(AT.TABLE + index * 8, Math.floor(offset / LOW));
      view.setUint32(AT.TABLE + index * 8 + 4, offset % LOW);
    }
    if (count < this.#tableEntries) {
      this.#header.bytes.fill(0, AT.TABLE + count * 8, AT.TABLE + this.#tableEntries * 8);
    }
    this.#tableEntries = count;
  }

  #allData(count: number): number {
    for (let index = 0; index < count; index++) this.#pages[index]! &= ~UNWRITTEN_PAGE;
    return count;
  }

  /** Zero pages to the end, by exchange, as QEMU orders them; returns how many others there are. */
  #partition(block: RamWindow, count: number): number {
    this.#findZero(block, count);
    const [pages, isZero] = [this.#pages, this.#isZero];
    let left = 0;
    let right = count - 1;
    while (left <= right) {
      if (isZero[left] === 0) {
        left += 1;
        continue;
      }
      const page = pages[left]!;
      pages[left] = pages[right]!;
      pages[right] = page;
      isZero[left] = isZero[right]!;
      isZero[right] = 1;
      right -= 1;
    }
    return left;
  }

  /** Fills `#isZero`, and takes the mark of pages never written off the list. */
  #findZero(block: RamWindow, count: number): void {
    const pages = this.#pages;
    for (let start = 0, end = 0; start < count; start = end) {
      const group = (pages[start]! & ~UNWRITTEN_PAGE) >>> 5;
      let zero = 0;
      let wanted = 0;
      for (end = start; end < count && (pages[end]! & ~UNWRITTEN_PAGE) >>> 5 === group; end++) {
        const bit = 1 << (pages[end]! & (GROUP - 1));
        if (pages[end]! >= UNWRITTEN_PAGE) zero |= bit;
        else wanted |= bit;
      }
      if (wanted !== 0) zero |= block.zeroMask(group * GROUP, wanted);
      for (let at = start; at < end; at++) {
        pages[at]! &= ~UNWRITTEN_PAGE;
        this.#isZero[at] = (zero >>> (pages[at]! & (GROUP - 1))) & 1;
      }
    }
  }
}
