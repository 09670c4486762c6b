/**
 * Makes the packets of one sending channel (spec/wire.md §5.2): headers and tables in a buffer of its own, the pages where
 * they are in guest RAM. Zero pages are found here when `detectZero` says so, and go into the tables behind the others.
 */

import type { RamWindow } from '../../hw/ram-window.ts';
import { type GatherList, pinned, Segments } from '../../threads/segments.ts';
import type { Tally } from '../../threads/tally.ts';
import {
  RAM_PACKET_OFFSET as AT,
  MULTIFD_FLAG,
  MULTIFD_MAGIC,
  MULTIFD_METHOD,
  MULTIFD_VERSION,
  PACKET_PAGES,
  RAM_PACKET_BYTES,
} from '../../wire/multifd.ts';
import type { PageCompressor } from './compression.ts';
import { BATCH_PACKETS, PacketBatch } from './packet-batch.ts';
import { STORED_SEGMENTS } from './stored-pages.ts';

const LOW = 2 ** 32;

/** Makes one channel's packets: `begin`, then `next` until there is nothing left. */
export class PacketWriter {
  readonly #windows: readonly RamWindow[];
  readonly #compressor: PageCompressor | undefined;
  readonly #detectZero: boolean;
  readonly #numbers: Tally;
  readonly #batch = new PacketBatch();
  readonly #headers: DataView;
  readonly #sync = pinned(RAM_PACKET_BYTES);
  readonly #segments: Segments;
  #block: RamWindow | undefined;
  /** Packets of the batch that `next` gave so far. */
  #given = 0;
  /** Pages of what `next` gave last. */
  normalPages = 0;
  zeroPages = 0;

  /** `numbers` counts the packets of all channels together. `oldLayout` is that of QEMU up to 8.2. */
  constructor(options: {
    windows: readonly RamWindow[];
    /** Undefined when pages go as they are. */
    compressor: PageCompressor | undefined;
    detectZero: boolean;
    oldLayout: boolean;
    numbers: Tally;
  }) {
    this.#windows = options.windows;
    this.#compressor = options.compressor;
    this.#detectZero = options.detectZero;
    this.#numbers = options.numbers;
    this.#segments = new Segments(1 + (options.compressor === undefined ? 0 : STORED_SEGMENTS));
    this.#headers = new DataView(this.#batch.bytes.buffer, this.#batch.bytes.byteOffset, this.#batch.bytes.length);
    const flags = options.compressor?.method ?? MULTIFD_METHOD.none;
    for (let packet = 0; packet < BATCH_PACKETS; packet++) {
      begin(this.#headers, packet * RAM_PACKET_BYTES, flags, PACKET_PAGES);
    }
    begin(new DataView(this.#sync.bytes.buffer), 0, MULTIFD_FLAG.SYNC, options.oldLayout ? PACKET_PAGES : 0);
  }

  /** Takes `count` pages from `list`, all of one block, at most BATCH_PAGES. */
  begin(blockIndex: number, list: Uint32Array, count: number): void {
    const block = this.#windows[blockIndex]!;
    if (block !== this.#block) this.#name(block);
    const number = this.#numbers.add(0, Math.ceil(count / PACKET_PAGES));
    this.#batch.fill(block, list, count, { detectZero: this.#detectZero, number });
    this.#given = 0;
  }

  /** What is to be written next, valid until the next call; undefined when all has been given. */
  next(): GatherList | undefined {
    const batch = this.#batch;
    if (this.#given === batch.packetCount) return undefined;
    if (this.#compressor !== undefined) return this.#nextCompressed(this.#compressor);
    this.#given = batch.packetCount;
    this.normalPages = batch.normalPages;
    this.zeroPages = batch.zeroPages;
    return batch.gather();
  }

  /** The packet that asks the other side to wait for all channels. */
  sync(): GatherList {
    setNumber(new DataView(this.#sync.bytes.buffer), 0, this.#numbers.add(0, 1));
    this.#segments.reset();
    this.#segments.add(this.#sync, 0, RAM_PACKET_BYTES);
    return this.#segments;
  }

  /** Packets up to the next with data: what a compressor made is valid until it makes the next. */
  #nextCompressed(compressor: PageCompressor): Segments {
    const batch = this.#batch;
    const segments = this.#segments;
    segments.reset();
    this.normalPages = 0;
    this.zeroPages = 0;
    while (this.#given < batch.packetCount && this.normalPages === 0) {
      const packet = this.#given++;
      batch.show(packet);
      batch.addHeader(segments, packet);
      const before = segments.byteLength;
      compressor.add(segments, this.#block!, batch);
      this.#headers.setUint32(packet * RAM_PACKET_BYTES + AT.DATA_BYTES, segments.byteLength - before);
      this.normalPages += batch.totalPages;
      this.zeroPages += batch.shownZeroPages;
    }
    return segments;
  }

  #name(block: RamWindow): void {
    this.#block = block;
    const name = Buffer.from(block.name);
    for (let packet = 0; packet < BATCH_PACKETS; packet++) {
      const at = packet * RAM_PACKET_BYTES;
      const field = this.#batch.bytes.subarray(at + AT.RAM_BLOCK, at + AT.TABLE);
      field.fill(0);
      field.set(name);
    }
  }
}

/** Fields that are the same in all packets of a kind. */
function begin(view: DataView, at: number, flags: number, pagesAlloc: number): void {
  view.setUint32(at + AT.MAGIC, MULTIFD_MAGIC);
  view.setUint32(at + AT.VERSION, MULTIFD_VERSION);
  view.setUint32(at + AT.FLAGS, flags);
  view.setUint32(at + AT.PAGES_ALLOC, pagesAlloc);
}

function setNumber(view: DataView, at: number, number: number): void {
  view.setUint32(at + AT.PACKET_NUMBER, Math.floor(number / LOW));
  view.setUint32(at + AT.PACKET_NUMBER + 4, number % LOW);
}
