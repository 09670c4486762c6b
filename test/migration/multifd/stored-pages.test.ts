/** Pages that zlib cannot pack are stored in its stream as they are; any inflate reads them, between packed ones and alone. */

import { randomFillSync } from 'node:crypto';
import { constants, inflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { RamBlock } from '../../../src/hw/ram.ts';
import { RamWindow } from '../../../src/hw/ram-window.ts';
import { PacketBatch } from '../../../src/migration/multifd/packet-batch.ts';
import { STORED_SEGMENTS } from '../../../src/migration/multifd/stored-pages.ts';
import { streamCompressor, streamDecompressor } from '../../../src/migration/multifd/stream-compression.ts';
import { Segments } from '../../../src/threads/segments.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { expandPages } from '../../support/expand-pages.ts';

const PAGES = 128;
/** Nine blocks of at most 15 pages and the empty one, five bytes each. */
const STORED_BYTES = PAGES * PAGE_SIZE + 10 * 5;

const random = () => randomFillSync(Buffer.alloc(PAGES * PAGE_SIZE));
const text = () => Buffer.alloc(PAGES * PAGE_SIZE, 'a guest that writes text ');
const all = Uint32Array.from({ length: PAGES }, (_, page) => page);

/** One channel's compressor over a block of 256 pages, and what all of its packets were. */
class Channel {
  readonly #block = RamBlock.create({ name: 'ram', length: 2 * PAGES * PAGE_SIZE });
  readonly #window = new RamWindow(this.#block.share);
  readonly #batch = new PacketBatch();
  readonly #segments = new Segments(STORED_SEGMENTS);
  readonly #compressor;
  readonly #decompressor = streamDecompressor('zlib');
  readonly sent: Buffer[] = [];
  readonly expected: Buffer[] = [];

  constructor(level: number) {
    this.#compressor = streamCompressor('zlib', level);
  }

  /** Puts `content` at `pages` and sends them; returns the bytes of the packet's data. */
  send(content: Buffer, pages: Uint32Array = all): number {
    pages.forEach((page, index) => {
      this.#block.write(page * PAGE_SIZE, content.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE));
    });
    this.#batch.fill(this.#window, pages, pages.length, { detectZero: false, number: 0 });
    this.#segments.reset();
    this.#compressor.add(this.#segments, this.#window, this.#batch);
    const views = Array.from({ length: this.#segments.entryCount }, (_, index) => this.#segments.view(index));
    const data = Buffer.concat(views);
    const length = pages.length * PAGE_SIZE;
    this.sent.push(data);
    this.expected.push(content.subarray(0, length));
    expect(Buffer.compare(expandPages(this.#decompressor, data, pages.length), content.subarray(0, length))).toBe(0);
    return data.length;
  }

  /** All of it through zlib as one stream that was never finished. */
  inflated(): Buffer {
    return inflateSync(Buffer.concat(this.sent), { finishFlush: constants.Z_SYNC_FLUSH });
  }
}

describe.for([0, 1, 9])('level %i', (level) => {
  test('random pages are packed once, and stored from then on', () => {
    const channel = new Channel(level);
    channel.send(random());
    expect([channel.send(random()), channel.send(random())]).toEqual([STORED_BYTES, STORED_BYTES]);
    expect(Buffer.compare(channel.inflated(), Buffer.concat(channel.expected))).toBe(0);
  });

  test('every order of random and text is one stream', () => {
    const channel = new Channel(level);
    for (const kind of 'rrtrtrrrttr') channel.send(kind === 'r' ? random() : text());
    expect(Buffer.compare(channel.inflated(), Buffer.concat(channel.expected))).toBe(0);
  });
});

test('text behind random pages is packed at once', () => {
  const channel = new Channel(1);
  for (let n = 0; n < 3; n++) channel.send(random());
  expect(channel.send(text())).toBeLessThan(STORED_BYTES / 50);
});

test.for([1, 2, 3, 15, 16, 31, 127])('%i pages apart from each other are stored in order', (count) => {
  const channel = new Channel(1);
  channel.send(random());
  const pages = Uint32Array.from({ length: count }, (_, index) => 2 * index);
  expect(channel.send(random(), pages)).toBe(count * PAGE_SIZE + (Math.ceil(count / 15) + 1) * 5);
  expect(Buffer.compare(channel.inflated(), Buffer.concat(channel.expected))).toBe(0);
});

test('pages that look random but repeat each other are packed again by the 32nd packet', () => {
  const channel = new Channel(1);
  channel.send(random());
  const one = randomFillSync(Buffer.alloc(PAGE_SIZE));
  const repeated = Buffer.concat(Array.from({ length: PAGES }, () => one));
  const sizes = Array.from({ length: 40 }, () => channel.send(repeated));
  expect(sizes.slice(0, 31)).toEqual(Array.from({ length: 31 }, () => STORED_BYTES));
  for (const size of sizes.slice(31)) expect(size).toBeLessThan(STORED_BYTES / 20);
  expect(Buffer.compare(channel.inflated(), Buffer.concat(channel.expected))).toBe(0);
});
