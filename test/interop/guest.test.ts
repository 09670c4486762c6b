/**
 * Our source while its guest writes, to a QEMU and to ours: what must converge does, what cannot keeps iterating by the
 * arithmetic of spec/control.md §7.3, and RAM is equal on both sides. A sweeping guest goes on after a stay in a QEMU.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkGuestOf, ramOf, sweptBytes } from '../support/guest-ram.ts';
import type { Peer, PeerKind, PeerOptions } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { type RandomFile, writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

const MEMORY_MIB = 256;
const MEMORY = `${MEMORY_MIB}M`;
const RAM_BYTES = MEMORY_MIB * 1024 * 1024;
/** What the fastest guest is up against (bytes per second). */
const MAX_BANDWIDTH = 1024 ** 3;
/** Passes after which a migration counts as one that does not end by itself. */
const PASSES = 4;
const POLL_MS = 10;
const SWEEP = 'guest-sweep,id=g0,rate=200MiB';
/** Far below what a pass of the fast guest leaves to send (ms). */
const SHORT_DOWNTIME_MS = 20;
/** More than all of RAM takes, however slow the machine this runs on (ms). */
const LONG_DOWNTIME_MS = 60_000;

type Transport = 'unix' | 'tcp';

/** The members of query-migrate that these tests read. */
interface Progress {
  readonly status: string;
  readonly 'expected-downtime'?: number;
  readonly ram: {
    readonly remaining: number;
    readonly transferred: number;
    readonly 'dirty-sync-count': number;
    readonly 'dirty-pages-rate': number;
    readonly mbps: number;
  };
}

async function progressOf(peer: Peer): Promise<Progress> {
  // The reply of query-migrate while a migration is active.
  return (await peer.qmp.execute('query-migrate')) as Progress;
}

async function setParameters(peer: Peer, parameters: object): Promise<void> {
  await peer.qmp.execute('migrate-set-parameters', parameters);
}

/** Asks for progress until `enough` says so; a migration that ends before is a failure. */
async function watch(source: Peer, enough: (progress: Progress) => boolean): Promise<Progress[]> {
  const seen: Progress[] = [];
  for (;;) {
    // The reply has these members while a migration is active.
    const progress = (await source.waitStatus('active')) as unknown as Progress;
    seen.push(progress);
    if (enough(progress)) return seen;
    await delay(POLL_MS); // answering takes time from sending
  }
}

/** The most that was seen left to send in each pass after the first, in order (bytes). */
function leftByPass(seen: readonly Progress[]): number[] {
  const passes = Map.groupBy(seen, ({ ram }) => ram['dirty-sync-count']);
  passes.delete(1);
  return [...passes.values()].map((samples) => Math.max(...samples.map(({ ram }) => ram.remaining)));
}

/** Starts a destination that waits, and tells how to reach it. */
async function destinationOf(
  kind: PeerKind,
  options: { transport: Transport; dir: TempDir; returnPath?: boolean; peer?: Partial<PeerOptions> },
): Promise<{ destination: Peer; uri: string }> {
  const destination = await startPeer(kind, { memory: MEMORY, incoming: 'defer', ...options.peer });
  if (options.returnPath === true) await destination.setCapabilities({ 'return-path': true });
  const path = options.dir.file(`to-${destination.pid}`);
  const uri = options.transport === 'unix' ? `unix:${path}` : 'tcp:127.0.0.1:0';
  await destination.qmp.execute('migrate-incoming', { uri });
  if (options.transport === 'unix') return { destination, uri };
  const info = await destination.waitStatus(['setup', 'none']);
  const [address] = info['socket-address'] as { host: string; port: string }[];
  return { destination, uri: `tcp:127.0.0.1:${address?.port}` };
}

async function expectEqualRam(source: Peer, destination: Peer): Promise<void> {
  expect(await destination.ramSha256()).toBe(await source.ramSha256());
}

