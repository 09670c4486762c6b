/** What a receiving channel reads at once, and that bytes read ahead change nothing of what is stored and when. */

import { describe, expect, test } from 'vitest';
import { RamBlock } from '../../../src/hw/ram.ts';
import { RamWindow } from '../../../src/hw/ram-window.ts';
import { type PageDecompressor, pageDecompressor } from '../../../src/migration/multifd/compression.ts';
import { PacketReader } from '../../../src/migration/multifd/packet-reader.ts';
import { PacketWriter } from '../../../src/migration/multifd/packet-writer.ts';
import type { GatherList } from '../../../src/threads/segments.ts';
import { Tally } from '../../../src/threads/tally.ts';
import { MULTIFD_METHOD, RAM_PACKET_BYTES, RAM_PACKET_OFFSET } from '../../../src/wire/multifd.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { IDSTR, statePacket } from '../../support/state-packets.ts';

const PAGES = 512;

function bytesOf(packet: GatherList | undefined): Buffer {
  const count = packet?.entryCount ?? 0;
  return Buffer.concat(Array.from({ length: count }, (_, index) => packet!.view(index)));
}

/** A block whose pages below 256 are their own number, and a channel's packets of it. */
class Source {
  readonly block = RamBlock.create({ name: 'ram', length: PAGES * PAGE_SIZE });
  readonly #writer: PacketWriter;

  constructor() {
    for (let page = 0; page < PAGES / 2; page++) {
      this.block.write(page * PAGE_SIZE, Buffer.alloc(PAGE_SIZE, 1 + (page % 255)));
    }
    const windows = [new RamWindow(this.block.share)];
    const numbers = new Tally(1);
    this.#writer = new PacketWriter({ windows, compressor: undefined, detectZero: true, oldLayout: false, numbers });
  }

  pages(...pages: number[]): Buffer {
    this.#writer.begin(0, Uint32Array.from(pages), pages.length);
    return bytesOf(this.#writer.next());
  }

  sync(): Buffer {
    return bytesOf(this.#writer.sync());
  }
}

/** How pages come, and what expands them. */
interface Compression {
  readonly method: keyof typeof MULTIFD_METHOD;
  readonly decompressor: PageDecompressor | undefined;
}
const NONE: Compression = { method: 'none', decompressor: undefined };

/** A channel that gets `bytes`, at each read as many as it asks for at least and up to `more` beyond, if it has room. */
class Destination {
  readonly block = RamBlock.create({ name: 'ram', length: PAGES * PAGE_SIZE });
  readonly reads: number[] = [];
  readonly states: string[] = [];
  readonly #steps;
  readonly #more: number;
  #rest: Buffer;
  #answer: number | undefined;

  constructor(bytes: Buffer, more = Number.POSITIVE_INFINITY, { method, decompressor } = NONE) {
    this.#rest = bytes;
    this.#more = more;
    // Where zero pages go to is not empty.
    for (let page = PAGES / 2; page < PAGES; page++) this.block.write(page * PAGE_SIZE, Buffer.of(1));
    this.#steps = new PacketReader({
      name: 'multifd channel 0',
      windows: [new RamWindow(this.block.share)],
      method,
      decompressor,
      targets: [{ idstr: IDSTR, instanceId: 0, refusal: undefined }],
    }).steps();
  }

  /** Reads until the next SYNC, or the end. */
  run(): 'sync' | 'end' {
    let step = this.#answer === undefined ? this.#steps.next() : this.#steps.next(this.#answer);
    for (;;) {
      if (step.done === true) return 'end';
      const wish = step.value;
      this.#answer = 1;
      if (wish.kind === 'sync') return 'sync';
      if (wish.kind === 'state') this.states.push(Buffer.from(wish.packet.bytes).toString('hex'));
      if (wish.kind === 'read') this.#answer = this.#read(wish.into, wish.atLeast + this.#more);
      step = this.#steps.next(this.#answer);
    }
  }

  page(page: number): Uint8Array {
    return this.block.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }

  #read(into: GatherList, limit: number): number {
    let got = 0;
    for (let index = 0; index < into.entryCount; index++) {
      const target = into.view(index);
      const piece = this.#rest.subarray(0, Math.min(target.length, limit - got));
      target.set(piece);
      this.#rest = this.#rest.subarray(piece.length);
      got += piece.length;
    }
    this.reads.push(got);
    return got;
  }
}

