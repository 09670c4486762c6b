/**
 * Pages that do not pack, in a zlib stream: stored blocks (RFC 1951 §3.2.4) that go out straight from guest RAM, and the question whether a
 * packet's pages look like such. Deflate finds out for itself, byte by byte: 2 GiB of random RAM over two channels took 23 s
 * so, and take 2.2 s stored.
 */

import type { RamWindow } from '../../hw/ram-window.ts';
import { pinned, type Segments } from '../../threads/segments.ts';
import { PACKET_PAGES } from '../../wire/multifd.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { PageRuns } from './page-runs.ts';

/** Of one block: its length has 16 bits. */
const BLOCK_PAGES = 15;
/** Bits of a block's kind, filled up to a byte, its length and the complement of that: where the stream was flushed. */
const MARK_BYTES = 5;
const MARKS = Math.ceil(PACKET_PAGES / BLOCK_PAGES) + 1;
/** Entries of a gather list for `StoredPages.addTo`. */
export const STORED_SEGMENTS = PACKET_PAGES + MARKS;

/** How many places of a packet are looked at, and how many bytes each. */
const SAMPLES = 16;
const SAMPLE_BYTES = 256;
const SAMPLED_BYTES = SAMPLES * SAMPLE_BYTES;
const BYTE_VALUES = 256;
/** Pearson's test of an even distribution, which random bytes pass at 255 ± 23, and text and programs' data exceed tenfold. */
const HIGHEST_CHI_SQUARE = 512;

/** Writes stored blocks for one channel. */
export class StoredPages {
  readonly #marks = pinned(MARKS * MARK_BYTES);
  readonly #view = new DataView(this.#marks.bytes.buffer);

  /** Adds all pages of the runs, and the empty block that ends what is flushed. The stream has forgotten what came before. */
  addTo(segments: Segments, block: RamWindow, runs: PageRuns): void {
    let pages = runs.totalPages;
    let marks = 0;
    let room = 0;
    for (let run = 0; run < runs.runCount; run++) {
      let page = runs.firstPage(run);
      const end = page + runs.pageCount(run);
      while (page < end) {
        if (room === 0) {
          room = Math.min(BLOCK_PAGES, pages);
          pages -= room;
          this.#mark(segments, marks++, room * PAGE_SIZE);
        }
        const count = Math.min(room, end - page);
        segments.add(block, page * PAGE_SIZE, count * PAGE_SIZE);
        page += count;
        room -= count;
      }
    }
    this.#mark(segments, marks, 0);
  }

  #mark(segments: Segments, index: number, length: number): void {
    const at = index * MARK_BYTES;
    this.#view.setUint8(at, 0);
    this.#view.setUint16(at + 1, length, true);
    this.#view.setUint16(at + 3, ~length, true);
    segments.add(this.#marks, at, MARK_BYTES);
  }
}

/** Looks at packets' pages. */
export class RandomnessTest {
  readonly #counts = new Uint32Array(BYTE_VALUES);

  /** Whether a sample of the pages has all values of a byte about equally often. */
  looksRandom(block: RamWindow, runs: PageRuns): boolean {
    const counts = this.#counts.fill(0);
    for (let sample = 0; sample < SAMPLES; sample++) {
      const run = Math.floor((sample * runs.runCount) / SAMPLES);
      // Samples of one run lie apart, and not all at the start of a page.
      const step = (sample * 0.618_034) % 1;
      const spare = runs.pageCount(run) * PAGE_SIZE - SAMPLE_BYTES;
      const start = runs.firstPage(run) * PAGE_SIZE + Math.floor(step * spare);
      const { bytes } = block;
      for (let at = start; at < start + SAMPLE_BYTES; at++) counts[bytes[at]!]! += 1;
    }
    let squares = 0;
    for (let value = 0; value < BYTE_VALUES; value++) squares += counts[value]! ** 2;
    return (squares * BYTE_VALUES) / SAMPLED_BYTES - SAMPLED_BYTES < HIGHEST_CHI_SQUARE;
  }
}
