/**
 * The sending side of the `ram` section, whatever way pages go (spec/wire.md §4.2, §4.3): which blocks there are, what is
 * dirty, and where the scan is. Blocks are listed, and scanned, longest first.
 */

import type { RamBlock } from '../../hw/ram.ts';
import { PAGE_SIZE, RAM_FLAG } from '../../wire/ram.ts';
import { ByteWriter } from '../../wire/writer.ts';

/** Page counts and record bytes of one part of the RAM section. */
export interface RamPart {
  normalPages: number;
  zeroPages: number;
  /** Bytes of RAM records on the main channel, without the end marker. */
  recordBytes: number;
}

/** Asked before every batch: how many pages may go out now; 0 or less ends the part. */
export type PagesAllowed = (part: RamPart) => number | Promise<number>;

/** Bytes of the end marker; QEMU's counters have those of PART sections, not the last one. */
export const EOS_BYTES = 8;

/** Where a block is in its parent region: all of ours are main RAM. */
export const BLOCK_ADDRESS = 0n;

/** Sends RAM. */
export abstract class RamSender {
  readonly blocks: readonly RamBlock[];
  /** With x-ignore-shared: the list has addresses, and blocks in shared files are only listed. */
  readonly #ignoreShared: boolean;
  /** What is sent. */
  readonly #sent: readonly RamBlock[];
  #block = 0;
  #page = 0;

  constructor(blocks: readonly RamBlock[], options: { readonly ignoreShared: boolean }) {
    this.blocks = blocks.toSorted((a, b) => b.length - a.length);
    this.#ignoreShared = options.ignoreShared;
    this.#sent = options.ignoreShared ? this.blocks.filter((block) => !block.isSharedFile) : this.blocks;
  }

  /** Sends the payload of SECTION_START. */
  abstract sendSetup(): Promise<void>;

  /**
   * Sends pages until none is pending or no more are allowed, then the end marker. The scan goes on where the last part
   * stopped. `isLast`: of SECTION_END.
   */
  abstract sendPart(pagesAllowed: PagesAllowed, isLast: boolean): Promise<RamPart>;

  /** Bytes of all blocks that are sent. */
  get totalBytes(): number {
    return this.#sent.reduce((sum, block) => sum + block.length, 0);
  }

  /** Bytes that are known to be dirty and not sent. */
  get pendingBytes(): number {
    return this.blocks.reduce((sum, block) => sum + block.pendingPages, 0) * PAGE_SIZE;
  }

  /** Whether something was written since dirty bits were collected. */
  get isDirty(): boolean {
    return this.#sent.some((block) => block.isDirty);
  }

  /** Starts the first pass: every page is pending. */
  begin(): void {
    for (const block of this.#sent) block.beginSave();
  }

  /** Collects dirty bits; returns the number of pages that became pending. */
  sync(): number {
    return this.#sent.reduce((sum, block) => sum + block.syncDirty(), 0);
  }

  /** Ends a migration: pages that were not sent are dirty again. */
  end(): void {
    for (const block of this.blocks) block.endSave();
  }

  /** The block list. */
  protected blockList(): ByteWriter {
    const writer = this.listHead();
    for (const block of this.blocks) this.listEntry(writer, block);
    return writer;
  }

  /** What the list begins with: the bytes of all blocks, those included that are not sent. */
  protected listHead(): ByteWriter {
    const listed = this.blocks.reduce((sum, block) => sum + block.length, 0);
    return new ByteWriter().u64(BigInt(listed) | BigInt(RAM_FLAG.MEM_SIZE));
  }

  /** A block in the list, whatever else a format says about it behind that. */
  protected listEntry(writer: ByteWriter, block: RamBlock): void {
    writer.text8(block.name).u64(BigInt(block.length));
    if (this.#ignoreShared) writer.u64(BLOCK_ADDRESS);
  }

  /** Where the scan is: the next pending page from here on is `page` or behind it. */
  protected get place(): { block: RamBlock; blockIndex: number; page: number } {
    return { block: this.blocks[this.#block]!, blockIndex: this.#block, page: this.#page };
  }

  /** Pages below `page` of the current block are done. */
  protected scanned(page: number): void {
    this.#page = page;
  }

  /** The current block is done; true when that was the last one, and the scan begins anew. */
  protected nextBlock(): boolean {
    this.#page = 0;
    this.#block = (this.#block + 1) % this.blocks.length;
    if (this.blocks.length > 1) this.blocks[this.#block]!.forgetBlockName();
    return this.#block === 0;
  }
}

/** The end marker as bytes. */
export function endMarker(): Uint8Array {
  return new ByteWriter().u64(BigInt(RAM_FLAG.EOS)).take();
}
