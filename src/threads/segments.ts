/**
 * Places in memory for one gathered write or scattered read: as an iovec array for native calls, as views for the others.
 * Addresses are split into two 32-bit halves, so that nothing here makes a BigInt.
 */

import { native } from './native.ts';

const LOW = 2 ** 32;

/** Bytes whose address does not change: shared memory. */
export interface PinnedBytes {
  readonly bytes: Uint8Array;
  /** Address of the first one for native calls; 0 without them. */
  readonly address: number;
}

/** All of a buffer that threads share. */
export interface PinnedShare extends PinnedBytes {
  readonly bytes: Uint8Array<SharedArrayBuffer>;
}

/** A buffer of its own for native calls. */
export function pinned(length: number): PinnedShare {
  return pinnedShare(new SharedArrayBuffer(length));
}

/** Another thread's buffer for native calls of this one. */
export function pinnedShare(share: SharedArrayBuffer): PinnedShare {
  const bytes = new Uint8Array(share);
  return { bytes, address: native?.addressOf(bytes) ?? 0 };
}

/** An iovec array. */
export class IovecArray {
  /** u64 (address, length) pairs. */
  readonly entries: BigUint64Array;
  readonly address: number;
  readonly #words: Uint32Array;

  constructor(count: number) {
    this.#words = new Uint32Array(new SharedArrayBuffer(count * 16));
    this.entries = new BigUint64Array(this.#words.buffer);
    this.address = native?.addressOf(new Uint8Array(this.#words.buffer)) ?? 0;
  }

  set(index: number, address: number, length: number): void {
    const at = index * 4;
    const high = Math.floor(address / LOW);
    this.#words[at] = address - high * LOW;
    this.#words[at + 1] = high;
    this.#words[at + 2] = length;
  }
}

/** What one gathered write takes: entries in order. Valid until whoever made it makes the next. */
export interface GatherList {
  /** Number of (address, length) entries. */
  readonly entryCount: number;
  /** Bytes of all entries together. */
  readonly byteLength: number;
  /** Address of the entries as an iovec array for `native.writev`; 0 without native calls. */
  readonly iovAddress: number;
  /** The entries as u64 pairs; with native calls absolute addresses. */
  readonly entries: BigUint64Array;
  /** Entry `index` as a view. */
  view(index: number): Uint8Array;
}

/** A list that is filled again and again. Neighbours in memory become one entry. */
export class Segments implements GatherList {
  readonly #iov: IovecArray;
  readonly #memories: PinnedBytes[] = [];
  readonly #starts: Float64Array;
  readonly #lengths: Float64Array;
  #count = 0;
  #bytes = 0;

  constructor(capacity: number) {
    this.#iov = new IovecArray(capacity);
    this.#starts = new Float64Array(capacity);
    this.#lengths = new Float64Array(capacity);
  }

  get entryCount(): number {
    return this.#count;
  }

  get byteLength(): number {
    return this.#bytes;
  }

  get iovAddress(): number {
    return this.#iov.address;
  }

  get entries(): BigUint64Array {
    return this.#iov.entries;
  }

  reset(): void {
    this.#count = 0;
    this.#bytes = 0;
  }

  add(memory: PinnedBytes, start: number, length: number): void {
    const last = this.#count - 1;
    this.#bytes += length;
    if (last >= 0 && this.#memories[last] === memory && this.#starts[last]! + this.#lengths[last]! === start) {
      this.#lengths[last]! += length;
      this.#store(last);
      return;
    }
    this.#memories[this.#count] = memory;
    this.#starts[this.#count] = start;
    this.#lengths[this.#count] = length;
    this.#store(this.#count);
    this.#count += 1;
  }

  view(index: number): Uint8Array {
    // From the entries, which a sink shortens in place when it wrote only a part.
    const memory = this.#memories[index]!;
    const start = Number(this.entries[index * 2]!) - memory.address;
    return memory.bytes.subarray(start, start + Number(this.entries[index * 2 + 1]!));
  }

  /** Takes `count` bytes off the front: they are done. Returns the index of the first entry that is left. */
  advance(index: number, count: number): number {
    let at = index;
    let left = count;
    this.#bytes -= count;
    while (at < this.#count && left >= this.#lengths[at]!) {
      left -= this.#lengths[at]!;
      at += 1;
    }
    if (left > 0) {
      this.#starts[at]! += left;
      this.#lengths[at]! -= left;
      this.#store(at);
    }
    return at;
  }

  #store(index: number): void {
    this.#iov.set(index, this.#memories[index]!.address + this.#starts[index]!, this.#lengths[index]!);
  }
}

/**
 * Steps `count` bytes into u64 (address, length) entries from `index` on; returns the first that is left. A half-written one is
 * shortened in place.
 */
export function advanceEntries(entries: BigUint64Array, index: number, count: number): number {
  let left = count;
  let at = index;
  while (left > 0) {
    const length = Number(entries[at * 2 + 1]!);
    if (left < length) {
      entries[at * 2] = entries[at * 2]! + BigInt(left);
      entries[at * 2 + 1] = BigInt(length - left);
      return at;
    }
    left -= length;
    at += 1;
  }
  return at;
}