const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  let content: RandomFile;

  beforeAll(async () => {
    dir = await tempDir();
    content = await writeRandomFile({ path: dir.file('content'), mib: MEMORY_MIB, seed: 30 });
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  /** Our machine, full of random bytes, whose guest runs. */
  function startSource(guest: string): Promise<Peer> {
    return startPeer('switchover', { memory: MEMORY, loadFile: content.path, running: true, args: ['-object', guest] });
  }

  test.for<{ rate: number; kind: PeerKind; transport: Transport; returnPath: boolean }>([
    { rate: 50, kind: 'qemu', transport: 'unix', returnPath: true },
    { rate: 50, kind: 'switchover', transport: 'tcp', returnPath: false },
    { rate: 500, kind: 'qemu', transport: 'tcp', returnPath: true },
    { rate: 500, kind: 'qemu', transport: 'unix', returnPath: false },
    { rate: 500, kind: 'switchover', transport: 'unix', returnPath: true },
  ])('$rate MiB/s without a limit converges: to $kind over $transport, return-path $returnPath', async (row) => {
    const guest = `guest-random-writes,id=g0,rate=${row.rate}MiB`;
    await using peers = new AsyncDisposableStack();
    const source = peers.use(await startSource(guest));
    const { destination, uri } = await destinationOf(row.kind, { ...row, dir });
    peers.use(destination);
    await source.setCapabilities({ 'return-path': row.returnPath });
    await setParameters(source, { 'max-bandwidth': 0 });
    await source.qmp.execute('migrate', { uri });
    await Promise.all([source.waitStatus('completed'), destination.waitStatus('completed')]);

    await expectEqualRam(source, destination);
    await source.waitRunState('postmigrate');
    await destination.waitRunState('paused');
    expect(await checkGuestOf(destination, guest)).toMatchObject({ ok: true });
    const { ram } = await progressOf(source);
    expect(ram['dirty-sync-count']).toBeGreaterThanOrEqual(2);
    expect(ram.transferred).toBeGreaterThan(RAM_BYTES * 0.9);
  });

  test.for<{ kind: PeerKind; transport: Transport }>([
    { kind: 'qemu', transport: 'tcp' },
    { kind: 'switchover', transport: 'unix' },
  ])('5000 MiB/s over 1 GiB/s iterates until more downtime is allowed: to $kind over $transport', async (row) => {
    // Short stamps: it is the number of dirty pages that counts, not how much of each was written.
    const guest = 'guest-random-writes,id=g0,rate=5000MiB,bytes=64';
    await using peers = new AsyncDisposableStack();
    const source = peers.use(await startSource(guest));
    const { destination, uri } = await destinationOf(row.kind, { ...row, dir });
    peers.use(destination);
    await setParameters(source, { 'max-bandwidth': MAX_BANDWIDTH, 'downtime-limit': SHORT_DOWNTIME_MS });
    await source.qmp.execute('migrate', { uri });

    const seen = await watch(source, (progress) => {
      const passes = progress.ram['dirty-sync-count'];
      return passes > PASSES && (progress['expected-downtime'] ?? 0) > SHORT_DOWNTIME_MS;
    });
    const last = seen.at(-1)!;
    // At every sync the guest had left more than fits into the downtime, so the migration had to go on.
    const thresholdBytes = (MAX_BANDWIDTH * SHORT_DOWNTIME_MS) / 1000;
    for (const leftBytes of leftByPass(seen)) expect(leftBytes).toBeGreaterThan(thresholdBytes);
    expect((last.ram.mbps * 1e6) / 8).toBeLessThan(MAX_BANDWIDTH * 1.1);
    expect(last.ram['dirty-pages-rate']).toBeGreaterThan(0);

    await setParameters(source, { 'downtime-limit': LONG_DOWNTIME_MS });
    await Promise.all([source.waitStatus('completed'), destination.waitStatus('completed')]);
    await expectEqualRam(source, destination);
    expect(await checkGuestOf(destination, guest)).toMatchObject({ ok: true });
    const done = await progressOf(source);
    expect(done.ram['dirty-sync-count']).toBeGreaterThan(last.ram['dirty-sync-count']);
  });

  /** The guest of a running machine went on from `before`, with one edge. */
  async function expectSweepGoesOn(destination: Peer, before: Uint8Array): Promise<void> {
    await destination.waitRunState('running');
    let now = before;
    while (Buffer.compare(sweptBytes(now), sweptBytes(before)) === 0) {
      await destination.qmp.execute('stop');
      now = await ramOf(destination);
      expect(await checkGuestOf(destination, SWEEP)).toMatchObject({ ok: true });
      await destination.qmp.execute('cont');
    }
  }

  test.for<{ route: string; hops: readonly PeerKind[]; transport: Transport }>([
    { route: 'ours → ours', hops: ['switchover'], transport: 'unix' },
    { route: 'ours → QEMU → ours', hops: ['qemu', 'switchover'], transport: 'tcp' },
  ])('$route: a sweeping guest goes on with a single edge, over $transport', async ({ hops, transport }) => {
    await using peers = new AsyncDisposableStack();
    const first = peers.use(await startSource(SWEEP));
    let source = first;
    let reference: Uint8Array | undefined;
    for (const [index, kind] of hops.entries()) {
      const last = index === hops.length - 1;
      const peer = last ? { running: true, args: ['-object', SWEEP] } : { running: true };
      const { destination, uri } = await destinationOf(kind, { transport, dir, returnPath: true, peer });
      peers.use(destination);
      await source.setCapabilities({ 'return-path': true });
      await setParameters(source, { 'max-bandwidth': 0 });
      await source.qmp.execute('migrate', { uri });
      await Promise.all([source.waitStatus('completed'), destination.waitStatus('completed')]);
      if (index === 0) {
        reference = await ramOf(first);
        expect(await checkGuestOf(first, SWEEP)).toMatchObject({ ok: true });
      } else await expectEqualRam(first, source);
      source = destination;
    }
    await expectSweepGoesOn(source, reference!);
  });
});
