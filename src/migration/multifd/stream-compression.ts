/**
 * The pages of a channel through one zlib or zstd stream that lasts as long as the channel and is flushed after each packet
 * (spec/wire.md §5.5). Everything happens at once, in the channel's own thread.
 */

import { constants, Deflate, Inflate, ZstdCompress, ZstdDecompress } from 'minizlib';
import type { RamWindow } from '../../hw/ram-window.ts';
import { copyPinned } from '../../threads/copy.ts';
import { native } from '../../threads/native.ts';
import { type PinnedBytes, pinned, type Segments } from '../../threads/segments.ts';
import { LIMITS } from '../../wire/limits.ts';
import { MULTIFD_METHOD, PACKET_PAGES } from '../../wire/multifd.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { MultifdMethod, PageCompressor, PageDecompressor } from './compression.ts';
import type { PageRuns } from './page-runs.ts';
import { RandomnessTest, StoredPages } from './stored-pages.ts';

type StreamMethod = Exclude<MultifdMethod, 'none'>;

const PACKET_DATA_BYTES = PACKET_PAGES * PAGE_SIZE;
/**
 * What a stream puts out into: a packet's pages that do not pack, and what the formats add to them. Each further piece is a call of the
 * library, and costs more than minizlib's copy of the first.
 */
const PIECE_BYTES = PACKET_DATA_BYTES + 65_536;
/**
 * What a packet's pieces take is freed with the next. With glibc's own limits it went back to the system and came again for each packet,
 * to be cleared: 2 GiB of random RAM through zstd and two channels took twice as long.
 */
const FREED_BYTES = 8 * 1024 ** 2;
native?.keepFreedMemory(FREED_BYTES);

/** A packet of which zlib leaves more than this share does not pack. */
const PACKED_SHARE = 31 / 32;
/** Every so many packets one that looks as if it did not pack is tried: pages may repeat each other and still look random. */
const TRY_EVERY = 32;

/** zlib's mark of a flush. */
const SYNC_FLUSH_END = Buffer.of(0x00, 0x00, 0xff, 0xff);

/** The sending end. Levels are those of the parameters multifd-zlib-level and multifd-zstd-level. */
export function streamCompressor(method: StreamMethod, level: number): PageCompressor {
  switch (method) {
    case 'zlib':
      return new ZlibCompressor(new Codec(Deflate, { level, chunkSize: PIECE_BYTES, flush: constants.Z_SYNC_FLUSH }));
    case 'zstd': {
      const params = { [constants.ZSTD_c_compressionLevel]: level };
      return new StreamCompressor(
        MULTIFD_METHOD.zstd,
        new Codec(ZstdCompress, { params, chunkSize: PIECE_BYTES, flush: constants.ZSTD_e_flush }),
      );
    }
    default:
      return method satisfies never;
  }
}

/** The receiving end. */
export function streamDecompressor(method: StreamMethod): PageDecompressor {
  // A forged packet can announce little and expand to a lot: it may put out one packet's pages and not a byte more.
  const limits = { chunkSize: PIECE_BYTES, maxOutputLength: PACKET_DATA_BYTES };
  switch (method) {
    case 'zlib':
      return new StreamDecompressor(new Codec(Inflate, { ...limits, flush: constants.Z_SYNC_FLUSH }), SYNC_FLUSH_END);
    case 'zstd': {
      const params = { [constants.ZSTD_d_windowLogMax]: LIMITS.MULTIFD_ZSTD_WINDOW_LOG };
      return new StreamDecompressor(
        new Codec(ZstdDecompress, { params, ...limits, flush: constants.ZSTD_e_flush }),
        undefined,
      );
    }
    default:
      return method satisfies never;
  }
}

class StreamCompressor implements PageCompressor {
  readonly method: number;
  protected readonly codec: Codec;
  /** Pages that do not follow each other; from the first packet with such. */
  #gather: PinnedBytes | undefined;

  constructor(method: number, codec: Codec) {
    this.method = method;
    this.codec = codec;
  }

  /** The guest may write to a page meanwhile: both libraries copy what they are given before they look at it. */
  add(segments: Segments, block: RamWindow, runs: PageRuns): void {
    if (runs.runCount === 0) return;
    this.addPieces(segments, this.codec.pass(this.#input(block, runs)));
  }

  close(): void {
    this.codec.close();
  }

  protected addPieces(segments: Segments, pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) {
      segments.add({ bytes: piece, address: native?.addressOf(piece) ?? 0 }, 0, piece.length);
    }
  }

  /** The pages of all runs as one: each call of the library costs more than copying them. */
  #input(block: RamWindow, runs: PageRuns): Uint8Array {
    if (runs.runCount === 1) return block.bytes.subarray(...rangeOf(runs, 0));
    this.#gather ??= pinned(PACKET_DATA_BYTES);
    const { bytes } = this.#gather;
    let length = 0;
    for (let run = 0; run < runs.runCount; run++) {
      const [start, end] = rangeOf(runs, run);
      copyPinned(this.#gather, length, block, start, end - start);
      length += end - start;
    }
    return bytes.subarray(0, length);
  }
}

/** Where a run's bytes are in their block. */
function rangeOf(runs: PageRuns, run: number): [start: number, end: number] {
  const start = runs.firstPage(run) * PAGE_SIZE;
  return [start, start + runs.pageCount(run) * PAGE_SIZE];
}

/** As StreamCompressor, but pages that do not pack stay as they are, once a packet of them has been tried. */
class ZlibCompressor extends StreamCompressor {
  readonly #stored = new StoredPages();
  readonly #test = new RandomnessTest();
  /** Packets stored since the last that was packed; undefined when that one did pack. */
  #storedCount: number | undefined;

