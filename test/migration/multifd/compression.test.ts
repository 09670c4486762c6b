/** What a compressed packet may cost its receiver: one packet's pages, and a window that QEMU's levels need. */

import { constants, Deflate, ZstdCompress } from 'minizlib';
import { describe, expect, test } from 'vitest';
import { streamDecompressor } from '../../../src/migration/multifd/stream-compression.ts';

const PACKET_BYTES = 128 * 4096;

/** The first flushed packet of a stream with this in it. */
function packet(stream: Deflate | ZstdCompress, content: Buffer): Buffer {
  const pieces: Buffer[] = [];
  stream.on('data', (piece) => pieces.push(Buffer.from(piece)));
  stream.write(content);
  return Buffer.concat(pieces);
}

// Types of minizlib do not name all that node:zlib takes.
const zstd = (params: Record<number, number>) =>
  new ZstdCompress({ params, flush: constants.ZSTD_e_flush, chunkSize: 1 << 20 } as object);
const zlib = (level: number) => new Deflate({ level, flush: constants.Z_SYNC_FLUSH, chunkSize: 1 << 20 } as object);
const pages = Buffer.alloc(PACKET_BYTES, 'some text ');

test.each([0, 1, 9, 20])('zstd level %i is taken', (level) => {
  const data = packet(zstd({ [constants.ZSTD_c_compressionLevel]: level }), pages);
  expect(Buffer.compare(Buffer.concat(streamDecompressor('zstd').expand(data, PACKET_BYTES)), pages)).toBe(0);
});

test.each([0, 1, 9])('zlib level %i is taken', (level) => {
  expect(
    Buffer.compare(Buffer.concat(streamDecompressor('zlib').expand(packet(zlib(level), pages), PACKET_BYTES)), pages),
  ).toBe(0);
});

test.each([26, 27])('a zstd stream that asks for a window of 2^%i bytes is refused', (windowLog) => {
  const data = packet(zstd({ [constants.ZSTD_c_windowLog]: windowLog }), pages);
  expect(() => streamDecompressor('zstd').expand(data, PACKET_BYTES)).toThrow(/too much memory/);
});

describe('a packet that expands to 256 MiB is refused when it has one packet of them', () => {
  const bomb = Buffer.alloc(256 << 20);
  test.each([
    ['zlib', zlib(1)],
    ['zstd', zstd({})],
  ] as const)('%s', (method, stream) => {
    const data = packet(stream, bomb);
    const before = process.memoryUsage().rss;
    expect(() => streamDecompressor(method).expand(data, PACKET_BYTES)).toThrow(/./);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20);
  });
});
