/** Payloads of `ram` sections: records are counted, not kept (spec/wire.md §4, §6.1). */

import { assert } from '../base/assert.ts';
import { LIMITS } from '../wire/limits.ts';
import { PAGE_SIZE, RAM_FLAG } from '../wire/ram.ts';
import type {
  RamBlockAnalysis,
  RamBlockCounts,
  RamListEntry,
  RamRecordKind,
  RamSectionAnalysis,
  RecordCount,
} from './analysis.ts';
import type { StreamCursor } from './stream-cursor.ts';

/** What the configuration section says about the records' form. */
export interface RamFormat {
  readonly pageSize: number;
  readonly mappedRam: boolean;
  readonly ignoreShared: boolean;
}

/** The form of a stream whose configuration says nothing else. */
export const PLAIN_RAM: RamFormat = { pageSize: PAGE_SIZE, mappedRam: false, ignoreShared: false };

/** Counters of the page records, by flag. */
const PAGE_COUNTERS = {
  [RAM_FLAG.ZERO]: ['zero', 'zeroPages'],
  [RAM_FLAG.PAGE]: ['page', 'dataPages'],
  [RAM_FLAG.XBZRLE]: ['xbzrle', 'xbzrlePages'],
  [RAM_FLAG.COMPRESS_PAGE]: ['compressed', 'compressedPages'],
} as const;
type PageFlag = keyof typeof PAGE_COUNTERS;

const WORD_BYTES = 8;
const UINT32 = 2 ** 32;
/** XBZRLE's only encoding. */
const XBZRLE_ENCODING = 0x01;

/** Reads the RAM sections of one stream; the current block is remembered across them. */
export class RamAnalyzer {
  readonly blocks: RamBlockAnalysis[] = [];
  readonly #byName = new Map<string, RamBlockAnalysis>();
  readonly #cursor: StreamCursor;
  readonly #format: RamFormat;
  #current: RamBlockAnalysis | undefined;

  constructor(cursor: StreamCursor, format: RamFormat) {
    this.#cursor = cursor;
    this.#format = format;
  }

