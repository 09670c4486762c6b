/** What a compressed packet may cost its receiver: one packet's pages, and a window that QEMU's levels need. */

import { randomFillSync } from 'node:crypto';
import { constants, Deflate, ZstdCompress } from 'minizlib';
import { describe, expect, test } from 'vitest';
import { RamBlock } from '../../../src/hw/ram.ts';
import { RamWindow } from '../../../src/hw/ram-window.ts';
import { PacketBatch } from '../../../src/migration/multifd/packet-batch.ts';
import { streamCompressor, streamDecompressor } from '../../../src/migration/multifd/stream-compression.ts';
import { ZstdPageCompressor, ZstdPageDecompressor } from '../../../src/migration/multifd/zstd-pages.ts';
import { hasLibzstd } from '../../../src/threads/libzstd.ts';
import { Segments } from '../../../src/threads/segments.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { expandPages } from '../../support/expand-pages.ts';

const PAGES = 128;

/** The first flushed packet of a stream with this in it. */
function packet(stream: Deflate | ZstdCompress, content: Buffer): Buffer {
  const pieces: Buffer[] = [];
  stream.on('data', (piece) => pieces.push(Buffer.from(piece)));
  stream.write(content);
  return Buffer.concat(pieces);
}

// Types of minizlib do not name all that node:zlib takes.
const zstd = (params: Record<number, number> = {}) =>
  new ZstdCompress({ params, flush: constants.ZSTD_e_flush, chunkSize: 1 << 20 } as object);
const zlib = (level: number) => new Deflate({ level, flush: constants.Z_SYNC_FLUSH, chunkSize: 1 << 20 } as object);
const pages = Buffer.alloc(PAGES * PAGE_SIZE, 'some text ');

/** Both ways to read zstd, where there are two. */
const zstdReaders = [
  { way: "Node's way", open: () => streamDecompressor('zstd') },
  ...(hasLibzstd ? [{ way: 'calls of libzstd', open: () => new ZstdPageDecompressor() }] : []),
];

describe.each(zstdReaders)('zstd by $way', ({ open }) => {
  test.each([0, 1, 9, 20])('level %i is taken', (level) => {
    const data = packet(zstd({ [constants.ZSTD_c_compressionLevel]: level }), pages);
    expect(Buffer.compare(expandPages(open(), data, PAGES), pages)).toBe(0);
  });

  test.each([26, 27])('a stream that asks for a window of 2^%i bytes is refused', (windowLog) => {
    const data = packet(zstd({ [constants.ZSTD_c_windowLog]: windowLog }), pages);
    expect(() => expandPages(open(), data, PAGES)).toThrow(/too much memory/);
  });

  test.each([
    ['a page more than announced', PAGES - 1, /expands to (more than )?5(24288|20192) bytes|larger than/],
    ['a page less than announced', PAGES + 1, /expands to 524288 bytes/],
  ])('%s is an error that says so', (_, announced, message) => {
    expect(() => expandPages(open(), packet(zstd(), pages), announced)).toThrow(message);
  });

  test('half of a packet, and bytes that are no zstd, are errors', () => {
    const data = packet(zstd(), pages);
    expect(() => expandPages(open(), data.subarray(0, data.length >> 1), PAGES)).toThrow(/expands to|end of file/);
    expect(() => expandPages(open(), Buffer.alloc(100, 'x'), PAGES)).toThrow(/./);
  });
});

test.each([0, 1, 9])('zlib level %i is taken', (level) => {
  const data = packet(zlib(level), pages);
  expect(Buffer.compare(expandPages(streamDecompressor('zlib'), data, PAGES), pages)).toBe(0);
});

describe('a packet that expands to 256 MiB is refused when it has one packet of them', () => {
  const bomb = Buffer.alloc(256 << 20);
  test.each([
    { way: 'zlib', stream: zlib(1), open: () => streamDecompressor('zlib') },
    ...zstdReaders.map(({ way, open }) => ({ way: `zstd by ${way}`, stream: zstd(), open })),
  ])('$way', ({ stream, open }) => {
    const data = packet(stream, bomb);
    const before = process.memoryUsage().rss;
    expect(() => expandPages(open(), data, PAGES)).toThrow(/./);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20);
  });
});

describe.runIf(hasLibzstd)('both ways to write and to read zstd understand each other', () => {
  const writers = [() => new ZstdPageCompressor(1), () => streamCompressor('zstd', 1)];

  /** Three packets of pages with gaps between them, of text and of chance, through one stream. */
  test.each([
    [0, 0],
    [0, 1],
    [1, 0],
  ])('writer %i, reader %i', (write, read) => {
    const compressor = writers[write]!();
    const decompressor = zstdReaders[read]!.open();
    const block = RamBlock.create({ name: 'ram', length: 2 * PAGES * PAGE_SIZE });
    const window = new RamWindow(block.share);
    const batch = new PacketBatch();
    const segments = new Segments(200);
    for (const step of [1, 2, 1]) {
      const list = Uint32Array.from({ length: PAGES }, (_, index) => index * step);
      const content = Buffer.alloc(PAGES * PAGE_SIZE, 'text');
      randomFillSync(content, 0, content.length / 2);
      list.forEach((page, at) => {
        block.write(page * PAGE_SIZE, content.subarray(at * PAGE_SIZE, (at + 1) * PAGE_SIZE));
      });
      batch.fill(window, list, PAGES, { detectZero: false, number: 0 });
      segments.reset();
      compressor.add(segments, window, batch);
      const data = Buffer.concat(Array.from({ length: segments.entryCount }, (_, index) => segments.view(index)));
      expect(Buffer.compare(expandPages(decompressor, data, PAGES), content)).toBe(0);
    }
    compressor.close();
    decompressor.close();
  });
});
