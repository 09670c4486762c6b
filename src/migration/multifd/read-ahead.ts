/** Bytes of a channel that were read before it was known what they are. */

import type { PinnedBytes, Segments } from '../../threads/segments.ts';

/** A buffer that is filled behind and read in front. */
export class ReadAhead {
  readonly #memory: PinnedBytes;
  #start = 0;
  #end = 0;

  /** The buffer's memory belongs to whoever looks into it. */
  constructor(memory: PinnedBytes) {
    this.#memory = memory;
  }

  /** Offset of the first byte in the buffer. */
  get start(): number {
    return this.#start;
  }

  /** How many bytes there are. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** Makes `segments` the place for as many more bytes as make `limit` together; what is here moves to the buffer's front. */
  makeRoom(segments: Segments, limit: number): void {
    if (this.#start > 0) this.#memory.bytes.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    segments.reset();
    segments.add(this.#memory, this.#end, limit - this.#end);
  }

  /** Adds the place for `limit` bytes behind others; nothing is here then. */
  addTo(segments: Segments, limit: number): void {
    this.#start = 0;
    this.#end = 0;
    segments.add(this.#memory, 0, limit);
  }

  /** So many bytes are in the place that was given last. */
  arrived(count: number): void {
    this.#end += count;
  }

  /** The first `count` bytes are done with. */
  consume(count: number): void {
    this.#start += count;
  }

  /** Moves what is here, as far as it goes; returns how many bytes. */
  moveTo(target: Uint8Array): number {
    const count = Math.min(target.length, this.length);
    if (count > 0) target.set(this.#memory.bytes.subarray(this.#start, this.#start + count));
    this.#start += count;
    return count;
  }
}
