/**
 * Pages in any order over a real socket, where the kernel reads them straight into RAM at the places it guesses: whatever
 * the order and however the bytes arrive, RAM is what the records say, and pages that no record named stay unwritten.
 */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isHarnessError } from '../../../src/base/errors.ts';
import { RamBlock } from '../../../src/hw/ram.ts';
import { RamLoader } from '../../../src/migration/ram/ram-load.ts';
import type { Channel } from '../../../src/migration/transport/channel.ts';
import { StreamReader } from '../../../src/migration/transport/stream-reader.ts';
import { openIncoming } from '../../../src/migration/transport/transport.ts';
import { native } from '../../../src/threads/native.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { expectedRam, type PageRun, ramPayload } from '../../support/ram-records.ts';
import { seeded } from '../../support/seeded.ts';
import { type TempDir, tempDir } from '../../support/temp.ts';

const PAGES = { ram: 512, rom: 64 };
const BLOCKS = { ram: PAGES.ram * PAGE_SIZE, rom: PAGES.rom * PAGE_SIZE };

let dir: TempDir;
beforeAll(async () => {
  dir = await tempDir();
});
afterAll(() => dir[Symbol.asyncDispose]());

/** Both ends of a unix socket: ours as a channel, the other plain. */
async function socketPair(): Promise<{ channel: Channel; peer: Socket } & AsyncDisposable> {
  const path = dir.file('m.sock');
  const listener = await openIncoming({ kind: 'unix', path, uri: `unix:${path}` });
  const peer = connect(path);
  const [channel] = await Promise.all([listener.accept(), once(peer, 'connect')]);
  await listener.close();
  return {
    channel,
    peer,
    [Symbol.asyncDispose]: async () => {
      peer.destroy();
      channel.destroy('the test is over');
    },
  };
}

function freshBlocks(): RamBlock[] {
  return Object.entries(BLOCKS).map(([name, length]) => RamBlock.create({ name, length }));
}

function expectRam(blocks: readonly RamBlock[], runs: readonly PageRun[]): void {
  const expected = expectedRam(runs, BLOCKS);
  for (const block of blocks) {
    const { bytes, stored } = expected.get(block.name)!;
    const pages = Array.from({ length: block.pageCount }, (_, page) => page);
    const range = (page: number) => [page * PAGE_SIZE, (page + 1) * PAGE_SIZE] as const;
    const differing = pages.filter(
      (page) => Buffer.compare(block.bytes.subarray(...range(page)), bytes.subarray(...range(page))) !== 0,
    );
    expect({ block: block.name, differing }).toEqual({ block: block.name, differing: [] });
    const lost = pages.filter((page) => stored.has(page) && block.isUnwritten(page));
    expect({ block: block.name, lost }).toEqual({ block: block.name, lost: [] });
  }
}

/** Sends `bytes` in pieces of random size, each flushed before the next. */
async function sendInPieces(peer: Socket, bytes: Uint8Array, below: (limit: number) => number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const size = below(8) === 0 ? 1 + below(64) : 1 + below(64 * PAGE_SIZE);
    await new Promise((resolve) => peer.write(bytes.subarray(at, at + size), resolve));
    at += size;
  }
}

/** A seeded order: long and short runs upwards, zero pages between, jumps, pages sent again, block changes. */
function randomRuns(seed: number): PageRun[] {
  const below = seeded(seed);
  const runs: PageRun[] = [];
  let page = 0;
  const count = 4 + below(24);
  for (let stamp = 1; stamp <= count; stamp++) {
    const block = below(8) === 0 ? 'rom' : 'ram';
    if (below(3) === 0 || page >= PAGES[block]) page = below(PAGES[block]);
    const length = Math.min(PAGES[block] - page, below(2) === 0 ? 1 + below(4) : 1 + below(120));
    runs.push({ block, page, count: length, fill: below(4) === 0 ? 0 : 1 + below(255), stamp });
    // Often one page further than expected, sometimes one that was already sent.
    page += length + [0, 0, 1, -2][below(4)]!;
    if (page < 0) page = 0;
  }
  return runs;
}

