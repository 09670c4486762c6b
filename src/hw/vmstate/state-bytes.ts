/**
 * The two ends of a state's bytes, with a DataView over the whole: fields of fixed size cost one access each. (buffer-layout
 * is not underneath: it makes a view per 64-bit value and an object per run, where one access to a DataView does.)
 */

import { native } from '../../threads/native.ts';
import { LIMITS } from '../../wire/limits.ts';
import { trouble } from './trouble.ts';

/** A state from this size on is memory of its own, which may have huge pages. */
const LARGE_BYTES = 8 * 1024 ** 2;

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
  readonly view: DataView;
  readonly allowance: Allowance;
  /** The next byte. */
  at = 0;
  readonly #offset: number;

  constructor(bytes: Uint8Array, offset: number, allowance = new Allowance()) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#offset = offset;
    this.allowance = allowance;
  }

  /** Stream offset of the next byte, for errors. */
  get offset(): number {
    return this.#offset + this.at;
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

/** Writes a state into an ArrayBuffer of the right size. */
export class StateWriter {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  #at = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    // Touching fresh memory costs more than copying to it; huge pages make that a seventh.
    if (size >= LARGE_BYTES) native?.adviseHugePages(this.bytes);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Where the next `count` bytes go. */
  take(count: number): number {
    const start = this.#at;
    this.#at = start + count;
    return start;
  }

  u8(value: number): void {
    this.view.setUint8(this.take(1), value);
  }

  u32(value: number): void {
    this.view.setUint32(this.take(4), value);
  }
}
