/**
 * Multifd between QEMU and ours: a machine of random and zero pages goes from QEMU to ours and back, and one whose guest
 * writes from ours to QEMU; RAM is compared by SHA-256 after each hop. A few cells, which meet every value of every column,
 * by default; all with SWITCHOVER_INTEROP=full; SWITCHOVER_INTEROP=full:3/8 is the third of eight parts of that.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { messageOf } from '../../src/base/errors.ts';
import { interopPart, isFullInterop } from '../support/interop-extent.ts';
import type { Peer, PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { type RandomFile, writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

const MEMORY_MIB = 32;
const MEMORY = `${MEMORY_MIB}M`;
const MAX_BANDWIDTH = 10 * 1024 ** 3;

interface Cell {
  readonly compression: 'none' | 'zlib' | 'zstd';
  readonly channels: number;
  readonly detection: 'none' | 'legacy' | 'multifd';
  readonly transport: 'unix' | 'tcp';
  readonly flushEachSection: boolean;
}

function cell(
  ...[compression, channels, detection, transport, flushEachSection]: [
    Cell['compression'],
    number,
    Cell['detection'],
    Cell['transport'],
    boolean,
  ]
): Cell {
  return { compression, channels, detection, transport, flushEachSection };
}

const SOME: readonly Cell[] = [
  cell('none', 1, 'none', 'unix', false),
  cell('none', 2, 'legacy', 'tcp', false),
  cell('none', 5, 'multifd', 'unix', false),
  cell('none', 16, 'multifd', 'tcp', false),
  cell('none', 2, 'legacy', 'unix', true),
  cell('none', 5, 'none', 'tcp', true),
  cell('none', 1, 'multifd', 'tcp', true),
  cell('zlib', 1, 'multifd', 'tcp', false),
  cell('zlib', 5, 'none', 'unix', true),
  cell('zlib', 16, 'legacy', 'unix', false),
  cell('zstd', 2, 'multifd', 'unix', false),
  cell('zstd', 5, 'legacy', 'tcp', true),
  cell('zstd', 16, 'none', 'tcp', false),
];

function allCells(): Cell[] {
  const cells: Cell[] = [];
  for (const compression of ['none', 'zlib', 'zstd'] as const)
    for (const channels of [1, 2, 5, 16])
      for (const detection of ['none', 'legacy', 'multifd'] as const)
        for (const transport of ['unix', 'tcp'] as const)
          for (const flushEachSection of [false, true])
            cells.push({ compression, channels, detection, transport, flushEachSection });
  return cells;
}

const SOME_WRITING: readonly Cell[] = (['none', 'zlib', 'zstd'] as const).flatMap((compression) =>
  [false, true].map((flushEachSection) => cell(compression, 3, 'multifd', 'unix', flushEachSection)),
);

const ALL = interopPart(allCells());
const CELLS = isFullInterop ? ALL : SOME;
const WRITING = isFullInterop ? ALL : SOME_WRITING;
const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  let content: RandomFile;

  beforeAll(async () => {
    dir = await tempDir();
    content = await writeRandomFile({ path: dir.file('content'), mib: MEMORY_MIB / 2, seed: 4, zeroPageEvery: 3 });
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  test.for(CELLS)(
    'RAM is whole after QEMU → ours → QEMU: $compression, $channels channels, $detection, $transport, flush each section $flushEachSection',
    async (options) => {
      await using peers = new AsyncDisposableStack();
      let source = peers.use(await start('qemu', options, { loadFile: content.path }));
      const before = await source.ramSha256();
      for (const kind of ['switchover', 'qemu'] as const) {
        const destination = await hop(source, kind, options, peers);
        expect(await destination.ramSha256()).toBe(before);
        source = destination;
      }
    },
  );

  test.for(WRITING)(
    'a guest that writes arrives whole from ours: $compression, $channels channels, $detection, $transport, flush each section $flushEachSection',
    async (options) => {
      await using peers = new AsyncDisposableStack();
      const args = ['-object', 'guest-sweep,id=g0,rate=50MiB'];
      const source = peers.use(await start('switchover', options, { running: true, args }));
      const destination = await hop(source, 'qemu', options, peers);
      expect(await destination.ramSha256()).toBe(await source.ramSha256());
    },
  );
});

function start(
  kind: PeerKind,
  options: Cell,
  rest: { loadFile?: string; incoming?: string; running?: boolean; args?: readonly string[] },
): Promise<Peer> {
  const old = options.flushEachSection ? ['-global', 'migration.multifd-flush-after-each-section=on'] : [];
  return startPeer(kind, { memory: MEMORY, ...rest, args: [...old, ...(rest.args ?? [])] });
}

/** Starts a destination and moves the source's machine there; both end `completed`. */
async function hop(source: Peer, kind: PeerKind, options: Cell, peers: AsyncDisposableStack): Promise<Peer> {
  const dir = peers.use(await tempDir());
  const destination = peers.use(await start(kind, options, { incoming: 'defer' }));
  for (const peer of [source, destination]) {
    await peer.setCapabilities({ multifd: true });
    await peer.qmp.execute('migrate-set-parameters', {
      'max-bandwidth': MAX_BANDWIDTH,
      'multifd-channels': options.channels,
      'multifd-compression': options.compression,
      'zero-page-detection': options.detection,
    });
  }
  const uri = options.transport === 'unix' ? `unix:${dir.file('m')}` : 'tcp:127.0.0.1:0';
  await destination.qmp.execute('migrate-incoming', { uri });
  await source.qmp.execute('migrate', { uri: options.transport === 'unix' ? uri : await tcpUri(destination) });
  const ends = await Promise.allSettled([source.waitStatus('completed'), destination.waitStatus('completed')]);
  const reasons = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason] : []));
  if (reasons.length > 0) throw new AggregateError(reasons, reasons.map(messageOf).join('\n'));
  return destination;
}

async function tcpUri(destination: Peer): Promise<string> {
  const info = await destination.waitStatus(['setup', 'none']);
  // The kernel chose the port; the destination tells it.
  const [address] = info['socket-address'] as { port: string }[];
  return `tcp:127.0.0.1:${address?.port}`;
}
