/**
 * Buffers that one thread fills and others read, without a copy: whoever is done with one gives it back, in whatever thread,
 * and it is filled again. Fresh memory for every megabyte would cost page faults and the garbage collector.
 */

import { type PinnedShare, pinned } from './segments.ts';

/** The first word of a buffer says whether it is in use; what it holds begins behind, aligned. */
const HEADER_BYTES = 16;
/** Smaller contents get a buffer of their own size. */
const SMALL_BYTES = 65_536;

/** A buffer that was taken. */
export interface SharedBuffer {
  readonly memory: PinnedShare;
  /** Where in `memory` its contents begin. */
  readonly start: number;
  /** What it holds; may be sent to other threads. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
}

/** The filling thread's buffers, `capacity` bytes each. */
export class SharedBuffers {
  readonly #capacity: number;
  readonly #all: PinnedShare[] = [];

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** A buffer for `length` bytes that nobody reads any more. */
  take(length: number): SharedBuffer {
    const memory = length <= SMALL_BYTES ? pinned(HEADER_BYTES + length) : this.#large();
    const { buffer } = memory.bytes;
    return { memory, start: HEADER_BYTES, bytes: new Uint8Array(buffer, HEADER_BYTES, length) };
  }

  #large(): PinnedShare {
    const free = this.#all.find(
      ({ bytes }) => Atomics.compareExchange(new Int32Array(bytes.buffer, 0, 1), 0, 0, 1) === 0,
    );
    if (free !== undefined) return free;
    const fresh = pinned(HEADER_BYTES + this.#capacity);
    Atomics.store(new Int32Array(fresh.bytes.buffer, 0, 1), 0, 1);
    this.#all.push(fresh);
    return fresh;
  }
}

/** Gives a buffer back, from any thread, by a view of its contents. */
export function giveBack(bytes: Uint8Array<SharedArrayBuffer>): void {
  Atomics.store(new Int32Array(bytes.buffer, 0, 1), 0, 0);
}
