/**
 * Loads one block of a mapped-ram file (spec/wire.md §6): header, bitmap, and the pages whose bit is set. Pages without
 * a bit stay as they are, as in QEMU: a new machine's are zero.
 */

import type { RamBlock } from '../../hw/ram.ts';
import { MAPPED_RAM_HEADER, MAPPED_RAM_VERSION, mappedBitmapBytes } from '../../wire/mapped-ram.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { SeekableFile } from '../transport/channel.ts';
import type { StreamReader } from '../transport/stream-reader.ts';
import type { PageFiles } from './page-files.ts';

/** Pages of one read at most. */
const RUN_PAGES = 256;

/** Reads the header at the reader's place and everything it points to; the reader goes on behind the pages. */
export async function loadMappedBlock(options: {
  reader: StreamReader;
  file: SeekableFile;
  /** What pages are read with. */
  pages: PageFiles;
  block: RamBlock;
  /** x-ignore-shared: nothing of it may be in the file. */
  isIgnored: boolean;
}): Promise<number> {
  const { reader, file, block } = options;
  const at = reader.offset;
  const { bitmapOffset, pagesOffset } = await readHeader(reader, { block, start: file.start });
  const bitmap = new Uint8Array(mappedBitmapBytes(block.pageCount));
  await readAll(
    { reader, file, start: file.start },
    { offset: bitmapOffset, into: bitmap, field: `bitmap of block '${block.name}'` },
  );
  if (options.isIgnored && bitmap.some((byte) => byte !== 0)) {
    const field = `bitmap of block '${block.name}'`;
    throw reader.bad({ at, field, expected: 'no page of a block in a shared file (x-ignore-shared)', actual: 'pages' });
  }
  let pages: number;
  try {
    pages = await loadPages(options, bitmap, pagesOffset);
  } finally {
    await options.pages.idle(); // after a failure nothing may be written into RAM any more
  }
  const endOffset = pagesOffset + block.length;
  file.seek(endOffset);
  reader.restart(endOffset - file.start);
  return pages;
}

async function readHeader(reader: StreamReader, { block, start }: { block: RamBlock; start: number }) {
  const at = reader.offset;
  const header = await reader.struct(MAPPED_RAM_HEADER);
  const refuse = (field: string, ahead: number, expected: string, actual: bigint | number) =>
    reader.bad({ at: at + ahead, field: `${field} of block '${block.name}'`, expected, actual: `${actual}` });
  if (header.version > MAPPED_RAM_VERSION)
    throw refuse('mapped-ram version', 0, `at most ${MAPPED_RAM_VERSION}`, header.version);
  if (header.page_size !== BigInt(PAGE_SIZE)) throw refuse('page size', 4, `${PAGE_SIZE}`, header.page_size);
  // A file cannot be longer than what a number holds exactly: beyond it nothing could be read.
  const largest = BigInt(Number.MAX_SAFE_INTEGER - block.length);
  if (header.bitmap_offset > largest) throw refuse('bitmap offset', 12, `at most ${largest}`, header.bitmap_offset);
  if (header.pages_offset > largest || header.pages_offset % BigInt(PAGE_SIZE) !== 0n) {
    throw refuse('pages offset', 20, `a multiple of ${PAGE_SIZE}, at most ${largest}`, header.pages_offset);
  }
  // The stream goes on behind the pages: were they before this header, it could come here again, and again.
  const headerEnd = start + reader.offset;
  if (header.pages_offset < headerEnd)
    throw refuse('pages offset', 20, `at least ${headerEnd}, the end of this header`, header.pages_offset);
  return { bitmapOffset: Number(header.bitmap_offset), pagesOffset: Number(header.pages_offset) };
}

type Place = Parameters<typeof loadMappedBlock>[0];

async function loadPages(place: Place, bitmap: Uint8Array, pagesOffset: number): Promise<number> {
  const { block, reader, pages: files } = place;
  const { start } = place.file;
  let pages = 0;
  for (let page = nextSet(bitmap, 0); page < bitmap.length * 8; page = nextSet(bitmap, page)) {
    if (page >= block.pageCount) {
      const field = `bitmap of block '${block.name}'`;
      const expected = `no page beyond the block's ${block.pageCount}`;
      throw reader.bad({ at: reader.offset, field, expected, actual: `page ${page}` });
    }
    let count = 1;
    const limit = Math.min(RUN_PAGES, block.pageCount - page);
    while (count < limit && isSet(bitmap, page + count)) count += 1;
    const at = page * PAGE_SIZE;
    const run = {
      offset: pagesOffset + at,
      into: block.bytes.subarray(at, at + count * PAGE_SIZE),
      field: `page ${page} of block '${block.name}'`,
    };
    block.markLoaded(page, count); // first: a read that fails halfway has stored something
    await files.run((file) => readAll({ reader, file, start }, run));
    pages += count;
    page += count;
  }
  await files.settle();
  return pages;
}

/** Fills `into` from the file. Throws `stream/truncated` when the file is too short. */
async function readAll(
  { reader, file, start }: { reader: StreamReader; file: Pick<SeekableFile, 'readAt'>; start: number },
  { offset, into, field }: { offset: number; into: Uint8Array; field: string },
): Promise<void> {
  let done = 0;
  while (done < into.length) {
    const count = await file.readAt(offset + done, into.subarray(done));
    if (count === 0) {
      reader.restart(offset + done - start);
      throw reader.truncated(field, into.length - done);
    }
    done += count;
  }
}

function isSet(bitmap: Uint8Array, page: number): boolean {
  return ((bitmap[page >>> 3]! >>> (page & 7)) & 1) !== 0;
}

/** The first set bit at or after `page`; bits of the bitmap when there is none. */
function nextSet(bitmap: Uint8Array, page: number): number {
  const bits = bitmap.length * 8;
  let next = page;
  while (next < bits && !isSet(bitmap, next)) next += bitmap[next >>> 3] === 0 ? 8 - (next & 7) : 1;
  return Math.min(next, bits);
}
