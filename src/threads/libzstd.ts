/**
 * Streams of libzstd through its public interface (zstd.h), for places in memory: they read guest RAM where it is, and write to it.
 * Node brings the library with it. Its own way to it wants a Buffer for each call and gives back new ones, which made a copy
 * more on the sending side and two on the receiving one.
 */

import { native, nativeFunctions, nativeText } from './native.ts';
import { type PinnedShare, pinned } from './segments.ts';

const lib = nativeFunctions({
  ZSTD_createCCtx: { arguments: [], return: 'u64' },
  ZSTD_CCtx_setParameter: { arguments: ['u64', 'i32', 'i32'], return: 'u64' },
  ZSTD_compressStream2: { arguments: ['u64', 'u64', 'u64', 'i32'], return: 'u64' },
  ZSTD_freeCCtx: { arguments: ['u64'], return: 'u64' },
  ZSTD_createDCtx: { arguments: [], return: 'u64' },
  ZSTD_DCtx_setParameter: { arguments: ['u64', 'i32', 'i32'], return: 'u64' },
  ZSTD_decompressStream: { arguments: ['u64', 'u64', 'u64'], return: 'u64' },
  ZSTD_freeDCtx: { arguments: ['u64'], return: 'u64' },
  ZSTD_isError: { arguments: ['u64'], return: 'u32' },
  ZSTD_getErrorName: { arguments: ['u64'], return: 'pointer' },
});

/** False without native calls, or in a Node that does not show the library to others. */
export const hasLibzstd = native !== undefined && lib !== undefined;

const C_COMPRESSION_LEVEL = 100;
const D_WINDOW_LOG_MAX = 100;
const CONTINUE = 0;
const FLUSH = 1;
/** ZSTD_inBuffer and ZSTD_outBuffer: address, size, position, 64 bits each. */
const BUFFER_BYTES = 24;
const LOW = 2 ** 32;

/** A place in memory that a stream has got to somewhere in. */
class Place {
  readonly pointer: bigint;
  readonly #words: Uint32Array;

  constructor() {
    const { bytes, address } = pinned(BUFFER_BYTES);
    this.#words = new Uint32Array(bytes.buffer);
    this.pointer = BigInt(address);
  }

  set(address: number, length: number): void {
    const words = this.#words;
    const high = Math.floor(address / LOW);
    words[0] = address - high * LOW;
    words[1] = high;
    words[2] = length;
    words[4] = 0;
  }

  /** Bytes from the beginning that are done. */
  get position(): number {
    return this.#words[4]!;
  }

  get isDone(): boolean {
    return this.#words[4] === this.#words[2];
  }
}

/** One stream that is compressed. What it is given it has read, or copied, by the time a call returns. */
export class ZstdEncoder {
  /** What it puts out. */
  readonly output: PinnedShare;
  readonly #calls: NonNullable<typeof lib>;
  readonly #context: bigint;
  readonly #in = new Place();
  readonly #out = new Place();

  /** Level as in zstd.h; the output has room for so many bytes. Only where `hasLibzstd`; throws an Error when memory is short. */
  constructor(level: number, outputBytes: number) {
    this.#calls = theLibrary();
    this.#context = created(this.#calls.ZSTD_createCCtx());
    this.output = pinned(outputBytes);
    checked(this.#calls.ZSTD_CCtx_setParameter(this.#context, C_COMPRESSION_LEVEL, level));
  }

  /** From now on it puts out at the beginning of its output. */
  begin(): void {
    this.#out.set(this.output.address, this.output.bytes.length);
  }

  /** Compresses so many bytes from an address on; with `flush` all so far are put out. Throws an Error when the output is too small. */
  write(address: number, length: number, flush: boolean): void {
    this.#in.set(address, length);
    const call = this.#calls.ZSTD_compressStream2;
    const left = checked(call(this.#context, this.#out.pointer, this.#in.pointer, flush ? FLUSH : CONTINUE));
    if (!this.#in.isDone || (flush && left !== 0)) throw new Error('its output is too small');
  }

  /** Bytes put out since `begin`. */
  get length(): number {
    return this.#out.position;
  }

  /** Gives back the library's memory; nothing may be called after it. */
  close(): void {
    this.#calls.ZSTD_freeCCtx(this.#context);
  }
}

/** One stream that is expanded. */
export class ZstdDecoder {
  readonly #calls: NonNullable<typeof lib>;
  readonly #context: bigint;
  readonly #in = new Place();
  readonly #out = new Place();

  /** Refuses streams with a window above 2 ** windowLogMax bytes. Only where `hasLibzstd`; throws an Error when memory is short. */
  constructor(windowLogMax: number) {
    this.#calls = theLibrary();
    this.#context = created(this.#calls.ZSTD_createDCtx());
    checked(this.#calls.ZSTD_DCtx_setParameter(this.#context, D_WINDOW_LOG_MAX, windowLogMax));
  }

  /** What is expanded next: so many bytes from an address on. */
  begin(address: number, length: number): void {
    this.#in.set(address, length);
  }

  /**
   * Fills so many bytes from an address on; returns how many it could, fewer when the input is at its end. Throws an Error with the library's
   * reason.
   */
  read(address: number, length: number): number {
    this.#out.set(address, length);
    for (;;) {
      const before = this.#out.position;
      checked(this.#calls.ZSTD_decompressStream(this.#context, this.#out.pointer, this.#in.pointer));
      if (this.#out.isDone) return length;
      if (this.#in.isDone && this.#out.position === before) return before;
    }
  }

  /** All of the input has been taken. */
  get isInputDone(): boolean {
    return this.#in.isDone;
  }

  /** Gives back the library's memory; nothing may be called after it. */
  close(): void {
    this.#calls.ZSTD_freeDCtx(this.#context);
  }
}

function theLibrary(): NonNullable<typeof lib> {
  if (lib === undefined) throw new Error('there is no libzstd to call');
  return lib;
}

function created(context: number | bigint): bigint {
  if (context === 0n) throw new Error('libzstd has no memory for a stream');
  return BigInt(context);
}

/** A call's result. */
function checked(result: number | bigint): number {
  if (theLibrary().ZSTD_isError(result) !== 0) throw new Error(nativeText(theLibrary().ZSTD_getErrorName(result)));
  return Number(result);
}
