/**
 * Which pages of a RAM block became dirty while somebody watched, beside whatever else collects dirty bits: whoever does lets
 * the watch see them first. A bit that is set in the very moment of collecting may escape it.
 */

import { bitCount } from './bit-masks.ts';

/** See the header. */
export class DirtyWatch {
  readonly #dirty: Uint32Array;
  readonly #seen: Uint32Array;

  /** `dirty` is the block's dirty bitmap; bits that are set already count as well. */
  constructor(dirty: Uint32Array) {
    this.#dirty = dirty;
    this.#seen = new Uint32Array(dirty.length);
  }

  /** The dirty bits are about to be taken away. */
  look(): void {
    const [seen, dirty] = [this.#seen, this.#dirty];
    for (let word = 0; word < seen.length; word++) seen[word]! |= dirty[word]!;
  }

  /** Pages so far. */
  count(): number {
    this.look();
    let pages = 0;
    for (const word of this.#seen) pages += bitCount(word);
    return pages;
  }
}
