/**
 * A cursor over an incoming stream that arrives in chunks of any size. Integers are big-endian. Every read names its
 * field, so that an error says offset, section, field, expected and actual. Scattered reads (see ram/page-run.ts) may
 * bypass the staging buffer; whatever they read too much goes back with `pushBack`.
 */

import { Breather } from '../../base/breather.ts';
import { HarnessError } from '../../base/errors.ts';
import { copyPinned } from '../../threads/copy.ts';
import { loadKernel } from '../../threads/kernel.ts';
import type { RecordsKernel } from '../../threads/kernel-exports.ts';
import { ERRNO, native } from '../../threads/native.ts';
import type { PinnedBytes } from '../../threads/segments.ts';
import type { Field, Struct, StructValue } from '../../wire/struct.ts';
import type { ByteSource } from './channel.ts';

/** Bytes the staging buffer holds; no single field is longer. */
const STAGING_BYTES = 2 << 20;
/** How much one read by the source's own means asks for. */
const FILL_BYTES = 262_144;
/** How much one native read asks for: little, so that the pages behind are read straight into RAM instead. */
const NATIVE_FILL_BYTES = 16_384;
/** From this many bytes on, a field is read to its place without staging; such views do not live on the JavaScript heap. */
const DIRECT_BYTES = 65_536;
/** Bytes of a zero-page record without a block name. */
const ZERO_RECORD_BYTES = 9;

/** Where bytes land before they are parsed, with the kernel that recognizes runs of records in them. */
export interface Staging {
  readonly bytes: Uint8Array;
  /** Address for native reads; 0 without native calls. */
  readonly address: number;
  readonly kernel: RecordsKernel;
}

/** A staging buffer, to share between readers that never live at the same time: making one costs more than a short load. */
export function stagingBuffer(): Staging {
  const pages = STAGING_BYTES / 65_536;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const bytes = new Uint8Array(memory.buffer);
  return { bytes, address: native?.addressOf(bytes) ?? 0, kernel: loadKernel('records', memory) };
}

/** Reads fields of a stream; see the file header. */
export class StreamReader {
  /** What is being read, for errors: `header`, `'ram' instance 0 version 4 (section id 1)` … */
  section = 'stream header';
  readonly staging: Uint8Array;
  readonly #staging: Staging;
  readonly #source: ByteSource;
  readonly #view: DataView;
  #start = 0;
  #end = 0;
  #offset: number;

  /**
   * `offset` is where in the whole stream the source starts.
   * `staging` comes from `stagingBuffer`; readers may use one in turn.
   */
  constructor(
    source: ByteSource,
    { staging = stagingBuffer(), offset = 0 }: { staging?: Staging; offset?: number } = {},
  ) {
    this.#source = source;
    this.#staging = staging;
    this.staging = staging.bytes;
    this.#view = new DataView(staging.bytes.buffer);
    this.#offset = offset;
  }

  /** Offset of the next unread byte from the start of the stream. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes that can be read without waiting. */
  get available(): number {
    return this.#end - this.#start;
  }

  /** Waits until `count` bytes are there. Throws `stream/truncated` when the stream ends first. */
  async need(count: number, field: string): Promise<void> {
    while (this.available < count) {
      if (!(await this.fill())) throw this.truncated(field, count);
    }
  }

  /** Reads what there is into the staging buffer, at least one byte; false at the end of the stream. */
  async fill(): Promise<boolean> {
    await this.breathe();
    this.#compact();
    const readv = this.#source.readv;
    if (readv !== undefined && native !== undefined) {
      const count = this.#readNow(readv, NATIVE_FILL_BYTES);
      if (count >= 0) return this.#arrived(count);
    }
    return this.#arrived(await this.#source.read(this.#room()));
  }

  readonly #breather = new Breather();

  /** Lets the event loop turn when this stream has kept it busy for long; reads that never wait would starve it. */
  breathe(): Promise<void> | undefined {
    return this.#breather.breathe();
  }

