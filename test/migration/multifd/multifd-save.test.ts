/** Whatever mix of pages is sent under whatever batch boundaries over however many channels: it arrives equal. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RamBlock } from '../../../src/hw/ram.ts';
import { RamWindow } from '../../../src/hw/ram-window.ts';
import { ChannelThreads } from '../../../src/migration/multifd/channel-threads.ts';
import { type MultifdMethod, type PageCompressor, pageCompressor } from '../../../src/migration/multifd/compression.ts';
import { MultifdRamSaver, type PageChannels } from '../../../src/migration/multifd/multifd-save.ts';
import { PacketWriter } from '../../../src/migration/multifd/packet-writer.ts';
import { ReceivingChannels } from '../../../src/migration/multifd/receiving-channels.ts';
import { RamLoader } from '../../../src/migration/ram/ram-load.ts';
import { StreamReader, stagingBuffer } from '../../../src/migration/transport/stream-reader.ts';
import type { GatherList } from '../../../src/threads/segments.ts';
import { Tally } from '../../../src/threads/tally.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { memoryChannel } from '../../support/multifd-loading.ts';
import { seeded } from '../../support/seeded.ts';
import { MemorySink, noIntake } from '../../support/stream-loading.ts';

/** Pages of each block, largest first, as a source sends them. */
const BLOCKS = { ram: 230, video: 69, rom: 1 };
const PAGES = 300;
/** Packets that wait in a lane at most. */
const LANE_DEPTH = 4;
const RUNS = process.env['SWITCHOVER_HOSTILE'] === 'full' ? 200 : 6;
const staging = stagingBuffer();

interface Setting {
  readonly channels: number;
  readonly method: MultifdMethod;
  readonly detection: 'none' | 'legacy' | 'multifd';
  readonly flushEachSection: boolean;
}

interface Queued {
  readonly blockIndex: number;
  readonly list: Uint32Array;
  readonly count: number;
}

/**
 * Channels that keep what they would send. A packet goes to the channel that `below` says, and waits there for as long as it
 * says: the guest may write to its pages before they are looked at.
 */
class RecordedChannels implements PageChannels {
  readonly pieces: Buffer[][];
  readonly #lanes: readonly Queued[][];
  readonly #writers: readonly PacketWriter[];
  readonly #below: (limit: number) => number;
  #normalPages = 0;
  #zeroPages = 0;

