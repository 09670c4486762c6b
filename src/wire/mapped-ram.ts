/**
 * mapped-ram: RAM at fixed offsets of a file (spec/wire.md §6.1). Numbers and the header that follows each block of the
 * RAM section's list; all offsets are absolute in the file, whatever the stream's own start.
 */

import { PAGE_SIZE } from './ram.ts';
import { struct, u32, u64 } from './struct.ts';

/** Newest version of the header; loaders accept older ones, of which there are none. */
export const MAPPED_RAM_VERSION = 1;
/** Pages start at a multiple of this (bytes), so that they can be read and written with O_DIRECT. */
const PAGES_ALIGNMENT = 1 << 20;

/** The 28 bytes after a block's length. */
export const MAPPED_RAM_HEADER = struct([u32('version'), u64('page_size'), u64('bitmap_offset'), u64('pages_offset')]);

/** Where the parts of one block lie in the file (bytes). */
export interface MappedRamPlace {
  readonly bitmapOffset: number;
  readonly bitmapBytes: number;
  readonly pagesOffset: number;
  /** Where the stream goes on. */
  readonly endOffset: number;
}

/** Bytes of the bitmap of `pageCount` pages: whole 64-bit words. */
export function mappedBitmapBytes(pageCount: number): number {
  return Math.ceil(pageCount / 64) * 8;
}

/** The places of a block of `length` bytes whose header starts at `headerOffset`. */
export function mappedRamPlace(headerOffset: number, length: number): MappedRamPlace {
  const bitmapOffset = headerOffset + MAPPED_RAM_HEADER.size;
  const bitmapBytes = mappedBitmapBytes(length / PAGE_SIZE);
  const pagesOffset = Math.ceil((bitmapOffset + bitmapBytes) / PAGES_ALIGNMENT) * PAGES_ALIGNMENT;
  return { bitmapOffset, bitmapBytes, pagesOffset, endOffset: pagesOffset + length };
}
