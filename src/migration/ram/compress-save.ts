/**
 * Sends RAM over the main channel with each page compressed by itself, as QEMU did up to 9.0 (spec/wire.md §4.5,
 * spec/control.md §1.4). Pool threads compress some pages each; their records leave in whatever order they are done, but
 * never across the end of a pass, so that an old copy of a page cannot follow a new one.
 */

import { type RamBlock, UNWRITTEN_PAGE } from '../../hw/ram.ts';
import { type DeflatedPages, JobPool } from '../../threads/job-pool.ts';
import { PAGE_SIZE, RAM_FLAG } from '../../wire/ram.ts';
import { ByteWriter } from '../../wire/writer.ts';
import type { ByteSink } from '../transport/channel.ts';
import type { CompressionInfo } from '../vm-control.ts';
import { endMarker, type PagesAllowed, type RamPart, RamSender } from './ram-sender.ts';
import { RECORD_WORD_BYTES, RecordWriter } from './record-writer.ts';

/** Pages of one job: enough to be worth the way to a thread. */
const JOB_PAGES = 32;

/** What query-migrate tells about compression (spec/control.md §1.4). */
export interface CompressCounters {
  /** Pages sent compressed. */
  pages: number;
  /** Pages sent as they were because no thread was idle. */
  busy: number;
  /** Bytes of their records, without the first word. */
  compressedBytes: number;
}

interface Work {
  readonly block: RamBlock;
  readonly pages: Uint32Array;
  readonly done: Promise<DeflatedPages>;
  isDone: boolean;
}

/** See the header. `close` ends its threads. */
export class CompressRamSaver extends RamSender {
  readonly counters: CompressCounters = { pages: 0, busy: 0, compressedBytes: 0 };
  readonly #sink: ByteSink;
  readonly #records: RecordWriter;
  readonly #detectZero: boolean;
  readonly #level: number;
  readonly #threads: number;
  readonly #waits: boolean;
  readonly #pool: JobPool<'compress'>;
  readonly #list = new Uint32Array(JOB_PAGES);
  #working: Work[] = [];
  #current: RamBlock | undefined;

