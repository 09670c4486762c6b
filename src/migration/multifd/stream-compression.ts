/**
 * The pages of a channel through one zlib or zstd stream that lasts as long as the channel and is flushed after each packet
 * (spec/wire.md §5.5). Everything happens at once, in the channel's own thread.
 */

import { constants, Deflate, Inflate, ZstdCompress, ZstdDecompress } from 'minizlib';
import type { RamWindow } from '../../hw/ram-window.ts';
import { type PinnedBytes, pinned, type Segments } from '../../threads/segments.ts';
import { LIMITS } from '../../wire/limits.ts';
import { MULTIFD_METHOD, PACKET_PAGES } from '../../wire/multifd.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { MultifdMethod, PageCompressor, PageDecompressor } from './compression.ts';
import type { PacketTable } from './packet-table.ts';

type StreamMethod = Exclude<MultifdMethod, 'none'>;

const PACKET_DATA_BYTES = PACKET_PAGES * PAGE_SIZE;
/** Room for what one call puts out, so that it is one piece: pages that do not compress grow a little. */
const CHUNK_BYTES = PACKET_DATA_BYTES + 65_536;
/** zlib's mark of a flush. */
const SYNC_FLUSH_END = Buffer.of(0x00, 0x00, 0xff, 0xff);

/** The sending end. Levels are those of the parameters multifd-zlib-level and multifd-zstd-level. */
export function streamCompressor(method: StreamMethod, level: number): PageCompressor {
  switch (method) {
    case 'zlib':
      return new StreamCompressor(
        MULTIFD_METHOD.zlib,
        new Codec(Deflate, { level, flush: constants.Z_SYNC_FLUSH, chunkSize: CHUNK_BYTES }),
      );
    case 'zstd': {
      const params = { [constants.ZSTD_c_compressionLevel]: level };
      return new StreamCompressor(
        MULTIFD_METHOD.zstd,
        new Codec(ZstdCompress, { params, flush: constants.ZSTD_e_flush, chunkSize: CHUNK_BYTES }),
      );
    }
    default:
      return method satisfies never;
  }
}

/** The receiving end. */
export function streamDecompressor(method: StreamMethod): PageDecompressor {
  // A forged packet can announce little and expand to a lot: it may put out one packet's pages and not a byte more.
  const limits = { chunkSize: CHUNK_BYTES, maxOutputLength: PACKET_DATA_BYTES };
  switch (method) {
    case 'zlib':
      return new StreamDecompressor(new Codec(Inflate, { flush: constants.Z_SYNC_FLUSH, ...limits }), SYNC_FLUSH_END);
    case 'zstd': {
      const params = { [constants.ZSTD_d_windowLogMax]: LIMITS.MULTIFD_ZSTD_WINDOW_LOG };
      const options = { flush: constants.ZSTD_e_flush, params, ...limits };
      return new StreamDecompressor(new Codec(ZstdDecompress, options), undefined);
    }
    default:
      return method satisfies never;
  }
}

class StreamCompressor implements PageCompressor {
  readonly method: number;
  readonly #codec: Codec;
  /** A private copy: the guest may write to a page while the codec reads it for the second time. */
  readonly #copy = new Uint8Array(PACKET_DATA_BYTES);
  readonly #out: PinnedBytes = pinned(LIMITS.MULTIFD_PACKET_BYTES);

  constructor(method: number, codec: Codec) {
    this.method = method;
    this.#codec = codec;
  }

  add(segments: Segments, block: RamWindow, table: PacketTable): void {
    if (table.runCount === 0) return;
    let copied = 0;
    for (let run = 0; run < table.runCount; run++) {
      const start = table.firstPage(run) * PAGE_SIZE;
      const bytes = block.bytes.subarray(start, start + table.pageCount(run) * PAGE_SIZE);
      this.#copy.set(bytes, copied);
      copied += bytes.length;
    }
    let length = 0;
    for (const piece of this.#codec.write(this.#copy.subarray(0, copied))) {
      this.#out.bytes.set(piece, length);
      length += piece.length;
    }
    segments.add(this.#out, 0, length);
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

  expand(data: Uint8Array, byteLength: number): Uint8Array {
    const end = this.#end;
    if (end !== undefined && Buffer.compare(data.subarray(-end.length), end) !== 0) {
      throw new Error('the stream was finished, or is not flushed at the end of the packet');
    }
    const pieces = this.#codec.write(data);
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (length !== byteLength) throw new Error(`it expands to ${length} bytes`);
    const [first = new Uint8Array(0)] = pieces;
    return pieces.length === 1 ? first : Buffer.concat(pieces);
  }
}

type CodecClass = typeof Deflate | typeof Inflate | typeof ZstdCompress | typeof ZstdDecompress;

/** One stream of minizlib, written to synchronously: what a write puts out is there when it returns. */
class Codec {
  readonly #stream: InstanceType<CodecClass>;
  #pieces: Uint8Array[] = [];
  #error: Error | undefined;

  /** `options` go to node:zlib as they are, although minizlib's types name only some of them. */
  constructor(type: CodecClass, options: object) {
    this.#stream = new type(options);
    this.#stream.on('data', (piece: Uint8Array) => this.#pieces.push(piece));
    this.#stream.on('error', (error) => {
      this.#error ??= error instanceof Error ? error : new Error(String(error));
    });
  }

  /** What comes back is valid until the next call. */
  write(data: Uint8Array): Uint8Array[] {
    this.#giveBack();
    // A view of the same bytes: minizlib wants Buffers.
    this.#stream.write(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    if (this.#error !== undefined) throw this.#error;
    return this.#pieces;
  }

  /** Memory of half a megabyte for each packet of each channel would otherwise wait for the garbage collector. */
  #giveBack(): void {
    const [piece] = this.#pieces;
    const isAlone = this.#pieces.length === 1 && piece?.byteLength === piece?.buffer.byteLength;
    if (isAlone && piece?.buffer instanceof ArrayBuffer) piece.buffer.transfer(0); // a copy that minizlib made for us
    this.#pieces = [];
  }
}
