/**
 * The pages of a channel through one zstd stream that is flushed after each packet (spec/wire.md §5.5), from guest RAM and into it: where
 * libzstd can be called. Elsewhere stream-compression.ts does the same.
 */

import type { RamWindow } from '../../hw/ram-window.ts';
import { ZstdDecoder, ZstdEncoder } from '../../threads/libzstd.ts';
import { type PinnedBytes, pinned, type Segments } from '../../threads/segments.ts';
import { LIMITS } from '../../wire/limits.ts';
import { MULTIFD_METHOD, PACKET_PAGES } from '../../wire/multifd.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { PageCompressor, PageDecompressor } from './compression.ts';
import type { PageRuns } from './page-runs.ts';

/** A packet's pages that do not pack, and what the format adds to them: some bytes for each of its blocks. */
const OUTPUT_BYTES = PACKET_PAGES * PAGE_SIZE + 65_536;

/** The sending end. */
export class ZstdPageCompressor implements PageCompressor {
  readonly method = MULTIFD_METHOD.zstd;
  readonly #encoder: ZstdEncoder;

  constructor(level: number) {
    this.#encoder = new ZstdEncoder(level, OUTPUT_BYTES);
  }

  /** The guest may write to a page meanwhile: of a stream that is not ended, the library copies what it is given before it looks at it. */
  add(segments: Segments, block: RamWindow, runs: PageRuns): void {
    const { runCount } = runs;
    if (runCount === 0) return;
    const encoder = this.#encoder;
    encoder.begin();
    for (let run = 0; run < runCount; run++) {
      const start = block.address + runs.firstPage(run) * PAGE_SIZE;
      encoder.write(start, runs.pageCount(run) * PAGE_SIZE, run === runCount - 1);
    }
    segments.add(encoder.output, 0, encoder.length);
  }

  close(): void {
    this.#encoder.close();
  }
}

/** The receiving end. */
export class ZstdPageDecompressor implements PageDecompressor {
  readonly #decoder = new ZstdDecoder(LIMITS.MULTIFD_ZSTD_WINDOW_LOG);
  readonly #surplus = pinned(1);

  expand(data: PinnedBytes, byteLength: number, block: RamWindow, runs: PageRuns): void {
    const decoder = this.#decoder;
    decoder.begin(data.address, byteLength);
    let expanded = 0;
    for (let run = 0; run < runs.runCount; run++) {
      const length = runs.pageCount(run) * PAGE_SIZE;
      const filled = decoder.read(block.address + runs.firstPage(run) * PAGE_SIZE, length);
      expanded += filled;
      if (filled < length) throw new Error(`it expands to ${expanded} bytes`);
    }
    if (decoder.read(this.#surplus.address, 1) > 0 || !decoder.isInputDone) {
      throw new Error(`it expands to more than ${expanded} bytes`);
    }
  }

  close(): void {
    this.#decoder.close();
  }
}
