/**
 * How the pages of a channel travel (spec/wire.md §5.5): as they are, or through one stream that lasts as long as the
 * channel. The compressors are loaded when they are needed: every channel has a thread, and what a thread loads it has
 * for itself.
 */

import type { RamWindow } from '../../hw/ram-window.ts';
import { hasLibzstd } from '../../threads/libzstd.ts';
import type { PinnedBytes, Segments } from '../../threads/segments.ts';
import type { MULTIFD_METHOD } from '../../wire/multifd.ts';
import type { PageRuns } from './page-runs.ts';

/** A method of compression. */
export type MultifdMethod = keyof typeof MULTIFD_METHOD;

/** Puts the data of a packet's pages behind its header. */
export interface PageCompressor {
  /** Its bits in a packet's flags. */
  readonly method: number;
  /** Adds what the pages of the runs become; it is valid until the next call. */
  add(segments: Segments, block: RamWindow, runs: PageRuns): void;
  /** Gives back its memory at once. */
  close(): void;
}

/** Gets pages back. */
export interface PageDecompressor {
  /**
   * Stores the pages of the runs, from the data of one packet: the first `byteLength` bytes of `data`. Throws an Error that says what is wrong
   * with it; some of the pages may be stored by then.
   */
  expand(data: PinnedBytes, byteLength: number, block: RamWindow, runs: PageRuns): void;
  /** Gives back its memory at once. */
  close(): void;
}

/**
 * The sending end; undefined when pages go as they are. Levels are those of the parameters multifd-zlib-level and multifd-zstd-level.
 */
export async function pageCompressor(method: MultifdMethod, level: number): Promise<PageCompressor | undefined> {
  if (method === 'none') return undefined;
  if (method === 'zstd' && hasLibzstd) {
    const { ZstdPageCompressor } = await import('./zstd-pages.ts');
    return new ZstdPageCompressor(level);
  }
  const { streamCompressor } = await import('./stream-compression.ts');
  return streamCompressor(method, level);
}

/** The receiving end; undefined when pages come as they are. */
export async function pageDecompressor(method: MultifdMethod): Promise<PageDecompressor | undefined> {
  if (method === 'none') return undefined;
  if (method === 'zstd' && hasLibzstd) {
    const { ZstdPageDecompressor } = await import('./zstd-pages.ts');
    return new ZstdPageDecompressor();
  }
  const { streamDecompressor } = await import('./stream-compression.ts');
  return streamDecompressor(method);
}
