/**
 * Sends RAM to fixed offsets of a file (spec/wire.md §6): a page that gets dirty again is overwritten in place, a page
 * that became zero loses its bit. Headers and places are fixed in the setup, the bitmaps follow at the end. With multifd
 * several handles store runs of pages at the same time.
 */

import type { RamBlock } from '../../hw/ram.ts';
import { MAPPED_RAM_HEADER, MAPPED_RAM_VERSION, type MappedRamPlace, mappedRamPlace } from '../../wire/mapped-ram.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import { ByteWriter } from '../../wire/writer.ts';
import type { ByteSink, SeekableFile } from '../transport/channel.ts';
import type { PageFiles } from './page-files.ts';
import { endMarker, type PagesAllowed, type RamPart, RamSender } from './ram-sender.ts';

/** Pages of one write at most: a rate limit and a cancel are looked at between two. */
const RUN_PAGES = 256;

/** A block's part of the file, and which of its pages are there. */
interface MappedBlock {
  readonly place: MappedRamPlace;
  readonly bitmap: Uint8Array;
}

/** Pages at their places in a file; the sink is the same file's sequential bytes. */
export class MappedRamSaver extends RamSender {
  readonly #sink: ByteSink;
  readonly #file: SeekableFile;
  readonly #pages: PageFiles;
  readonly #detectZero: boolean;
  readonly #mapped = new Map<RamBlock, MappedBlock>();

  constructor(options: {
    blocks: readonly RamBlock[];
    sink: ByteSink;
    file: SeekableFile;
    pages: PageFiles;
    detectZero: boolean;
    ignoreShared: boolean;
  }) {
    super(options.blocks, options);
    this.#sink = options.sink;
    this.#file = options.file;
    this.#pages = options.pages;
    this.#detectZero = options.detectZero;
  }

  async sendSetup(): Promise<void> {
    await this.#sink.write(this.listHead().take());
    for (const block of this.blocks) {
      const entry = new ByteWriter();
      this.listEntry(entry, block);
      await this.#sink.write(entry.take());
      await this.#sendHeader(block);
    }
    await this.#sink.write(endMarker());
  }

  /** Writes a block's header where the stream is, and lets the stream go on behind the block's pages. */
  async #sendHeader(block: RamBlock): Promise<void> {
    await this.#sink.flush();
    const place = mappedRamPlace(this.#file.position, block.length);
    this.#mapped.set(block, { place, bitmap: new Uint8Array(place.bitmapBytes) });
    const header = {
      version: MAPPED_RAM_VERSION,
      page_size: BigInt(PAGE_SIZE),
      bitmap_offset: BigInt(place.bitmapOffset),
      pages_offset: BigInt(place.pagesOffset),
    };
    await this.#sink.write(MAPPED_RAM_HEADER.encode(header));
    await this.#sink.flush();
    this.#file.seek(place.endOffset);
  }

  async sendPart(pagesAllowed: PagesAllowed, isLast: boolean): Promise<RamPart> {
    const part: RamPart = { normalPages: 0, zeroPages: 0, recordBytes: 0 };
    while (this.pendingBytes > 0) {
      const { block, page } = this.place;
      const firstPage = block.nextPending(page);
      if (firstPage >= block.pageCount) {
        this.nextBlock();
        continue;
      }
      const maxPages = Math.min(RUN_PAGES, await pagesAllowed(part));
      if (maxPages <= 0) break;
      this.scanned(await this.#storePages(block, { firstPage, maxPages, part }));
    }
    await this.#pages.settle(); // a page that gets dirty again must not be overtaken by what it was before
    if (isLast) {
      for (const { place, bitmap } of this.#mapped.values()) await this.#file.writeAt(place.bitmapOffset, bitmap);
    }
    await this.#sink.write(endMarker());
    return part;
  }

  async #storePages(block: RamBlock, options: { firstPage: number; maxPages: number; part: RamPart }): Promise<number> {
    const { firstPage, maxPages, part } = options;
    const { place, bitmap } = this.#mapped.get(block)!; // sendSetup has all blocks
    const taken = block.takeMasks({ firstPage, maxPages, detectZero: this.#detectZero });
    for (const { group, data, zero } of taken.groups) applyMasks(bitmap, { group, data, zero });
    for (const { page, count } of runsOf(taken.groups)) {
      const at = page * PAGE_SIZE;
      const bytes = block.bytes.subarray(at, at + count * PAGE_SIZE);
      await this.#pages.run((file) => file.writeAt(place.pagesOffset + at, bytes));
    }
    part.normalPages += taken.dataPages;
    part.zeroPages += taken.zeroPages;
    part.recordBytes += taken.dataPages * PAGE_SIZE;
    return taken.nextPage;
  }
}

/** Sets the bits of stored pages and clears those of zero pages; a group is 32 pages, four bytes of the bitmap. */
function applyMasks(bitmap: Uint8Array, { group, data, zero }: { group: number; data: number; zero: number }): void {
  for (let byte = 0; byte < 4; byte++) {
    const at = group * 4 + byte;
    bitmap[at] = (bitmap[at]! & ~(zero >>> (byte * 8))) | ((data >>> (byte * 8)) & 0xff);
  }
}

/** Runs of neighbouring data pages, over groups. */
function runsOf(groups: readonly { readonly group: number; readonly data: number }[]) {
  const runs: { page: number; count: number }[] = [];
  for (const { group, data } of groups) {
    for (let rest = data; rest !== 0; rest &= rest - 1) {
      const page = group * 32 + (31 - Math.clz32(rest & -rest));
      const last = runs.at(-1);
      if (last !== undefined && last.page + last.count === page) last.count += 1;
      else runs.push({ page, count: 1 });
    }
  }
  return runs;
}