describe('any page order', () => {
  test.for(Array.from({ length: 60 }, (_, n) => n + 1))('seed %i', async (seed) => {
    await using pair = await socketPair();
    const runs = randomRuns(seed);
    const blocks = freshBlocks();
    const loader = new RamLoader(new StreamReader(pair.channel.source), blocks);
    const payload = ramPayload(runs);
    await Promise.all([sendInPieces(pair.peer, payload, seeded(seed + 1000)), loader.load()]);
    expectRam(blocks, runs);
    const pages = (zero: boolean) =>
      runs.filter(({ fill }) => (fill === 0) === zero).reduce((sum, run) => sum + run.count, 0);
    expect({ normal: loader.normalPages, zero: loader.zeroPages }).toEqual({ normal: pages(false), zero: pages(true) });
  });
});

test('a run whose guess is wrong at every page', async () => {
  await using pair = await socketPair();
  const order = Array.from({ length: PAGES.ram }, (_, n) => (n * 129) % PAGES.ram); // never n then n + 1
  const runs = order.map((page, n): PageRun => ({ block: 'ram', page, count: 1, fill: 1 + (n % 255), stamp: n }));
  const blocks = freshBlocks();
  const loader = new RamLoader(new StreamReader(pair.channel.source), blocks);
  await Promise.all([sendInPieces(pair.peer, ramPayload(runs), () => 63 * PAGE_SIZE), loader.load()]);
  expectRam(blocks, runs);
});

test('several passes over the same pages: the last one wins', async () => {
  await using pair = await socketPair();
  const below = seeded(7);
  const passes = [1, 2, 3].map((pass): PageRun[] => [
    { block: 'ram', page: 0, count: PAGES.ram, fill: pass, stamp: pass },
    { block: 'ram', page: below(100), count: 50, fill: 0, stamp: 0 },
  ]);
  const blocks = freshBlocks();
  const loader = new RamLoader(new StreamReader(pair.channel.source), blocks);
  for (const runs of passes) {
    await Promise.all([sendInPieces(pair.peer, ramPayload(runs), below), loader.load()]);
  }
  expectRam(blocks, passes.flat());
});

test('what follows a run of pages stays in the stream', async () => {
  await using pair = await socketPair();
  const runs: PageRun[] = [{ block: 'ram', page: 0, count: 100, fill: 9, stamp: 1 }];
  const reader = new StreamReader(pair.channel.source);
  const loader = new RamLoader(reader, freshBlocks());
  const payload = ramPayload(runs);
  const tail = Buffer.from('7e 00000001 '.replaceAll(' ', ''), 'hex');
  const [, after] = await Promise.all([
    sendInPieces(pair.peer, Buffer.concat([payload, tail]), () => 200 * PAGE_SIZE),
    loader.load().then(() => reader.bytes(tail.length, 'footer')),
  ]);
  expect(Buffer.from(after).toString('hex')).toBe('7e00000001');
  expect(reader.offset).toBe(payload.length + tail.length);
});

test.for([1, 8, 4095, 4096, 4104, 100_000])(
  'a connection that ends %i bytes early is an error at that byte',
  async (missing) => {
    await using pair = await socketPair();
    const payload = ramPayload([{ block: 'ram', page: 0, count: 100, fill: 9, stamp: 1 }]);
    const loader = new RamLoader(new StreamReader(pair.channel.source), freshBlocks());
    const cut = payload.length - missing;
    pair.peer.end(payload.subarray(0, cut));
    const error = await loader.load().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(isHarnessError(error, 'stream/truncated')).toBe(true);
    if (!isHarnessError(error, 'stream/truncated')) return;
    expect(error.details.at).toBeLessThanOrEqual(cut);
    expect(error.details.at + error.details.available).toBe(cut);
  },
);

test.runIf(native !== undefined)('the socket really is read natively here', async () => {
  await using pair = await socketPair();
  expect(pair.channel.source.readv).toBeDefined();
});