function expectEqual(destination: Destination, source: Source, pages: number[]): void {
  for (const page of pages) {
    const expected = source.block.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
    expect(Buffer.compare(destination.page(page), expected), `page ${page}`).toBe(0);
  }
}

test('a packet’s data and the next header are one read', () => {
  const source = new Source();
  const many = Array.from({ length: 32 }, (_, page) => page);
  const packets = [source.pages(...many), source.pages(40, 41), source.pages(50)];
  const destination = new Destination(Buffer.concat(packets));
  expect(destination.run()).toBe('end');
  expectEqual(destination, source, [...many, 40, 41, 50]);
  // The first read does not know yet that data come.
  const ahead = 16 * RAM_PACKET_BYTES;
  const firstRest = RAM_PACKET_BYTES + 32 * PAGE_SIZE - ahead;
  const withHeader = [firstRest, 2 * PAGE_SIZE].map((data) => data + RAM_PACKET_BYTES);
  expect(destination.reads).toEqual([ahead, ...withHeader, PAGE_SIZE, 0]);
});

test('headers with no data between them are read sixteen at once', () => {
  const source = new Source();
  const packets = Array.from({ length: 40 }, (_, index) => source.pages(256 + index));
  const destination = new Destination(Buffer.concat(packets));
  expect(destination.run()).toBe('end');
  expectEqual(destination, source, [256, 270, 295]);
  expect(destination.reads).toEqual([16, 16, 8, 0].map((count) => count * RAM_PACKET_BYTES));
});

test('what lies behind a SYNC is stored only when the channel may go on', () => {
  const source = new Source();
  const destination = new Destination(Buffer.concat([source.sync(), source.pages(3), source.pages(300)]));
  expect(destination.run()).toBe('sync');
  expect(destination.reads).toEqual([3 * RAM_PACKET_BYTES + PAGE_SIZE]); // all of it is here
  expect([destination.page(3)[0], destination.page(300)[0]]).toEqual([0, 1]);
  expect(destination.run()).toBe('end');
  expectEqual(destination, source, [3, 300]);
});

describe.each([0, 1, 11, 12, 700, 1343])('when %i bytes come beyond those that are needed', (more) => {
  test('pages of all kinds, SYNCs and device state arrive in order', () => {
    const source = new Source();
    const state = statePacket({ instanceId: 0, index: 0, stateFlags: 0, state: Buffer.from('c0ffee', 'hex') });
    const packets = [
      [source.pages(0, 1, 300), source.pages(301), state, source.pages(302), state, source.sync()],
      [source.pages(10, 12, 14), source.sync()],
      [source.pages(400), source.pages(20)],
    ];
    const destination = new Destination(Buffer.concat(packets.flat()), more);
    expect([destination.run(), destination.run(), destination.run()]).toEqual(['sync', 'sync', 'end']);
    expectEqual(destination, source, [0, 1, 10, 12, 14, 20, 300, 301, 302, 400]);
    expect(destination.states).toEqual(['c0ffee', 'c0ffee']);
  });
});

test('an error behind packets that were read ahead tells its own place', () => {
  const source = new Source();
  const bad = source.pages(5);
  bad.writeUInt32BE(129, 12);
  const before = [source.pages(256), source.pages(1, 2), source.pages(257)];
  const destination = new Destination(Buffer.concat([...before, bad]));
  const at = 64 + 3 * RAM_PACKET_BYTES + 2 * PAGE_SIZE + 12; // the greeting comes first
  expect(() => destination.run()).toThrow(
    expect.objectContaining({
      details: expect.objectContaining({ at, section: 'multifd channel 0, packet 3', field: 'pagesAlloc' }),
    }),
  );
});

describe.each(['zlib', 'zstd'] as const)('compression %s', (method) => {
  test('pages that come with no data are an error', async () => {
    const packet = new Source().pages(3).subarray(0, RAM_PACKET_BYTES);
    packet.writeUInt32BE(MULTIFD_METHOD[method], RAM_PACKET_OFFSET.FLAGS);
    packet.writeUInt32BE(0, RAM_PACKET_OFFSET.DATA_BYTES);
    const decompressor = await pageDecompressor(method);
    const destination = new Destination(packet, 0, { method, decompressor });
    expect(() => destination.run()).toThrow(
      expect.objectContaining({
        code: 'stream/bad-value',
        details: expect.objectContaining({ at: 64 + RAM_PACKET_BYTES, field: 'page data' }),
      }),
    );
    decompressor?.close();
  });
});
