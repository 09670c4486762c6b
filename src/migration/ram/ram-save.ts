/** Sends RAM over the main channel: pages in passes (spec/wire.md §4.3; spec/control.md §7.1). */

import type { RamBlock } from '../../hw/ram.ts';
import type { ByteSink } from '../transport/channel.ts';
import { endMarker, type PagesAllowed, type RamPart, RamSender } from './ram-sender.ts';

/** Data pages per batch: small enough to stay in the cache between the zero scan and the kernel's copy. */
const BATCH_PAGES = 128;

/** Full and zero pages as records on the main channel. */
export class RamSaver extends RamSender {
  readonly #sink: ByteSink;
  readonly #detectZero: boolean;

  constructor(options: {
    blocks: readonly RamBlock[];
    sink: ByteSink;
    detectZero: boolean;
    ignoreShared: boolean;
  }) {
    super(options.blocks, options);
    this.#sink = options.sink;
    this.#detectZero = options.detectZero;
  }

  async sendSetup(): Promise<void> {
    await this.#sink.write(this.blockList().take());
    await this.#sink.write(endMarker());
  }

  async sendPart(pagesAllowed: PagesAllowed, _isLast: boolean): Promise<RamPart> {
    const part: RamPart = { normalPages: 0, zeroPages: 0, recordBytes: 0 };
    while (this.pendingBytes > 0) {
      const { block, page } = this.place;
      const firstPage = block.nextPending(page);
      if (firstPage >= block.pageCount) {
        this.nextBlock();
        continue;
      }
      const answer = pagesAllowed(part);
      const maxPages = Math.min(BATCH_PAGES, typeof answer === 'number' ? answer : await answer);
      if (maxPages <= 0) break;
      const { nextPage, batch } = block.takePages({ firstPage, maxPages, detectZero: this.#detectZero });
      this.scanned(nextPage);
      await this.#sink.writeBatch(batch);
      part.normalPages += batch.normalPages;
      part.zeroPages += batch.zeroPages;
      part.recordBytes += batch.byteLength;
    }
    await this.#sink.write(endMarker());
    return part;
  }
}
