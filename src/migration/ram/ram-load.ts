/** Loads the payload of a `ram` section: block list, pages, end marker (spec/wire.md §4). The memory of the previous
 * block survives from section to section. */

import type { RamBlock } from '../../hw/ram.ts';
import { LIMITS } from '../../wire/limits.ts';
import { PAGE_SIZE, RAM_FLAG } from '../../wire/ram.ts';
import type { SeekableFile } from '../transport/channel.ts';
import type { StreamReader } from '../transport/stream-reader.ts';
import { loadMappedBlock } from './mapped-ram-load.ts';
import type { PageExpander } from './page-expander.ts';
import type { PageFiles } from './page-files.ts';
import { PageRunReader } from './page-run.ts';
import { BLOCK_ADDRESS } from './ram-sender.ts';
import { applyXbzrle } from './xbzrle.ts';

const LOW = 2 ** 32;
const RECORD = 'RAM record';
const NO_PAGES = 'no page of a block in a shared file (x-ignore-shared)';

/** Other channels that bring pages, and the points where they and the main channel wait for each other. */
export interface RamSync {
  /** A MULTIFD_FLUSH record. */
  flush(): Promise<void>;
  /** The end marker of a section. */
  sectionEnd(): Promise<void>;
}

/** A mapped-ram file: what the stream is read from, and what pages are read with. */
export interface MappedFile {
  readonly file: SeekableFile;
  readonly pages: PageFiles;
}

/** Loads RAM records into the machine's blocks, found by name. */
export class RamLoader {
  readonly #reader: StreamReader;
  readonly #blocks: ReadonlyMap<string, RamBlock>;
  readonly #runs: PageRunReader;
  readonly #sync: RamSync | undefined;
  /** For compressed pages; undefined where there may be none. */
  readonly #expander: PageExpander | undefined;
  readonly #order: readonly RamBlock[];
  readonly #mapped: MappedFile | undefined;
  readonly #ignoreShared: boolean;
  #previous: RamBlock | undefined;
  /** Pages loaded so far, for progress. */
  normalPages = 0;
  zeroPages = 0;

  /**
   * Without `sync`, all pages come over this reader and sync records mean nothing. With `mapped`, RAM is at fixed places of
   * the file that is read from (mapped-ram). With `ignoreShared`, blocks in shared files have no pages in the stream.
   */
  constructor(
    reader: StreamReader,
    blocks: readonly RamBlock[],
    beside: {
      sync?: RamSync | undefined;
      mapped?: MappedFile | undefined;
      ignoreShared?: boolean;
      expander?: PageExpander | undefined;
    } = {},
  ) {
    this.#reader = reader;
    this.#sync = beside.sync;
    this.#expander = beside.expander;
    this.#order = blocks;
    this.#mapped = beside.mapped;
    this.#ignoreShared = beside.ignoreShared ?? false;
    this.#blocks = new Map(blocks.map((block) => [block.name, block]));
    this.#runs = new PageRunReader(reader);
  }