  #arrived(count: number): boolean {
    this.#end += count;
    return count > 0;
  }

  readonly #iov = new BigUint64Array(new SharedArrayBuffer(16));
  readonly #iovAddress = native?.addressOf(new Uint8Array(this.#iov.buffer)) ?? 0;

  /** Like `fill`, but waits at once and, with native calls, takes only a few bytes: the rest is for a scattered read. */
  async wait(): Promise<boolean> {
    this.#compact();
    return this.#arrived(await this.#source.read(this.#room()));
  }

  #room(): Uint8Array {
    return this.staging.subarray(this.#end, this.#end + FILL_BYTES);
  }

  #readNow(readv: (iovAddress: number, count: number) => number, length: number): number {
    this.#iov[0] = BigInt(this.#staging.address + this.#end);
    this.#iov[1] = BigInt(length);
    return readv(this.#iovAddress, 1);
  }

  /** The source's scattered read, when there is one and nothing is staged. */
  get readv(): ((iovAddress: number, count: number) => number) | undefined {
    return this.available === 0 ? this.#source.readv : undefined;
  }

  /** Accounts for bytes that a scattered read put where they belong. */
  consumed(count: number): void {
    this.#offset += count;
  }

  /** Puts bytes that a scattered read took too much back, as the next to be read. The staging buffer must be empty. */
  pushBack(pieces: readonly Uint8Array[]): void {
    this.#start = 0;
    this.#end = 0;
    for (const piece of pieces) {
      this.staging.set(piece, this.#end);
      this.#end += piece.length;
    }
  }

  /** Forgets what was read ahead: the source goes on at another place, `offset` bytes from the start of the stream. */
  restart(offset: number): void {
    this.#start = 0;
    this.#end = 0;
    this.#offset = offset;
  }

  /** Moves up to `length` staged bytes to `target` at `at`; returns how many. */
  take(target: PinnedBytes, at: number, length: number): number {
    const count = Math.min(length, this.available);
    if (count === 0) return 0;
    copyPinned(target, at, this.#staging, this.#start, count);
    this.skipStaged(count);
    return count;
  }

  /** Steps over bytes that are staged. */
  skipStaged(count: number): void {
    this.#start += count;
    this.#offset += count;
  }

  /** How many zero-page records for `page`, `page` + 1, … stand next in the staging buffer; steps over them. */
  takeZeroRun(page: number, limit: number): number {
    const count = this.#staging.kernel.zeroRun(this.#start, this.#end, page, limit);
    this.skipStaged(count * ZERO_RECORD_BYTES);
    return count;
  }

  /** The next `count` bytes, which stay unread. Throws `stream/truncated` naming `field`. */
  async peek(count: number, field: string): Promise<Uint8Array> {
    await this.need(count, field);
    return this.staging.slice(this.#start, this.#start + count);
  }

  /** Reads ahead within the staged bytes. */
  peekU8(ahead: number): number {
    return this.staging[this.#start + ahead]!;
  }

  /** Reads ahead within the staged bytes. */
  peekU32(ahead: number): number {
    return this.#view.getUint32(this.#start + ahead);
  }

  async u8(field: string): Promise<number> {
    if (this.available < 1) await this.need(1, field);
    const value = this.peekU8(0);
    this.skipStaged(1);
    return value;
  }

  async u16(field: string): Promise<number> {
    if (this.available < 2) await this.need(2, field);
    const value = this.#view.getUint16(this.#start);
    this.skipStaged(2);
    return value;
  }

  async u32(field: string): Promise<number> {
    if (this.available < 4) await this.need(4, field);
    const value = this.peekU32(0);
    this.skipStaged(4);
    return value;
  }

  async u64(field: string): Promise<bigint> {
    if (this.available < 8) await this.need(8, field);
    const value = this.#view.getBigUint64(this.#start);
    this.skipStaged(8);
    return value;
  }

  /** A copy of the next `length` bytes (at most STAGING_BYTES). */
  async bytes(length: number, field: string): Promise<Uint8Array> {
    const copy = new Uint8Array(length);
    await this.readInto(copy, field);
    return copy;
  }

  /** Fills `target` with the next bytes; large ones by the kernel, without staging. Throws `stream/truncated` naming `field`. */
  async readInto(target: Uint8Array, field: string): Promise<void> {
    const place = { bytes: target, address: 0 };
    let done = this.take(place, 0, target.length);
    while (done < target.length) {
      const left = target.length - done;
      const count = left < DIRECT_BYTES ? -ERRNO.EAGAIN : this.#readDirect(target, done);
      if (count > 0) {
        done += count;
        this.#offset += count;
        await this.breathe();
        continue;
      }
      const more = count !== 0 && (left < DIRECT_BYTES ? await this.fill() : await this.wait());
      if (!more) throw this.truncated(field, left);
      done += this.take(place, done, left);
    }
  }

  /** A read straight into the rest of `target`; minus EAGAIN where that cannot be. */
  #readDirect(target: Uint8Array, done: number): number {
    const readv = this.readv;
    if (readv === undefined || native === undefined) return -ERRNO.EAGAIN;
    this.#iov[0] = BigInt(native.addressOf(target) + done);
    this.#iov[1] = BigInt(target.length - done);
    return readv(this.#iovAddress, 1);
  }

  /** A run of fixed fields. When the stream ends inside, the error names the field. */
  async struct<F extends readonly Field<string, unknown>[]>(fields: Struct<F>): Promise<StructValue<F>> {
    while (this.available < fields.size) {
      if (await this.fill()) continue;
      const field = fields.fieldAt(this.available);
      throw this.truncated(field, fields.size);
    }
    const value = fields.decode(this.staging.slice(this.#start, this.#start + fields.size));
    this.skipStaged(fields.size);
    return value;
  }

  /** One length byte and that many bytes of text; bytes outside ASCII are kept as Latin-1 so that nothing is lost. */
  async text8(field: string): Promise<string> {
    return latin1(await this.bytes(await this.u8(`${field} (length)`), field));
  }

  /** The error for a stream that ended inside a field. */
  truncated(field: string, needed: number): HarnessError {
    const { offset: at, section, available } = this;
    return new HarnessError('stream/truncated', {
      at,
      section,
      field,
      needed,
      available,
      hint: 'the sender closed the connection or the file was cut; look for its own error',
    });
  }

  /** The error for a field with a value that may not be; `at` is the field's offset. */
  bad(options: { at: number; field: string; expected: string; actual: string; hint?: string }): HarnessError {
    return new HarnessError('stream/bad-value', { section: this.section, ...options });
  }

  /** The error for a length, count or size over a limit. */
  overLimit(options: { at: number; field: string; limit: string; maximum: number; actual: number }): HarnessError {
    return new HarnessError('stream/limit', { section: this.section, ...options });
  }

  #compact(): void {
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = 0;
    } else if (this.#end + FILL_BYTES > STAGING_BYTES) {
      this.staging.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
  }
}

/** Text of bytes, one character a byte. */
export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
