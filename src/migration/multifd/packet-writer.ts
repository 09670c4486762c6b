/**
 * Makes the packets of one sending channel (spec/wire.md §5.2): header and table in a buffer of its own, the pages where
 * they are in guest RAM. Zero pages are found here when `detectZero` says so, and go into the table behind the others.
 */

import type { RamWindow } from '../../hw/ram-window.ts';
import { Segments } from '../../threads/segments.ts';
import type { Tally } from '../../threads/tally.ts';
import {
  RAM_PACKET_OFFSET as AT,
  MULTIFD_FLAG,
  MULTIFD_MAGIC,
  MULTIFD_VERSION,
  PACKET_PAGES,
  RAM_PACKET_BYTES,
} from '../../wire/multifd.ts';
import type { PageCompressor } from './compression.ts';
import { PacketTable } from './packet-table.ts';
import { STORED_SEGMENTS } from './stored-pages.ts';

const LOW = 2 ** 32;

/** Makes one channel's packets; each is valid until the next is made. */
export class PacketWriter {
  readonly #windows: readonly RamWindow[];
  readonly #compressor: PageCompressor;
  readonly #detectZero: boolean;
  readonly #syncPagesAlloc: number;
  readonly #numbers: Tally;
  /** Header and table. */
  readonly #table = new PacketTable();
  readonly #segments = new Segments(1 + STORED_SEGMENTS);
  #block: RamWindow | undefined;
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
    this.#table.view.setUint32(AT.MAGIC, MULTIFD_MAGIC);
    this.#table.view.setUint32(AT.VERSION, MULTIFD_VERSION);
  }

  /** A packet of the `count` pages in `list`, all of one block. */
  pages(blockIndex: number, list: Uint32Array, count: number): Segments {
    const block = this.#windows[blockIndex]!;
    this.#name(block);
    const normal = this.#table.fill(block, list, count, this.#detectZero);
    const segments = this.#segments;
    segments.reset();
    segments.add(this.#table, 0, RAM_PACKET_BYTES);
    this.#compressor.add(segments, block, this.#table);
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
    this.#table.clear();
    this.#fields({ flags: MULTIFD_FLAG.SYNC, pagesAlloc: this.#syncPagesAlloc, normal: 0, zero: 0, dataBytes: 0 });
    this.#segments.reset();
    this.#segments.add(this.#table, 0, RAM_PACKET_BYTES);
    return this.#segments;
  }

  #fields(packet: { flags: number; pagesAlloc: number; normal: number; zero: number; dataBytes: number }): void {
    const { view } = this.#table;
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
    const field = this.#table.bytes.subarray(AT.RAM_BLOCK, AT.TABLE);
    field.fill(0);
    if (block !== undefined) field.set(Buffer.from(block.name));
  }
}