  constructor(
    blocks: readonly RamBlock[],
    setting: Setting,
    compressors: readonly (PageCompressor | undefined)[],
    below: (limit: number) => number,
  ) {
    const numbers = new Tally(1);
    this.pieces = compressors.map(() => []);
    this.#lanes = this.pieces.map(() => []);
    this.#below = below;
    this.#writers = compressors.map(
      (compressor) =>
        new PacketWriter({
          windows: blocks.map((block) => new RamWindow(block.share)),
          compressor,
          detectZero: setting.detection === 'multifd',
          oldLayout: setting.flushEachSection,
          numbers,
        }),
    );
  }

  get count(): number {
    return this.#lanes.length;
  }

  /** Counted less than in a real lane, so that parts are not only waiting. */
  get queuedBytes(): number {
    return PAGE_SIZE * this.#lanes.reduce((sum, lane) => sum + lane.length, 0);
  }

  async room(): Promise<void> {
    while (this.#lanes.every(({ length }) => length === LANE_DEPTH)) this.#sendNext(this.#below(this.#lanes.length));
  }

  async sendPages(blockIndex: number, list: Uint32Array, count: number): Promise<void> {
    let channel = this.#below(this.#lanes.length);
    while (this.#lanes[channel]!.length === LANE_DEPTH) channel = (channel + 1) % this.#lanes.length;
    this.#lanes[channel]!.push({ blockIndex, list: list.slice(0, count), count });
    while (this.#below(3) === 0) this.#sendNext(this.#below(this.#lanes.length));
  }

  async progress(): Promise<void> {
    const waiting = this.#lanes.findIndex(({ length }) => length > 0);
    if (waiting >= 0) this.#sendNext(waiting);
  }

  async sync(): Promise<void> {
    for (const [channel, writer] of this.#writers.entries()) {
      while (this.#lanes[channel]!.length > 0) this.#sendNext(channel);
      this.#keep(channel, writer.sync());
    }
  }

  sent() {
    return { normalPages: this.#normalPages, zeroPages: this.#zeroPages };
  }

  #sendNext(channel: number): void {
    const next = this.#lanes[channel]!.shift();
    if (next === undefined) return;
    const writer = this.#writers[channel]!;
    writer.begin(next.blockIndex, next.list, next.count);
    for (let batch = writer.next(); batch !== undefined; batch = writer.next()) {
      this.#keep(channel, batch);
      this.#normalPages += writer.normalPages;
      this.#zeroPages += writer.zeroPages;
    }
  }

  #keep(channel: number, packet: GatherList): void {
    for (let index = 0; index < packet.entryCount; index++) this.pieces[channel]!.push(Buffer.from(packet.view(index)));
  }
}

function createBlocks(): RamBlock[] {
  return Object.entries(BLOCKS).map(([name, pages]) => RamBlock.create({ name, length: pages * PAGE_SIZE }));
}

/** A zero page, one of one byte, one of chance, or a few bytes of what was there. `page` counts through all blocks. */
function writePage(blocks: readonly RamBlock[], page: number, below: (limit: number) => number): void {
  let own = page;
  let index = 0;
  while (own >= blocks[index]!.pageCount) own -= blocks[index++]!.pageCount;
  const block = blocks[index]!;
  const kind = below(4);
  const bytes = new Uint8Array(kind === 3 ? 2 : PAGE_SIZE);
  if (kind === 1 || kind === 3) bytes.fill(1 + below(255));
  if (kind === 2) for (let at = 0; at < PAGE_SIZE; at += 4) new DataView(bytes.buffer).setUint32(at, below(2 ** 32));
  block.write(own * PAGE_SIZE + (kind === 3 ? below(PAGE_SIZE - 2) : 0), bytes);
}

/** Sends all blocks while they are being written to; the bytes of the main channel's sections and of all channels. */
async function send(
  blocks: readonly RamBlock[],
  setting: Setting,
  seed: number,
): Promise<{ main: Buffer[]; channels: Buffer[] }> {
  const below = seeded(seed);
  const compressors = await Promise.all(
    Array.from({ length: setting.channels }, () => pageCompressor(setting.method, 1)),
  );
  const channels = new RecordedChannels(blocks, setting, compressors, below);
  const sink = new MemorySink();
  const saver = new MultifdRamSaver({
    blocks,
    sink,
    channels,
    detectZeroHere: setting.detection === 'legacy',
    flushEachSection: setting.flushEachSection,
    ignoreShared: false,
  });
  const main: Buffer[] = [];
  let taken = 0;
  const section = () => {
    const all = sink.bytes();
    main.push(Buffer.from(all.subarray(taken)));
    taken = all.length;
  };
  saver.begin();
  await saver.sendSetup();
  section();
  let normal = 0;
  let zero = 0;
  for (let part = 0; part < 8; part++) {
    const batches = below(6);
    let batch = 0;
    const sent = await saver.sendPart(() => {
      // Between any two batches the guest writes: to pages that were sent and to pages that were not.
      for (let writes = below(4); writes > 0; writes--) writePage(blocks, below(PAGES), below);
      return batch++ === batches ? 0 : 1 + below(200);
    }, false);
    normal += sent.normalPages;
    zero += sent.zeroPages;
    section();
    if (below(2) === 0) saver.sync();
  }
  saver.sync();
  const last = await saver.sendPart(() => Number.MAX_SAFE_INTEGER, true);
  section();
  expect(normal + last.normalPages + zero + last.zeroPages).toBeGreaterThanOrEqual(PAGES);
  return { main, channels: channels.pieces.map((pieces) => Buffer.concat(pieces)) };
}

async function load(
  blocks: readonly RamBlock[],
  setting: Setting,
  sent: { main: Buffer[]; channels: Buffer[] },
  seed: number,
): Promise<void> {
  const below = seeded(seed);
  const receiving = await ReceivingChannels.start({
    arrivals: sent.channels.map((bytes) => ({
      channel: memoryChannel(bytes, () => 1 + below(9000)),
      rest: new Uint8Array(0),
    })),
    uri: 'memory:',
    blocks: blocks.map((block) => block.name),
    method: setting.method,
    threads: new ChannelThreads(blocks.map((block) => block.share)),
    intake: noIntake(),
    flushEachSection: setting.flushEachSection,
  });
  try {
    const main = memoryChannel(Buffer.concat(sent.main), () => 1 + below(3000));
    const loader = new RamLoader(new StreamReader(main.source, { staging }), blocks, { sync: receiving });
    const sections = (async () => {
      for (const _ of sent.main) await loader.load();
    })();
    await Promise.race([sections, receiving.failure]);
  } finally {
    await receiving.close();
  }
}

describe.for([1, 2, 7])('%i channels', (channels) => {
  test.for(['none', 'zlib', 'zstd'] as const)(
    'compression %s: RAM arrives equal',
    { timeout: 120_000 },
    async (method) => {
      await fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 0, max: 2 ** 31 }),
          fc.constantFrom('none', 'legacy', 'multifd'),
          fc.boolean(),
          fc.boolean(),
          async (seed, detection, flushEachSection, dirtyTarget) => {
            const setting = { channels, method, detection, flushEachSection } as const;
            const below = seeded(seed);
            const source = createBlocks();
            for (let page = 0; page < PAGES; page += 1 + below(3)) writePage(source, page, below);
            const target = createBlocks();
            for (const block of dirtyTarget ? target : []) block.write(0, new Uint8Array(block.length).fill(0x5a));
            await load(target, setting, await send(source, setting, seed), seed);
            for (const [index, block] of target.entries())
              expect(Buffer.compare(block.bytes, source[index]!.bytes)).toBe(0);
          },
        ),
        { numRuns: RUNS },
      );
    },
  );
});
