/** Whatever mix of pages is sent under whatever batch boundaries over however many channels: it arrives equal. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RamBlock } from '../../../src/hw/ram.ts';
import { RamWindow } from '../../../src/hw/ram-window.ts';
import { ChannelThreads } from '../../../src/migration/multifd/channel-threads.ts';
import { type MultifdMethod, pageCompressor } from '../../../src/migration/multifd/compression.ts';
import { MultifdRamSaver, type PageChannels } from '../../../src/migration/multifd/multifd-save.ts';
import { PacketWriter } from '../../../src/migration/multifd/packet-writer.ts';
import { ReceivingChannels } from '../../../src/migration/multifd/receiving-channels.ts';
import { RamLoader } from '../../../src/migration/ram/ram-load.ts';
import { StreamReader, stagingBuffer } from '../../../src/migration/transport/stream-reader.ts';
import type { Segments } from '../../../src/threads/segments.ts';
import { Tally } from '../../../src/threads/tally.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { memoryChannel } from '../../support/multifd-loading.ts';
import { seeded } from '../../support/seeded.ts';
import { MemorySink, noIntake } from '../../support/stream-loading.ts';

const PAGES = 300;
const RUNS = process.env['SWITCHOVER_HOSTILE'] === 'full' ? 200 : 6;
const staging = stagingBuffer();

interface Setting {
  readonly channels: number;
  readonly method: MultifdMethod;
  readonly detection: 'none' | 'legacy' | 'multifd';
  readonly flushEachSection: boolean;
}

/** Channels that keep what they would send. A packet goes to the channel that `choose` says. */
class RecordedChannels implements PageChannels {
  readonly pieces: Buffer[][];
  readonly queuedBytes = 0;
  readonly #writers: readonly PacketWriter[];
  readonly #choose: () => number;
  #normalPages = 0;
  #zeroPages = 0;

  constructor(block: RamBlock, { channels, method, detection, flushEachSection }: Setting, choose: () => number) {
    const numbers = new Tally(1);
    this.pieces = Array.from({ length: channels }, () => []);
    this.#choose = choose;
    this.#writers = this.pieces.map(
      () =>
        new PacketWriter({
          windows: [new RamWindow(block.share)],
          compressor: pageCompressor(method, 1),
          detectZero: detection === 'multifd',
          oldLayout: flushEachSection,
          numbers,
        }),
    );
  }

  async room(): Promise<void> {}

  async sendPages(blockIndex: number, list: Uint32Array, count: number): Promise<void> {
    const channel = this.#choose();
    const writer = this.#writers[channel]!;
    this.#keep(channel, writer.pages(blockIndex, list, count));
    this.#normalPages += writer.normalPages;
    this.#zeroPages += writer.zeroPages;
  }

  async progress(): Promise<void> {}

  async sync(): Promise<void> {
    for (const [channel, writer] of this.#writers.entries()) this.#keep(channel, writer.sync());
  }

  sent() {
    return { normalPages: this.#normalPages, zeroPages: this.#zeroPages };
  }

  #keep(channel: number, packet: Segments): void {
    for (let index = 0; index < packet.entryCount; index++) this.pieces[channel]!.push(Buffer.from(packet.view(index)));
  }
}

function writePage(block: RamBlock, page: number, kind: number, below: (limit: number) => number): void {
  const bytes = new Uint8Array(PAGE_SIZE);
  if (kind === 1) bytes.fill(1 + below(255));
  if (kind === 2) for (let at = 0; at < PAGE_SIZE; at += 4) new DataView(bytes.buffer).setUint32(at, below(2 ** 32));
  block.write(page * PAGE_SIZE, bytes);
}

/** Sends all of `block` while it is being written to; the bytes of the main channel's sections and of all channels. */
async function send(block: RamBlock, setting: Setting, seed: number): Promise<{ main: Buffer[]; channels: Buffer[] }> {
  const below = seeded(seed);
  const channels = new RecordedChannels(block, setting, () => below(setting.channels));
  const sink = new MemorySink();
  const saver = new MultifdRamSaver({
    blocks: [block],
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
      for (let writes = below(4); writes > 0; writes--) writePage(block, below(PAGES), below(3), below);
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

async function load(block: RamBlock, setting: Setting, sent: { main: Buffer[]; channels: Buffer[] }, seed: number) {
  const below = seeded(seed);
  const receiving = await ReceivingChannels.start({
    arrivals: sent.channels.map((bytes) => ({
      channel: memoryChannel(bytes, () => 1 + below(9000)),
      rest: new Uint8Array(0),
    })),
    uri: 'memory:',
    blocks: [block.share],
    method: setting.method,
    threads: new ChannelThreads(), // memory needs none
    intake: noIntake(),
    flushEachSection: setting.flushEachSection,
  });
  try {
    const main = memoryChannel(Buffer.concat(sent.main), () => 1 + below(3000));
    const loader = new RamLoader(new StreamReader(main.source, { staging }), [block], { sync: receiving });
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
            const source = RamBlock.create({ name: 'ram', length: PAGES * PAGE_SIZE });
            for (let page = 0; page < PAGES; page += 1 + below(3)) writePage(source, page, below(3), below);
            const target = RamBlock.create({ name: 'ram', length: PAGES * PAGE_SIZE });
            if (dirtyTarget) target.write(0, new Uint8Array(target.length).fill(0x5a));
            await load(target, setting, await send(source, setting, seed), seed);
            expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
          },
        ),
        { numRuns: RUNS },
      );
    },
  );
});
