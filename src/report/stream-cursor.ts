/** A position in a whole recorded stream. Reads are big-endian and know what they read, so a cut names the field. */

import { HarnessError } from '../base/errors.ts';
import { LIMITS } from '../wire/limits.ts';

const UINT32 = 2 ** 32;
const latin1 = new TextDecoder('latin1');

/** Reads fields one after the other; any read past `end` throws `stream/truncated` and leaves the position. */
export class StreamCursor {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Offset of the next byte. */
  at = 0;
  /** Where reading stops: the file's end, or that of a package. */
  end: number;
  /** The part of the stream that errors name. */
  section = 'header';

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.end = bytes.length;
  }

  /** The next byte without taking it; undefined at the end. */
  peek(): number | undefined {
    return this.at < this.end ? this.bytes[this.at] : undefined;
  }

  u8(field: string): number {
    return this.view.getUint8(this.take(1, field));
  }

  u16(field: string): number {
    return this.view.getUint16(this.take(2, field));
  }

  u32(field: string): number {
    return this.view.getUint32(this.take(4, field));
  }

  /** A size or an offset: a u64 that must be a safe integer. */
  size(field: string): number {
    const at = this.take(8, field);
    const value = this.view.getUint32(at) * UINT32 + this.view.getUint32(at + 4);
    if (Number.isSafeInteger(value)) return value;
    throw this.badValue({
      at,
      field,
      expected: 'at most 2^53 - 1',
      actual: `0x${this.view.getBigUint64(at).toString(16)}`,
    });
  }

  /** `length` bytes as text, one character per byte. */
  text(length: number, field: string): string {
    const at = this.take(length, field);
    return latin1.decode(this.bytes.subarray(at, at + length));
  }

  /** A str8: one length byte, then the text. */
  shortText(field: string): string {
    return this.text(this.u8(`length of ${field}`), field);
  }

  /** Steps over `length` bytes and returns where they began. */
  take(length: number, field: string): number {
    const { at } = this;
    if (length > this.end - at) {
      throw new HarnessError('stream/truncated', {
        at,
        section: this.section,
        field,
        needed: length,
        available: this.end - at,
      });
    }
    this.at = at + length;
    return at;
  }

  /** The error for a field that is there and wrong. */
  badValue(what: { at: number; field: string; expected: string; actual: string; hint?: string }): HarnessError {
    return new HarnessError('stream/bad-value', { section: this.section, ...what });
  }

  /** The error for a number that is larger than anything we accept. */
  overLimit(what: { at: number; field: string; limit: keyof typeof LIMITS; actual: number }): HarnessError {
    return new HarnessError('stream/limit', { section: this.section, maximum: LIMITS[what.limit], ...what });
  }

  /** The error for bytes that cannot be taken apart here. */
  unsupported(what: { at: number; field: string; what: string }): HarnessError {
    return new HarnessError('stream/unsupported', { section: this.section, ...what });
  }
}