  constructor(codec: Codec) {
    super(MULTIFD_METHOD.zlib, codec);
  }

  override add(segments: Segments, block: RamWindow, runs: PageRuns): void {
    if (this.#storedCount !== undefined && runs.runCount > 0) {
      this.#storedCount += 1;
      if (this.#storedCount < TRY_EVERY && this.#test.looksRandom(block, runs)) {
        this.#stored.addTo(segments, block, runs);
        return;
      }
    }
    const before = segments.byteLength;
    super.add(segments, block, runs);
    const packed = segments.byteLength - before;
    if (packed === 0) return;
    this.#storedCount = undefined;
    if (packed < runs.totalPages * PAGE_SIZE * PACKED_SHARE) return;
    // What is stored from now on the library knows nothing of: nothing may refer to what was before.
    this.addPieces(segments, this.codec.forget());
    this.#storedCount = 0;
  }
}

class StreamDecompressor implements PageDecompressor {
  readonly #codec: Codec;
  readonly #end: Uint8Array | undefined;

  /** `end`: what the data of every packet ends with, so that a stream which was finished is not taken for one flushed. */
  constructor(codec: Codec, end: Uint8Array | undefined) {
    this.#codec = codec;
    this.#end = end;
  }

  expand({ bytes }: PinnedBytes, byteLength: number, block: RamWindow, runs: PageRuns): void {
    const data = bytes.subarray(0, byteLength);
    const end = this.#end;
    if (end !== undefined && Buffer.compare(data.subarray(-end.length), end) !== 0) {
      throw new Error('the stream was finished, or is not flushed at the end of the packet');
    }
    const pieces = this.#codec.pass(data);
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (length !== runs.totalPages * PAGE_SIZE) throw new Error(`it expands to ${length} bytes`);
    storePieces(block, runs, pieces);
  }

  close(): void {
    this.#codec.close();
  }
}

/** Stores what the pages of the runs hold, in order; `pieces` are exactly as long as they. */
function storePieces(block: RamWindow, runs: PageRuns, pieces: readonly Uint8Array[]): void {
  let [run, done] = [0, 0];
  for (const piece of pieces) {
    const from = { bytes: piece, address: native?.addressOf(piece) ?? 0 };
    for (let at = 0; at < piece.length; ) {
      const [start, end] = rangeOf(runs, run);
      const to = start + done;
      const count = Math.min(end - to, piece.length - at);
      copyPinned(block, to, from, at, count);
      at += count;
      done += count;
      if (to + count === end) [run, done] = [run + 1, 0];
    }
  }
}

type CodecClass = typeof Deflate | typeof Inflate | typeof ZstdCompress | typeof ZstdDecompress;

/**
 * One stream of minizlib, written to and flushed synchronously: what a call puts out is there when it returns. The first piece of a call
 * is a copy that minizlib made; the others are the memory that Node's stream fills, piece after piece, and goes on in until it is full.
 */
class Codec {
  readonly #stream: InstanceType<CodecClass>;
  #pieces: Uint8Array[] = [];
  /** How many of them there were before the call that runs. */
  #before = 0;
  /** Memory that nobody needs after the pieces are done with. */
  #spent: ArrayBufferLike[] = [];
  /** What the stream goes on in. */
  #current: ArrayBufferLike | undefined;
  #error: Error | undefined;

  /** `options` go to node:zlib as they are, although minizlib's types name only some of them. */
  constructor(type: CodecClass, options: object) {
    this.#stream = new type(options);
    this.#stream.on('data', (piece: Uint8Array) => this.#receive(piece));
    this.#stream.on('error', (error) => {
      this.#error ??= error instanceof Error ? error : new Error(String(error));
    });
  }

  /** What `data` becomes, flushed; valid until the next call. */
  pass(data: Uint8Array): readonly Uint8Array[] {
    this.#giveBack();
    // A view of the same bytes: minizlib wants Buffers.
    return this.#call(() => this.#stream.write(Buffer.from(data.buffer, data.byteOffset, data.byteLength)));
  }

  /** Makes zlib forget what it has seen; what it puts out for that comes behind the pieces of the last `pass`, and is valid as long. */
  forget(): readonly Uint8Array[] {
    return this.#call(() => this.#stream.flush(constants.Z_FULL_FLUSH));
  }

  #call(write: () => void): readonly Uint8Array[] {
    const before = this.#pieces.length;
    this.#before = before;
    write();
    if (this.#error !== undefined) throw this.#error;
    return this.#pieces.slice(before);
  }

  /** Nothing is written any more. The library's own memory, some 100 KiB, would else wait to be collected, and so would the pieces. */
  close(): void {
    this.#giveBack();
    this.#stream.close();
    if (this.#current instanceof ArrayBuffer) this.#current.transfer(0);
    this.#current = undefined;
  }

  /** The pieces of the last time are done with: their memory is given back at once, and not when it is collected. */
  #giveBack(): void {
    for (const memory of this.#spent) if (memory instanceof ArrayBuffer) memory.transfer(0);
    this.#spent = [];
    this.#pieces = [];
  }

  #receive(piece: Uint8Array): void {
    const isCopy = this.#pieces.length === this.#before;
    this.#pieces.push(piece);
    if (isCopy) {
      // A small one shares its memory with others.
      if (piece.byteLength === piece.buffer.byteLength) this.#spent.push(piece.buffer);
      return;
    }
    if (this.#current !== undefined) this.#spent.push(this.#current);
    this.#current = piece.buffer;
  }
}