  /** One payload, up to and with its EOS record. */
  section(): RamSectionAnalysis {
    const cursor = this.#cursor;
    const records = emptyRecords();
    const touched = new Map<string, RamBlockCounts>();
    const section: RamSectionAnalysis = { records, blocks: [] };
    for (;;) {
      const at = cursor.take(WORD_BYTES, 'record word');
      const low = cursor.view.getUint32(at + 4);
      const flagBits = low & (this.#format.pageSize - 1);
      const address = cursor.view.getUint32(at) * UINT32 + (low - flagBits);
      const flag = flagBits & ~RAM_FLAG.CONTINUE;
      if (flag === RAM_FLAG.EOS) return { ...section, blocks: [...touched.values()] };
      const kind = this.#record({ at, flag, flagBits, address, section, touched });
      records[kind].count += 1;
      records[kind].bytes += cursor.at - at;
    }
  }

  #record(word: {
    at: number;
    flag: number;
    flagBits: number;
    address: number;
    section: RamSectionAnalysis;
    touched: Map<string, RamBlockCounts>;
  }): RamRecordKind {
    const { at, flag, flagBits, address, section, touched } = word;
    switch (flag) {
      case RAM_FLAG.MEM_SIZE:
        section.list = { totalBytes: address, blocks: this.#list(address, at) };
        return 'list';
      case RAM_FLAG.MULTIFD_FLUSH:
        return 'flush';
      case RAM_FLAG.HOOK:
        return 'hook';
      case RAM_FLAG.ZERO:
      case RAM_FLAG.PAGE:
      case RAM_FLAG.XBZRLE:
      case RAM_FLAG.COMPRESS_PAGE: {
        const block = this.#blockOf(flagBits, at);
        this.#pageBody(flag);
        const [kind, counter] = PAGE_COUNTERS[flag];
        for (const counts of [block, touchedBlock(touched, block.name)]) countPage(counts, counter, address);
        return kind;
      }
      default:
        throw this.#cursor.badValue({
          at,
          field: 'record flags',
          expected: 'exactly one known flag',
          actual: `0x${flagBits.toString(16)}`,
        });
    }
  }

  /** The block a page record is for: the one it names, or with CONTINUE the one before. */
  #blockOf(flagBits: number, at: number): RamBlockAnalysis {
    if ((flagBits & RAM_FLAG.CONTINUE) === 0) this.#current = this.#block(this.#cursor.shortText('block name'));
    if (this.#current !== undefined) return this.#current;
    throw this.#cursor.badValue({ at, field: 'CONTINUE', expected: 'a block named before', actual: 'none' });
  }

  #block(name: string): RamBlockAnalysis {
    const known = this.#byName.get(name);
    if (known !== undefined) return known;
    this.#limitBlocks(this.blocks.length + 1);
    const block: RamBlockAnalysis = noPages(name);
    this.#byName.set(name, block);
    this.blocks.push(block);
    return block;
  }

  #pageBody(flag: PageFlag): void {
    const cursor = this.#cursor;
    switch (flag) {
      case RAM_FLAG.ZERO:
        cursor.take(1, 'fill byte');
        return;
      case RAM_FLAG.PAGE:
        cursor.take(this.#format.pageSize, 'page');
        return;
      case RAM_FLAG.XBZRLE: {
        const { at } = cursor;
        const encoding = cursor.u8('xbzrle encoding');
        if (encoding !== XBZRLE_ENCODING) {
          throw cursor.badValue({ at, field: 'xbzrle encoding', expected: '1', actual: `${encoding}` });
        }
        cursor.take(cursor.u16('xbzrle length'), 'xbzrle delta');
        return;
      }
      case RAM_FLAG.COMPRESS_PAGE:
        cursor.take(cursor.u32('compressed length'), 'compressed page');
        return;
      default:
        assert(flag satisfies never, 'every page flag has a body');
    }
  }

  #list(totalBytes: number, at: number): RamListEntry[] {
    const cursor = this.#cursor;
    const entries: RamListEntry[] = [];
    for (let left = totalBytes; left > 0; ) {
      this.#limitBlocks(entries.length + 1);
      const name = cursor.shortText('block name');
      const length = cursor.size('block length');
      left -= length;
      if (left < 0) {
        throw cursor.badValue({
          at,
          field: 'total RAM',
          expected: `the sum of the blocks, ${totalBytes - left} or more`,
          actual: `${totalBytes}`,
        });
      }
      const address = this.#format.ignoreShared ? { address: cursor.size('block address') } : {};
      const mapped = this.#format.mappedRam ? { mapped: this.#mappedBlock(length) } : {};
      this.#block(name).length = length;
      entries.push({ name, length, ...address, ...mapped });
    }
    return entries;
  }

  /** A block's header, bitmap and pages in a mapped-ram file; the stream goes on behind the pages. */
  #mappedBlock(length: number): NonNullable<RamListEntry['mapped']> {
    const cursor = this.#cursor;
    const version = cursor.u32('mapped-ram version');
    const pageSize = cursor.size('mapped-ram page size');
    const bitmapOffset = cursor.size('bitmap offset');
    const pagesOffset = cursor.size('pages offset');
    // Offsets count from the file's start, which `offset=` in the URI may have put before these bytes.
    const base = bitmapOffset - cursor.at;
    const bitmapBytes = pageSize === 0 ? 0 : Math.ceil(length / pageSize / 64) * 8;
    const bitmapAt = cursor.take(bitmapBytes, 'mapped-ram bitmap');
    const pages = countBits(cursor.bytes.subarray(bitmapAt, bitmapAt + bitmapBytes));
    if (pagesOffset - base < cursor.at) {
      throw cursor.badValue({
        at: bitmapAt - 8,
        field: 'pages offset',
        expected: `at least ${cursor.at + base}`,
        actual: `${pagesOffset}`,
      });
    }
    cursor.take(pagesOffset - base - cursor.at, 'hole before the pages');
    cursor.take(length, 'pages');
    return { version, pageSize, bitmapOffset, pagesOffset, pages };
  }

  #limitBlocks(actual: number): void {
    if (actual <= LIMITS.RAM_BLOCKS) return;
    throw this.#cursor.overLimit({ at: this.#cursor.at, field: 'block name', limit: 'RAM_BLOCKS', actual });
  }
}

function emptyRecords(): Record<RamRecordKind, RecordCount> {
  const none = () => ({ count: 0, bytes: 0 });
  return { zero: none(), page: none(), xbzrle: none(), compressed: none(), flush: none(), list: none(), hook: none() };
}

function noPages(name: string): RamBlockCounts {
  return { name, zeroPages: 0, dataPages: 0, xbzrlePages: 0, compressedPages: 0, firstOffset: -1, lastOffset: -1 };
}

function touchedBlock(touched: Map<string, RamBlockCounts>, name: string): RamBlockCounts {
  const counts = touched.get(name) ?? noPages(name);
  touched.set(name, counts);
  return counts;
}

function countPage(counts: RamBlockCounts, counter: (typeof PAGE_COUNTERS)[PageFlag][1], offset: number): void {
  counts[counter] += 1;
  if (counts.firstOffset < 0) counts.firstOffset = offset;
  counts.lastOffset = offset;
}

function countBits(bytes: Uint8Array): number {
  let bits = 0;
  for (const byte of bytes) for (let rest = byte; rest > 0; rest &= rest - 1) bits += 1;
  return bits;
}
