/**
 * Sends RAM over the main channel with deltas (spec/wire.md §4.4): the first pass in full, and from the second on each page
 * as what changed since it was sent, if it is still in the cache.
 */

import { type RamBlock, UNWRITTEN_PAGE } from '../../hw/ram.ts';
import { PAGE_SIZE, RAM_FLAG } from '../../wire/ram.ts';
import type { ByteSink } from '../transport/channel.ts';
import { RamSaver } from './ram-save.ts';
import { endMarker, type PagesAllowed, type RamPart } from './ram-sender.ts';
import { RECORD_WORD_BYTES, RecordWriter } from './record-writer.ts';
import { XbzrleCache } from './xbzrle-cache.ts';

/** Pages that are taken at once; between two such batches the caller is asked. */
const BATCH_PAGES = 128;
/** The only encoding there is. */
const XBZRLE_ENCODING = 1;

/** What query-migrate tells about the cache; the units are QEMU's (spec/control.md §5.3). */
export interface XbzrleCounters {
  /** Hits. */
  pages: number;
  /** Of deltas, without the first word of each record; a page for each overflow. */
  bytes: number;
  misses: number;
  overflows: number;
  /** Pages sent in whatever way since deltas began. */
  handled: number;
}

/** See the header. */
export class XbzrleRamSaver extends RamSaver {
  readonly counters: XbzrleCounters = { pages: 0, bytes: 0, misses: 0, overflows: 0, handled: 0 };
  readonly #sink: ByteSink;
  readonly #detectZero: boolean;
  readonly #cache: XbzrleCache;
  readonly #firstPages: readonly number[];
  readonly #list = new Uint32Array(BATCH_PAGES);
  readonly #records: RecordWriter;
  #active = false;
  /** Counts syncs, as dirty-sync-count does. */
  #age = 1;

  /** `cacheBytes`: the parameter xbzrle-cache-size. */
  constructor(options: {
    blocks: readonly RamBlock[];
    sink: ByteSink;
    detectZero: boolean;
    ignoreShared: boolean;
    cacheBytes: bigint;
  }) {
    super(options);
    this.#sink = options.sink;
    this.#records = new RecordWriter(options.sink);
    this.#detectZero = options.detectZero;
    const starts: number[] = [];
    let ramPages = 0;
    for (const block of this.blocks) {
      starts.push(ramPages);
      ramPages += block.pageCount;
    }
    this.#firstPages = starts;
    this.#cache = new XbzrleCache({ bytes: options.cacheBytes, ramPages });
  }

  override async sendPart(pagesAllowed: PagesAllowed, isLast: boolean): Promise<RamPart> {
    if (!this.#active) {
      const first = await super.sendPart(pagesAllowed, isLast);
      this.#active ||= this.pendingBytes === 0;
      return first;
    }
    const part: RamPart = { normalPages: 0, zeroPages: 0, recordBytes: 0 };
    while (this.pendingBytes > 0) {
      const { block, page } = this.place;
      if (page >= block.pageCount || block.nextPending(page) >= block.pageCount) {
        this.nextBlock();
        continue;
      }
      const limit = Math.min(BATCH_PAGES, await pagesAllowed(part));
      if (limit <= 0) break;
      await this.#batch(limit, isLast, part);
    }
    await this.#sink.write(endMarker());
    return part;
  }

  override sync(): number {
    this.#age += 1;
    return super.sync();
  }

  /** From the first wrap on, what comes was sent before; this part is still sent in full. */
  protected override nextBlock(): boolean {
    const isWrap = super.nextBlock();
    this.#active ||= isWrap;
    return isWrap;
  }

  async #batch(limit: number, isLast: boolean, part: RamPart): Promise<void> {
    const { block, blockIndex, page } = this.place;
    const list = this.#list;
    const count = block.takeList(page, limit, list);
    this.scanned(count < limit ? block.pageCount : (list[count - 1]! & ~UNWRITTEN_PAGE) + 1);
    for (let index = 0; index < count; index++) {
      const taken = list[index]! & ~UNWRITTEN_PAGE;
      part.recordBytes += await this.#send(block, taken, {
        address: this.#firstPages[blockIndex]! + taken,
        isLast,
        part,
      });
    }
  }

  /** Sends one page as whatever it has become; returns the bytes of its record. */
  async #send(
    block: RamBlock,
    page: number,
    { address, isLast, part }: { address: number; isLast: boolean; part: RamPart },
  ): Promise<number> {
    const { counters } = this;
    const start = page * PAGE_SIZE;
    const age = this.#age;
    counters.handled += 1;
    if (this.#detectZero && block.isZeroPage(page)) {
      part.zeroPages += 1;
      if (!isLast) this.#cache.insertZero(address, age);
      return this.#records.writeZero(block, start);
    }
    const found = this.#cache.lookUp(address, block.bytes.subarray(start, start + PAGE_SIZE), { age, isLast });
    if (found.kind === 'miss') counters.misses += 1;
    else counters.pages += 1;
    if (found.kind === 'identical') return 0;
    if (found.kind === 'delta') {
      const { delta } = found;
      const head = Uint8Array.of(XBZRLE_ENCODING, delta.length >> 8, delta.length & 0xff);
      const bytes = await this.#records.write(block, start, RAM_FLAG.XBZRLE, head, delta);
      counters.bytes += bytes - RECORD_WORD_BYTES;
      return bytes;
    }
    if (found.kind === 'overflow') {
      counters.overflows += 1;
      counters.bytes += PAGE_SIZE;
    }
    part.normalPages += 1;
    return this.#records.write(block, start, RAM_FLAG.PAGE, this.#cache.current);
  }
}