  /** Reads records up to and including the end marker. Throws `stream/…` naming offset, expected and actual. */
  async load(): Promise<void> {
    const reader = this.#reader;
    for (;;) {
      if (reader.available < 8) await reader.need(8, RECORD);
      const at = reader.offset;
      const low = reader.peekU32(4);
      const flags = low & (PAGE_SIZE - 1);
      const offset = reader.peekU32(0) * LOW + (low - flags);
      reader.skipStaged(8);
      const kind = flags & ~RAM_FLAG.CONTINUE;
      // A page that comes now may be one of those on their way.
      if (this.#expander?.isBusy === true && kind !== RAM_FLAG.COMPRESS_PAGE) await this.#expander.drain(reader);
      if (this.#isStagedNext(flags, offset)) continue;
      if (kind === RAM_FLAG.EOS) return this.#sync?.sectionEnd();
      if (kind === RAM_FLAG.ZERO) await this.#zeroPage(at, flags, offset);
      else if (kind === RAM_FLAG.PAGE) {
        const block = await this.#block(at, flags, offset);
        this.normalPages += await this.#runs.load(block, offset / PAGE_SIZE);
      } else if (kind === RAM_FLAG.XBZRLE) await this.#xbzrlePage(at, flags, offset);
      else if (kind === RAM_FLAG.COMPRESS_PAGE && this.#expander !== undefined) {
        const block = this.#order.indexOf(await this.#block(at, flags, offset));
        await this.#expander.load(reader, { block, page: offset / PAGE_SIZE });
        this.normalPages += 1;
      } else if (kind === RAM_FLAG.MEM_SIZE) await this.#blockList(at, offset);
      else if (kind === RAM_FLAG.MULTIFD_FLUSH) await this.#sync?.flush();
      else throw this.#badFlags(at, flags);
    }
  }

  /** The two commonest records, when all their bytes are staged: without a promise for each page. */
  #isStagedNext(flags: number, offset: number): boolean {
    const reader = this.#reader;
    const block = this.#previous;
    if (block === undefined || offset >= block.length) return false;
    if (flags === (RAM_FLAG.ZERO | RAM_FLAG.CONTINUE)) {
      if (reader.available < 1 || reader.peekU8(0) !== 0) return false;
      reader.skipStaged(1);
      const page = offset / PAGE_SIZE;
      const count = 1 + reader.takeZeroRun(page + 1, block.pageCount - page - 1);
      block.loadZeroPages(page, count);
      this.zeroPages += count;
      return true;
    }
    if (flags !== (RAM_FLAG.PAGE | RAM_FLAG.CONTINUE) || reader.available < PAGE_SIZE) return false;
    reader.take(block, offset, PAGE_SIZE);
    block.markLoaded(offset / PAGE_SIZE, 1);
    this.normalPages += 1;
    return true;
  }

  async #zeroPage(at: number, flags: number, offset: number): Promise<void> {
    const block = await this.#block(at, flags, offset);
    const fill = await this.#reader.u8('fill byte of a zero page');
    if (fill !== 0) {
      throw this.#reader.bad({
        at: this.#reader.offset - 1,
        field: 'fill byte of a zero page',
        expected: '0',
        actual: `${fill}`,
      });
    }
    block.loadZeroPages(offset / PAGE_SIZE, 1);
    this.zeroPages += 1;
  }

  async #xbzrlePage(at: number, flags: number, offset: number): Promise<void> {
    const reader = this.#reader;
    const block = await this.#block(at, flags, offset);
    const encoding = await reader.u8('xbzrle encoding');
    if (encoding !== 1)
      throw reader.bad({ at: reader.offset - 1, field: 'xbzrle encoding', expected: '1', actual: `${encoding}` });
    const length = await reader.u16('xbzrle length');
    if (length > PAGE_SIZE) {
      throw reader.bad({
        at: reader.offset - 2,
        field: 'xbzrle length',
        expected: `at most ${PAGE_SIZE}`,
        actual: `${length}`,
      });
    }
    const place = { reader, at: reader.offset };
    const delta = await reader.bytes(length, 'xbzrle delta');
    const page = block.bytes.slice(offset, offset + PAGE_SIZE);
    applyXbzrle(page, delta, place);
    block.loadPage(offset / PAGE_SIZE, page);
    this.normalPages += 1;
  }

  /** The block a page record belongs to: named, or the previous one when CONTINUE is set. */
  async #block(at: number, flags: number, offset: number): Promise<RamBlock> {
    const reader = this.#reader;
    let block = this.#previous;
    if ((flags & RAM_FLAG.CONTINUE) === 0) {
      const nameAt = reader.offset;
      const name = await reader.text8('RAM block name');
      block = this.#find(nameAt, name);
      if (this.#isIgnored(block)) {
        throw reader.bad({ at: nameAt, field: 'RAM block name', expected: NO_PAGES, actual: `a page of '${name}'` });
      }
      this.#previous = block;
    }
    if (block === undefined) {
      throw reader.bad({
        at,
        field: RECORD,
        expected: 'a block name before the first CONTINUE',
        actual: `flags 0x${flags.toString(16)}`,
      });
    }
    if (offset >= block.length) {
      throw reader.bad({
        at,
        field: `page offset in block '${block.name}'`,
        expected: `below the block's length ${block.length}`,
        actual: `${offset}`,
      });
    }
    return block;
  }

  async #blockList(at: number, total: number): Promise<void> {
    const reader = this.#reader;
    let left = total;
    let count = 0;
    while (left > 0) {
      count += 1;
      if (count > LIMITS.RAM_BLOCKS) {
        throw reader.overLimit({
          at,
          field: 'RAM block list',
          limit: 'RAM_BLOCKS',
          maximum: LIMITS.RAM_BLOCKS,
          actual: count,
        });
      }
      const nameAt = reader.offset;
      const block = this.#find(nameAt, await reader.text8('RAM block name'));
      const lengthAt = reader.offset;
      const length = await reader.u64(`length of block '${block.name}'`);
      if (length !== BigInt(block.length)) {
        throw reader.bad({
          at: lengthAt,
          field: `length of block '${block.name}'`,
          expected: `${block.length}`,
          actual: `${length}`,
          hint: 'start both sides with the same -m',
        });
      }
      if (block.length > left) {
        throw reader.bad({
          at,
          field: 'total of the RAM block list',
          expected: `at least ${total - left + block.length}`,
          actual: `${total}`,
        });
      }
      left -= block.length;
      await this.#blockPlace(block);
    }
  }

  /** What formats other than the plain one say about a block in the list. */
  async #blockPlace(block: RamBlock): Promise<void> {
    const reader = this.#reader;
    if (this.#ignoreShared) {
      const at = reader.offset;
      const field = `address of block '${block.name}'`;
      const address = await reader.u64(field);
      if (this.#isIgnored(block) && address !== BLOCK_ADDRESS) {
        throw reader.bad({ at, field, expected: `${BLOCK_ADDRESS}`, actual: `${address}` });
      }
    }
    if (this.#mapped === undefined) return;
    const pages = await loadMappedBlock({ ...this.#mapped, reader, block, isIgnored: this.#isIgnored(block) });
    this.normalPages += pages;
  }

  /** Its content is in the file that both sides have. */
  #isIgnored(block: RamBlock): boolean {
    return this.#ignoreShared && block.isSharedFile;
  }

  #find(at: number, name: string): RamBlock {
    const block = this.#blocks.get(name);
    if (block !== undefined) return block;
    throw this.#reader.bad({
      at,
      field: 'RAM block name',
      expected: `one of ${[...this.#blocks.keys()].map((known) => `'${known}'`).join(', ')}`,
      actual: `'${name}'`,
      hint: 'the source has a RAM block that this machine has not; compare -m, memory backends and devices',
    });
  }

  #badFlags(at: number, flags: number): Error {
    const hint =
      (flags & RAM_FLAG.COMPRESS_PAGE) !== 0
        ? 'compressed pages (compress, before QEMU 9.1) need -global migration.x-compress=on here as well'
        : 'the sender and this loader are out of step: look for an earlier odd record';
    return this.#reader.bad({
      at,
      field: 'RAM record flags',
      expected: 'exactly one known flag',
      actual: `0x${flags.toString(16)}`,
      hint,
    });
  }
}
