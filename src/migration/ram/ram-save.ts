/** Sends RAM: the block list, then pages in passes (spec/wire.md §4.2, §4.3; spec/control.md §7.1). */

import type { RamBlock } from '../../hw/ram.ts';
import { PAGE_SIZE, RAM_FLAG } from '../../wire/ram.ts';
import { ByteWriter } from '../../wire/writer.ts';
import type { ByteSink } from '../transport/channel.ts';

/** Data pages per batch: small enough to stay in the cache between the zero scan and the kernel's copy. */
const BATCH_PAGES = 128;
/** Bytes of the end marker; QEMU's counters have those of PART sections, not the last one. */
export const EOS_BYTES = 8;

/** Page counts and record bytes of one part of the RAM section. */
export interface RamPart {
  normalPages: number;
  zeroPages: number;
  /** Bytes of RAM records, without the end marker. */
  recordBytes: number;
}

/** The sending side of the `ram` section. Blocks are listed, and scanned, longest first. */
export class RamSaver {
  readonly blocks: readonly RamBlock[];
  readonly #sink: ByteSink;
  readonly #detectZero: boolean;
  #block = 0;
  #page = 0;

  constructor(options: { blocks: readonly RamBlock[]; sink: ByteSink; detectZero: boolean }) {
    this.blocks = options.blocks.toSorted((a, b) => b.length - a.length);
    this.#sink = options.sink;
    this.#detectZero = options.detectZero;
  }

  /** Bytes of all blocks. */
  get totalBytes(): number {
    return this.blocks.reduce((sum, block) => sum + block.length, 0);
  }

  /** Bytes that are known to be dirty and not sent. */
  get pendingBytes(): number {
    return this.blocks.reduce((sum, block) => sum + block.pendingPages, 0) * PAGE_SIZE;
  }

  /** Starts the first pass: every page is pending. */
  begin(): void {
    for (const block of this.blocks) block.beginSave();
  }

  /** Collects dirty bits; returns the number of pages that became pending. */
  sync(): number {
    return this.blocks.reduce((sum, block) => sum + block.syncDirty(), 0);
  }

  /** Ends a migration: pages that were not sent are dirty again. */
  end(): void {
    for (const block of this.blocks) block.endSave();
  }

  /** The payload of SECTION_START: the block list. */
  setupPayload(): Uint8Array {
    const writer = new ByteWriter().u64(BigInt(this.totalBytes) | BigInt(RAM_FLAG.MEM_SIZE));
    for (const block of this.blocks) writer.text8(block.name).u64(BigInt(block.length));
    return writer.u64(BigInt(RAM_FLAG.EOS)).take();
  }

  /**
   * Sends pages until none is pending or `pagesAllowed` (asked before every batch) answers 0, then the end marker. The
   * scan goes on where the last part stopped.
   */
  async sendPart(pagesAllowed: (part: RamPart) => number | Promise<number>): Promise<RamPart> {
    const part: RamPart = { normalPages: 0, zeroPages: 0, recordBytes: 0 };
    while (this.pendingBytes > 0) {
      const block = this.blocks[this.#block]!;
      const firstPage = block.nextPending(this.#page);
      if (firstPage >= block.pageCount) {
        this.#nextBlock();
        continue;
      }
      const answer = pagesAllowed(part);
      const maxPages = Math.min(BATCH_PAGES, typeof answer === 'number' ? answer : await answer);
      if (maxPages <= 0) break;
      const { nextPage, batch } = block.takePages({ firstPage, maxPages, detectZero: this.#detectZero });
      this.#page = nextPage;
      await this.#sink.writeBatch(batch);
      part.normalPages += batch.normalPages;
      part.zeroPages += batch.zeroPages;
      part.recordBytes += batch.byteLength;
    }
    await this.#sink.write(new ByteWriter().u64(BigInt(RAM_FLAG.EOS)).take());
    return part;
  }

  #nextBlock(): void {
    this.#page = 0;
    this.#block = (this.#block + 1) % this.blocks.length;
    if (this.blocks.length > 1) this.blocks[this.#block]!.forgetBlockName();
  }
}
