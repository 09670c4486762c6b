/**
 * The interop matrix: a machine full of random bytes goes from QEMU to ours, back, and through two hops, over every
 * transport, with and without a return path; RAM is compared by SHA-256 through pmemsave on every side. QEMU to QEMU
 * is the control: when that fails the fault is in the harness or the machine it runs on. By default the routes of two hops, which have
 * every direction in them, with half of the RAM; all with SWITCHOVER_INTEROP=full.
 */

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { messageOf } from '../../src/base/errors.ts';
import { interopPart, isFullInterop } from '../support/interop-extent.ts';
import type { Peer, PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { type RandomFile, writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

const MEMORY_MIB = isFullInterop ? 256 : 128;
const MEMORY = `${MEMORY_MIB}M`;
const RELAY = fileURLToPath(new URL('../support/exec-relay.js', import.meta.url));
/** QEMU's default of 128 MiB/s would make every cell wait two seconds for nothing. */
const MAX_BANDWIDTH = 10 * 1024 ** 3;

type Transport = 'unix' | 'tcp' | 'exec' | 'file' | 'file,offset=0x1000';

type Chain = readonly [PeerKind, ...PeerKind[]];
const ONE_HOP: readonly Chain[] = [
  ['qemu', 'qemu'],
  ['qemu', 'switchover'],
  ['switchover', 'qemu'],
];
const TWO_HOPS: readonly Chain[] = [
  ['qemu', 'switchover', 'qemu'],
  ['switchover', 'qemu', 'switchover'],
];
const CHAINS = isFullInterop ? [...ONE_HOP, ...TWO_HOPS] : TWO_HOPS;

/** A file has nobody at its other end, so it has no return path. */
const CELLS: readonly { readonly transport: Transport; readonly returnPath: boolean }[] = [
  { transport: 'unix', returnPath: false },
  { transport: 'unix', returnPath: true },
  { transport: 'tcp', returnPath: false },
  { transport: 'tcp', returnPath: true },
  { transport: 'exec', returnPath: false },
  { transport: 'exec', returnPath: true },
  { transport: 'file', returnPath: false },
  { transport: 'file,offset=0x1000', returnPath: false },
];

const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  let content: RandomFile;

  beforeAll(async () => {
    dir = await tempDir();
    content = await writeRandomFile({ path: dir.file('content'), mib: MEMORY_MIB, seed: 20 });
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  describe.for(CHAINS.map((chain) => ({ chain, route: chain.join(' → ') })))('$route', ({ chain }) => {
    test.for(interopPart(CELLS))(
      'keeps all RAM over $transport, return-path $returnPath',
      async ({ transport, returnPath }) => {
        await using peers = new AsyncDisposableStack();
        const [firstKind, ...hops] = chain;
        let source = peers.use(await startPeer(firstKind, { memory: MEMORY, loadFile: content.path }));
        expect(await source.ramSha256()).toBe(content.sha256);
        for (const kind of hops) {
          const destination = await hop(source, kind, { transport, returnPath, peers });
          expect(await destination.ramSha256()).toBe(content.sha256);
          expect(await source.ramSha256()).toBe(content.sha256);
          source = destination;
        }
      },
    );
  });
});

interface HopOptions {
  readonly transport: Transport;
  readonly returnPath: boolean;
  readonly peers: AsyncDisposableStack;
}

/** Starts a destination of this kind and moves the source's machine there; both end `completed`. */
async function hop(source: Peer, kind: PeerKind, options: HopOptions): Promise<Peer> {
  const { transport, returnPath, peers } = options;
  const dir = peers.use(await tempDir());
  await source.setCapabilities({ 'return-path': returnPath });
  await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': MAX_BANDWIDTH });
  if (transport.startsWith('file')) {
    const uri = transport.replace('file', `file:${dir.file('stream')}`);
    await source.qmp.execute('migrate', { uri });
    await source.waitStatus('completed');
    const destination = peers.use(await startPeer(kind, { memory: MEMORY, incoming: uri }));
    await destination.waitStatus('completed');
    return destination;
  }
  const destination = peers.use(await startPeer(kind, { memory: MEMORY, incoming: 'defer' }));
  await destination.setCapabilities({ 'return-path': returnPath });
  await source.qmp.execute('migrate', { uri: await listen(destination, transport, dir) });
  await bothComplete(source, destination);
  return destination;
}

/** A failure of one end often only shows why at the other, so both are told. */
async function bothComplete(source: Peer, destination: Peer): Promise<void> {
  const ends = await Promise.allSettled([source.waitStatus('completed'), destination.waitStatus('completed')]);
  const reasons = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason] : []));
  if (reasons.length > 0) throw new AggregateError(reasons, reasons.map(messageOf).join('\n'));
}

/** Tells the destination to listen; resolves with the URI that reaches it. */
async function listen(destination: Peer, transport: Transport, dir: TempDir): Promise<string> {
  const socket = dir.file('migration.sock');
  switch (transport) {
    case 'unix':
      await destination.qmp.execute('migrate-incoming', { uri: `unix:${socket}` });
      return `unix:${socket}`;
    case 'tcp': {
      await destination.qmp.execute('migrate-incoming', { uri: 'tcp:127.0.0.1:0' });
      const info = await destination.waitStatus(['setup', 'none']);
      // The kernel chose the port; the destination tells it.
      const [address] = info['socket-address'] as { host: string; port: string }[];
      return `tcp:127.0.0.1:${address?.port}`;
    }
    case 'exec': {
      const relay = `exec:'${process.execPath}' '${RELAY}'`;
      await destination.qmp.execute('migrate-incoming', { uri: `${relay} listen '${socket}'` });
      return `${relay} connect '${socket}'`;
    }
    default:
      throw new Error(`nobody listens on ${transport}`);
  }
}
