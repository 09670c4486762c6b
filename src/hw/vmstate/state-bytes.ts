/** The two ends of a state's bytes, over which the layouts of single values work (wire/struct.ts). */

import { LIMITS } from '../../wire/limits.ts';
import type { FieldLayout } from '../../wire/struct.ts';
import { trouble } from './trouble.ts';

/** What all states of one decode or search may have together of what the peer chooses. */
export class Allowance {
  #elements = 0;
  #subsections = 0;

  /** Counts elements that the peer announced. Throws `vmstate/limit` before anything depends on them. */
  elements(count: number, at: number): void {
    this.#elements += count;
    if (this.#elements > LIMITS.VMSTATE_ELEMENTS) throw overLimit('VMSTATE_ELEMENTS', this.#elements, at);
  }

  /** Counts one more subsection. */
  subsection(at: number): void {
    this.#subsections += 1;
    if (this.#subsections > LIMITS.VMSTATE_SUBSECTIONS) throw overLimit('VMSTATE_SUBSECTIONS', this.#subsections, at);
  }

  /** Checks the size of one buffer, array or bitmap that the peer announced. */
  bytes(count: number, at: number): void {
    if (count > LIMITS.VMSTATE_BYTES) throw overLimit('VMSTATE_BYTES', count, at);
  }
}

function overLimit(limit: keyof typeof LIMITS, actual: number, at: number): Error {
  return trouble('vmstate/limit', { at, limit, maximum: LIMITS[limit], actual });
}

/** Reads a state from bytes that are all there. */
export class StateReader {
  readonly bytes: Uint8Array;
  /** The same bytes, as layouts want them; private, so that an author's types need none of Node's. */
  readonly #buffer: Buffer;
  readonly allowance: Allowance;
  /** The next byte. */
  at = 0;
  readonly #offset: number;

  constructor(bytes: Uint8Array, offset: number, allowance = new Allowance()) {
    this.bytes = bytes;
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#offset = offset;
    this.allowance = allowance;
  }

  /** Stream offset of the next byte, for errors. */
  get offset(): number {
    return this.#offset + this.at;
  }

  /** The next value. Throws `vmstate/truncated`. */
  next<T>(layout: FieldLayout<T>): T {
    return layout.decode(this.#buffer, this.take(layout.span));
  }

  /** A value at a place that is there, which stays unread. */
  valueAt<T>(layout: FieldLayout<T>, at: number): T {
    return layout.decode(this.#buffer, at);
  }

  /** Passes `count` bytes; returns where they begin. Throws `vmstate/truncated`. */
  take(count: number): number {
    const start = this.at;
    if (start + count > this.bytes.length) {
      throw trouble('vmstate/truncated', { at: this.offset, needed: count, available: this.bytes.length - start });
    }
    this.at = start + count;
    return start;
  }

  /** Whether so many bytes are left. */
  has(count: number): boolean {
    return this.at + count <= this.bytes.length;
  }
}

/** Writes a state into the start of memory that it is given, whatever is there, or into an ArrayBuffer of the right size. */
export class StateWriter {
  readonly bytes: Uint8Array;
  /** The same bytes, as layouts want them; private, so that an author's types need none of Node's. */
  readonly #buffer: Buffer;
  #at = 0;

  constructor(size: number, into?: Uint8Array) {
    this.bytes = into !== undefined && into.length >= size ? into.subarray(0, size) : new Uint8Array(size);
    this.#buffer = Buffer.from(this.bytes.buffer, this.bytes.byteOffset, size);
  }

  /** Where the next `count` bytes go. */
  take(count: number): number {
    const start = this.#at;
    this.#at = start + count;
    return start;
  }

  /** Writes a value that the layout can have. */
  put<T>(layout: FieldLayout<T>, value: T): void {
    layout.encode(value, this.#buffer, this.take(layout.span));
  }
}