  constructor(options: {
    blocks: readonly RamBlock[];
    sink: ByteSink;
    detectZero: boolean;
    ignoreShared: boolean;
    level: number;
    threads: number;
    /** `compress-wait-thread`: with every thread busy wait for one; otherwise send pages as they are. */
    waits: boolean;
  }) {
    super(options.blocks, options);
    this.#sink = options.sink;
    this.#records = new RecordWriter(options.sink);
    this.#detectZero = options.detectZero;
    this.#level = options.level;
    this.#threads = options.threads;
    this.#waits = options.waits;
    this.#pool = new JobPool('compress', {
      threads: options.threads,
      data: this.blocks.map((block) => block.share),
    });
  }

  async close(): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
  }

  async sendSetup(): Promise<void> {
    await this.#sink.write(this.blockList().take());
    await this.#sink.write(endMarker());
  }

  async sendPart(pagesAllowed: PagesAllowed, isLast: boolean): Promise<RamPart> {
    const part: RamPart = { normalPages: 0, zeroPages: 0, recordBytes: 0 };
    while (this.pendingBytes > 0) {
      const { block, page } = this.place;
      if (page >= block.pageCount || block.nextPending(page) >= block.pageCount) {
        await this.#drain(part);
        this.nextBlock();
        continue;
      }
      const limit = Math.min(JOB_PAGES, await pagesAllowed(part));
      if (limit <= 0) break;
      await this.#take(limit, part);
    }
    if (isLast || this.pendingBytes === 0) await this.#drain(part);
    await this.#sink.write(endMarker());
    return part;
  }

  async #take(limit: number, part: RamPart): Promise<void> {
    const { block, blockIndex, page } = this.place;
    const isNew = block !== this.#current;
    if (isNew) await this.#drain(part);
    this.#current = block;
    const wanted = isNew ? 1 : limit;
    const count = block.takeList(page, wanted, this.#list);
    const pages = this.#list.slice(0, count).map((taken) => taken & ~UNWRITTEN_PAGE);
    this.scanned(count < wanted ? block.pageCount : pages[count - 1]! + 1);
    // As in QEMU, the first page of a block goes as it is, with the block's name.
    if (isNew) return this.#raw(block, pages, part);
    if (this.#working.length >= this.#threads) {
      if (!this.#waits && !this.#working.some(({ isDone }) => isDone)) {
        this.counters.busy += count;
        return this.#raw(block, pages, part);
      }
      await this.#emitNext(part);
    }
    const job = { block: blockIndex, pages, level: this.#level, detectZero: this.#detectZero };
    const work: Work = { block, pages, done: this.#pool.run(job), isDone: false };
    const ended = () => {
      work.isDone = true;
    };
    work.done.then(ended, ended); // what it failed with is looked at when its turn comes
    this.#working.push(work);
  }

  /** Everything that is being compressed goes out. */
  async #drain(part: RamPart): Promise<void> {
    while (this.#working.length > 0) await this.#emitNext(part);
  }

  /** The records of the job that is done first. */
  async #emitNext(part: RamPart): Promise<void> {
    const working = this.#working;
    const next = await Promise.race(working.map((work) => work.done.then(() => work)));
    this.#working = working.filter((work) => work !== next);
    const { bytes, lengths } = await next.done;
    let at = 0;
    for (const [index, page] of next.pages.entries()) {
      const length = lengths[index]!;
      const offset = page * PAGE_SIZE;
      if (length === 0) {
        part.zeroPages += 1;
        part.recordBytes += await this.#records.writeZero(next.block, offset);
        continue;
      }
      const head = new ByteWriter().u32(length).take();
      const stream = bytes.subarray(at, at + length);
      at += length;
      const written = await this.#records.write(next.block, offset, RAM_FLAG.COMPRESS_PAGE, head, stream);
      part.recordBytes += written;
      this.counters.pages += 1;
      this.counters.compressedBytes += written - RECORD_WORD_BYTES;
    }
  }

  async #raw(block: RamBlock, pages: Uint32Array, part: RamPart): Promise<void> {
    for (const page of pages) {
      const offset = page * PAGE_SIZE;
      if (this.#detectZero && block.isZeroPage(page)) {
        part.zeroPages += 1;
        part.recordBytes += await this.#records.writeZero(block, offset);
        continue;
      }
      part.normalPages += 1;
      const bytes = block.bytes.subarray(offset, offset + PAGE_SIZE);
      part.recordBytes += await this.#records.write(block, offset, RAM_FLAG.PAGE, bytes);
    }
  }
}

/** What query-migrate tells: counters as they are, rates of the last period. */
export class CompressRates {
  readonly #counters: CompressCounters;
  #before: CompressCounters;
  #busyRate = 0;
  #compressionRate = 0;

  constructor(counters: CompressCounters) {
    this.#counters = counters;
    this.#before = { ...counters };
  }

  /** Renews the rates, which are 0 until the first period has ended. */
  periodEnds(): void {
    const [now, before] = [this.#counters, this.#before];
    const pages = now.pages - before.pages;
    const busy = now.busy - before.busy;
    const bytes = now.compressedBytes - before.compressedBytes;
    this.#busyRate = pages === 0 ? 0 : busy / pages;
    this.#compressionRate = bytes === 0 ? 0 : ((pages - busy) * PAGE_SIZE) / bytes;
    this.#before = { ...now };
  }

  info(): CompressionInfo {
    const { pages, busy, compressedBytes } = this.#counters;
    return {
      pages,
      busy,
      'busy-rate': this.#busyRate,
      'compressed-size': compressedBytes,
      'compression-rate': this.#compressionRate,
    };
  }
}
