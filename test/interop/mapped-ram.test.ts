/**
 * mapped-ram files between QEMU and ours: a file that QEMU wrote is loaded by us, what we then write is loaded by QEMU; RAM is
 * compared by SHA-256 after each hop, and the files by their layout. Alone and with multifd, with an offset, with direct I/O.
 */

import { constants } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MAPPED_RAM_HEADER, mappedRamPlace } from '../../src/wire/mapped-ram.ts';
import type { Peer, PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { type RandomFile, writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

const MIB = 1 << 20;
const MEMORY_MIB = 16;
const RAM_BYTES = MEMORY_MIB * MIB;

interface Cell {
  /** 0: without multifd. */
  readonly channels: number;
  readonly offset: number;
  readonly direct: boolean;
}

const CELLS: readonly Cell[] = [0, 1, 2, 4].flatMap((channels) =>
  [0, 3_000_000].flatMap((offset) => [false, true].map((direct) => ({ channels, offset, direct }))),
);

/** Part header, end marker and footer. */
const EMPTY_PART_BYTES = 5 + 8 + 5;

const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  let content: RandomFile;

  beforeAll(async () => {
    dir = await tempDir();
    content = await writeRandomFile({ path: dir.file('content'), mib: MEMORY_MIB / 2, seed: 6, zeroPageEvery: 3 });
    // Where files go must be able to do what half of the cells ask for.
    await (await open(content.path, constants.O_RDONLY | constants.O_DIRECT)).close();
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  test.for(CELLS)(
    'RAM is whole after QEMU → ours → QEMU over files: $channels channels, offset $offset, direct-io $direct',
    async (cell) => {
      await using peers = new AsyncDisposableStack();
      const first = peers.use(await start('qemu', cell, { loadFile: content.path }));
      const before = await first.ramSha256();
      const byQemu = await save(first, dir.file('by-qemu'), cell);
      const ours = peers.use(await load('switchover', byQemu, cell));
      expect(await ours.ramSha256()).toBe(before);
      const byUs = await save(ours, dir.file('by-us'), cell);
      const last = peers.use(await load('qemu', byUs, cell));
      expect(await last.ramSha256()).toBe(before);

      // Time decides how many parts there are; each of them is empty.
      expect(Math.abs((await stat(byUs)).size - (await stat(byQemu)).size) % EMPTY_PART_BYTES).toBe(0);
      const [ourLayout, theirLayout] = [await layout(byUs, cell), await layout(byQemu, cell)];
      expect(ourLayout).toEqual(theirLayout);
      expect(ourLayout.place).toEqual(mappedRamPlace(ourLayout.headerAt, RAM_BYTES));
    },
  );

  test.for([0, 2])('a guest that writes, with %i channels, is whole in QEMU', async (channels) => {
    await using peers = new AsyncDisposableStack();
    const cell: Cell = { channels, offset: 0, direct: channels > 0 };
    const args = ['-object', 'guest-random-writes,id=g0,rate=100MiB'];
    const source = peers.use(await start('switchover', cell, { running: true, args }));
    await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 40 * MIB });
    const file = await save(source, dir.file('running'), cell);
    const destination = peers.use(await load('qemu', file, cell));
    expect(await destination.ramSha256()).toBe(await source.ramSha256());
  });

  test('the command line alone waits for a file: -global and -incoming', async () => {
    await using peers = new AsyncDisposableStack();
    const cell: Cell = { channels: 2, offset: 4096, direct: false };
    const args = ['mapped-ram=on', 'x-multifd=on', 'multifd-channels=2'].flatMap((g) => ['-global', `migration.${g}`]);
    let source = peers.use(await start('qemu', cell, { loadFile: content.path }));
    const before = await source.ramSha256();
    for (const kind of ['switchover', 'qemu'] as const) {
      const file = await save(source, dir.file(`for-${kind}`), cell);
      source = peers.use(await startPeer(kind, { memory: `${MEMORY_MIB}M`, incoming: uriOf(file, cell), args }));
      await source.waitStatus('completed');
      expect(await source.ramSha256()).toBe(before);
    }
  });

  test('what one side stores with multifd the other loads without, and the other way round', async () => {
    await using peers = new AsyncDisposableStack();
    const many: Cell = { channels: 3, offset: 0, direct: false };
    const one: Cell = { channels: 0, offset: 0, direct: false };
    const first = peers.use(await start('qemu', many, { loadFile: content.path }));
    const ours = peers.use(await load('switchover', await save(first, dir.file('a'), many), one));
    // The same machine goes on with other options.
    await configure(ours, many);
    const last = peers.use(await load('qemu', await save(ours, dir.file('b'), many), one));
    expect(await last.ramSha256()).toBe(await first.ramSha256());
  });
});

type StartOptions = { loadFile?: string; incoming?: string; running?: boolean; args?: readonly string[] };

async function start(kind: PeerKind, cell: Cell, options: StartOptions): Promise<Peer> {
  const peer = await startPeer(kind, { memory: `${MEMORY_MIB}M`, ...options });
  await configure(peer, cell);
  return peer;
}

async function configure(peer: Peer, { channels, direct }: Cell): Promise<void> {
  await peer.setCapabilities({ 'mapped-ram': true, multifd: channels > 0 });
  await peer.qmp.execute('migrate-set-parameters', {
    'max-bandwidth': 10 * 1024 ** 3,
    'multifd-channels': Math.max(1, channels),
    'direct-io': direct,
  });
}

const uriOf = (path: string, { offset }: Cell) => `file:${path}${offset === 0 ? '' : `,offset=${offset}`}`;

async function save(peer: Peer, path: string, cell: Cell): Promise<string> {
  await peer.qmp.execute('migrate', { uri: uriOf(path, cell) });
  await peer.waitStatus('completed');
  return path;
}

async function load(kind: PeerKind, path: string, cell: Cell): Promise<Peer> {
  const peer = await start(kind, cell, { incoming: 'defer' });
  try {
    await peer.qmp.execute('migrate-incoming', { uri: uriOf(path, cell) });
    await peer.waitStatus('completed');
    return peer;
  } catch (error) {
    await peer[Symbol.asyncDispose]();
    throw error;
  }
}

/** Where the file has what of block `ram`, and which pages are there. */
async function layout(path: string, { offset }: Cell) {
  const file = await readFile(path);
  const entry = Buffer.from('\x03ram');
  // The section's name comes first, the block's in the list second.
  const headerAt = file.indexOf(entry, file.indexOf(entry, offset) + 1) + entry.length + 8;
  const header = MAPPED_RAM_HEADER.decode(file.subarray(headerAt, headerAt + MAPPED_RAM_HEADER.size));
  const bitmapOffset = Number(header.bitmap_offset);
  const pagesOffset = Number(header.pages_offset);
  const bitmapBytes = RAM_BYTES / 4096 / 8;
  return {
    headerAt,
    place: { bitmapOffset, bitmapBytes, pagesOffset, endOffset: pagesOffset + RAM_BYTES },
    version: header.version,
    pageSize: header.page_size,
    bitmap: file.subarray(bitmapOffset, bitmapOffset + bitmapBytes).toString('hex'),
  };
}
