/**
 * Sends RAM over multifd channels (spec/wire.md §5, spec/control.md §7.8). Here pages are only taken, listed and handed to
 * channels; the main channel carries the block list, sync records and end markers, and with `legacy` detection zero
 * pages. Within one pass no page is taken twice; the sync between passes keeps an old copy from overtaking a new one.
 */

import type { RamBlock } from '../../hw/ram.ts';
import { PACKET_PAGES } from '../../wire/multifd.ts';
import { PAGE_SIZE, RAM_FLAG } from '../../wire/ram.ts';
import { ByteWriter } from '../../wire/writer.ts';
import { endMarker, type PagesAllowed, type RamPart, RamSender } from '../ram/ram-sender.ts';
import type { ByteSink } from '../transport/channel.ts';
import { BATCH_PAGES } from './packet-batch.ts';

/** A batch is no more than what would give each channel so many of what is left. */
const TURNS_LEFT = 4;

/** Channels as this side of RAM sees them. */
export interface PageChannels {
  /** How many channels there are. */
  readonly count: number;
  /** Bytes of packets that were handed over and may still be sent, at most. */
  readonly queuedBytes: number;
  /** Waits until a channel has room for a batch of packets. */
  room(): Promise<void>;
  /** Hands the first `count` pages of the list, at most BATCH_PAGES, to the next channel with room; waits until there is one. */
  sendPages(blockIndex: number, list: Uint32Array, count: number): Promise<void>;
  /** Waits until a channel has sent a packet, if any has one to send. */
  progress(): Promise<void>;
  /** Makes every channel say SYNC; resolves when all have. */
  sync(): Promise<void>;
  /** Pages that all channels sent so far. */
  sent(): { normalPages: number; zeroPages: number };
}

/** Full pages on channels. */
export class MultifdRamSaver extends RamSender {
  readonly #sink: ByteSink;
  readonly #channels: PageChannels;
  readonly #detectZeroHere: boolean;
  readonly #flushEachSection: boolean;
  readonly #scratch = new Uint32Array(BATCH_PAGES);
  /** Pages went out since the last sync, on whatever channel. */
  #unsynced = false;
  #counted = { normalPages: 0, zeroPages: 0 };

  constructor(options: {
    blocks: readonly RamBlock[];
    sink: ByteSink;
    channels: PageChannels;
    /** `zero-page-detection=legacy`: zero pages are found here and go over the main channel. */
    detectZeroHere: boolean;
    /** The style of machine types up to 8.0: every section's end marker counts as sync record. */
    flushEachSection: boolean;
    ignoreShared: boolean;
  }) {
    super(options.blocks, options);
    this.#sink = options.sink;
    this.#channels = options.channels;
    this.#detectZeroHere = options.detectZeroHere;
    this.#flushEachSection = options.flushEachSection;
  }

  async sendSetup(): Promise<void> {
    await this.#sink.write(this.blockList().take());
    await this.#synchronize();
    await this.#sink.write(endMarker());
  }

  async sendPart(pagesAllowed: PagesAllowed, isLast: boolean): Promise<RamPart> {
    const part: RamPart = { normalPages: 0, zeroPages: 0, recordBytes: 0 };
    while (this.pendingBytes > 0) {
      const { block, page } = this.place;
      if (page >= block.pageCount || block.nextPending(page) >= block.pageCount) {
        await this.#nextBlock();
        continue;
      }
      const limit = await this.#allowance(pagesAllowed, part);
      if (limit <= 0) break;
      await this.#handOver(Math.min(this.#share(), limit), part);
    }
    const passEnds = this.pendingBytes === 0 && this.#unsynced;
    if (isLast || passEnds || this.#flushEachSection) await this.#synchronize();
    await this.#sink.write(endMarker());
    this.#count(part);
    return part;
  }

  /** Pages of a batch: fewer towards the end of a pass, so that all channels come to it at about the same time. */
  #share(): number {
    const turns = this.#channels.count * TURNS_LEFT * PACKET_PAGES;
    const packets = Math.ceil(this.pendingBytes / PAGE_SIZE / turns);
    return Math.min(BATCH_PAGES, packets * PACKET_PAGES);
  }

  /** What is allowed, less what waits in the lanes and is not in anybody's count of bytes yet. */
  async #allowance(pagesAllowed: PagesAllowed, part: RamPart): Promise<number> {
    for (;;) {
      const answer = pagesAllowed(part);
      const allowed = typeof answer === 'number' ? answer : await answer;
      const { queuedBytes } = this.#channels;
      if (allowed <= 0 || queuedBytes === 0 || allowed === Number.POSITIVE_INFINITY) return allowed;
      const left = allowed - Math.ceil(queuedBytes / PAGE_SIZE);
      if (left > 0) return left;
      await this.#channels.progress();
    }
  }

  async #handOver(limit: number, part: RamPart): Promise<void> {
    const { block, blockIndex, page } = this.place;
    await this.#channels.room();
    const list = this.#scratch;
    const taken = block.takeList(page, limit, list);
    this.scanned(taken < limit ? block.pageCount : (list[taken - 1]! & 0x7fff_ffff) + 1);
    let count = taken;
    if (this.#detectZeroHere) {
      const { left, zeros } = block.splitZeroPages(list, taken);
      count = left;
      part.zeroPages += zeros.zeroPages;
      part.recordBytes += zeros.byteLength;
      if (zeros.zeroPages > 0) await this.#sink.writeBatch(zeros);
    }
    this.#unsynced = true;
    if (count > 0) await this.#channels.sendPages(blockIndex, list, count);
  }

  async #nextBlock(): Promise<void> {
    const isWrap = this.nextBlock();
    if (isWrap && this.#unsynced && !this.#flushEachSection) await this.#synchronize();
  }

  /** Every channel says SYNC; the record on the main channel, or the end marker that follows, tells what to wait for. */
  async #synchronize(): Promise<void> {
    await this.#channels.sync();
    this.#unsynced = false;
    if (this.#flushEachSection) return;
    await this.#sink.write(new ByteWriter().u64(BigInt(RAM_FLAG.MULTIFD_FLUSH)).take());
    await this.#sink.flush(); // channels stand still at the other side until it arrives
  }

  /** What the channels sent since the last part. */
  #count(part: RamPart): void {
    const { normalPages, zeroPages } = this.#channels.sent();
    part.normalPages += normalPages - this.#counted.normalPages;
    part.zeroPages += zeroPages - this.#counted.zeroPages;
    this.#counted = { normalPages, zeroPages };
  }
}
