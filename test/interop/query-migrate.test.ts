/**
 * The numbers of query-migrate (spec/control.md §7) while a migration is slow: a real QEMU whose RAM is written to over
 * qtest, and our machine whose guest writes to as much of it, must tell the same within tolerances.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DirtyingQemu, dirtyingQemu, type WrittenRegion } from '../support/dirtying-qemu.ts';
import type { Peer, PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { type RandomFile, writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

const MiB = 1024 * 1024;
const MAX_BANDWIDTH = 16 * MiB;
const DOWNTIME_MS = 50;
const POLL_MS = 10;
/** Written to all the time: half a second of the wire, so that nothing converges. */
const REGION: WrittenRegion = { startByte: 16 * MiB, sizeBytes: 8 * MiB };
const PAGES = REGION.sizeBytes / 4096;
const GUEST = ['-object', 'guest-sweep,id=g0,start=16MiB,size=8MiB,rate=200MiB'];

interface Ram {
  readonly transferred: number;
  readonly remaining: number;
  readonly total: number;
  readonly normal: number;
  readonly duplicate: number;
  readonly mbps: number;
  readonly 'dirty-pages-rate': number;
  readonly 'dirty-sync-count': number;
  readonly 'pages-per-second': number;
  readonly [member: string]: number;
}
interface Progress {
  readonly status: string;
  readonly 'setup-time': number;
  readonly 'total-time': number;
  readonly downtime: number;
  readonly 'expected-downtime': number;
  readonly 'cpu-throttle-percentage'?: number;
  readonly ram: Ram;
}

async function progressOf({ qmp }: Peer): Promise<Progress> {
  // The reply of query-migrate while a migration is active or done.
  return (await qmp.execute('query-migrate')) as Progress;
}

async function until(peer: Peer, condition: (progress: Progress) => boolean): Promise<Progress> {
  for (;;) {
    const progress = await progressOf(peer);
    if (progress.ram !== undefined && condition(progress)) return progress;
    await delay(POLL_MS);
  }
}

/** That both numbers are the same but for a share of the first. */
function expectNear(what: string, theirs: number, ours: number, share: number): void {
  expect(Math.abs(ours - theirs), `${what}: ${theirs} of QEMU, ${ours} of ours`).toBeLessThanOrEqual(share * theirs);
}

const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  let content: RandomFile;
  beforeAll(async () => {
    dir = await tempDir();
    content = await writeRandomFile({ path: dir.file('content'), mib: 256, seed: 7 });
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  async function begin(source: Peer, destination: Peer, parameters: object): Promise<void> {
    const uri = `unix:${dir.file(`to-${destination.pid}`)}`;
    await destination.qmp.execute('migrate-incoming', { uri, 'exit-on-error': false });
    await source.qmp.execute('migrate-set-parameters', parameters);
    await source.qmp.execute('migrate', { uri });
  }

  describe('a guest that writes as fast as it is sent', () => {
    let qemu: DirtyingQemu;
    beforeAll(async () => {
      qemu = await dirtyingQemu(REGION);
    });
    afterAll(() => qemu[Symbol.asyncDispose]());

    /** What is told once five passes are over, every throttle until then, and the end. */
    async function slowMigration(source: Peer, destination: Peer) {
      await source.setCapabilities({ 'auto-converge': true });
      await begin(source, destination, { 'max-bandwidth': MAX_BANDWIDTH, 'downtime-limit': DOWNTIME_MS });
      const first = await until(source, ({ status }) => status === 'active');
      const throttles: (number | undefined)[] = [];
      const begun = await until(source, ({ ram, ...progress }) => {
        const percent = progress['cpu-throttle-percentage'];
        if (throttles.length === 0 || throttles.at(-1) !== percent) throttles.push(percent);
        return ram['dirty-sync-count'] >= 5 && ram['dirty-pages-rate'] > 0;
      });
      const samples: Progress[] = [];
      let last = begun;
      while (last.ram['dirty-sync-count'] < begun.ram['dirty-sync-count'] + 6 || throttles.length < 3) {
        const percent = last['cpu-throttle-percentage'];
        if (throttles.at(-1) !== percent) throttles.push(percent);
        samples.push(last);
        await delay(POLL_MS);
        last = await progressOf(source);
      }
      await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 0, 'downtime-limit': 2000 });
      const end = await until(source, ({ status }) => status === 'completed');
      const median = (number: (progress: Progress) => number) =>
        samples.map(number).toSorted((one, other) => one - other)[samples.length >> 1]!;
      return { first, begun, last, samples, throttles, end, median };
    }

    test('tells the same rates, passes, throttles and expected downtime', { timeout: 60_000 }, async () => {
      await using waiting = await startPeer('qemu', { memory: '32M', incoming: 'defer' });
      await using source = await startPeer('switchover', { memory: '32M', running: true, args: GUEST });
      const ours = await slowMigration(source, waiting);
      const theirs = await slowMigration(qemu.source, qemu.destination);

      for (const { first } of [ours, theirs]) {
        expect(first['expected-downtime']).toBe(DOWNTIME_MS);
        expect(first.ram).toMatchObject({ 'dirty-pages-rate': 0, 'dirty-sync-count': 1 });
      }
      // A window of QEMU's goes over its budget by what it sends at once, which is 3 % of this one.
      expectNear(
        'mbps',
        theirs.median(({ ram }) => ram.mbps),
        ours.median(({ ram }) => ram.mbps),
        0.06,
      );
      const pagesPerSecond = ({ ram }: Progress) => ram['pages-per-second'];
      expectNear('pages-per-second', theirs.median(pagesPerSecond), ours.median(pagesPerSecond), 0.06);
      const downtime = (progress: Progress) => progress['expected-downtime'];
      expectNear('expected-downtime', theirs.median(downtime), ours.median(downtime), 0.06);
      const dirtyRate = ({ ram }: Progress) => ram['dirty-pages-rate'];
      expectNear('dirty-pages-rate', theirs.median(dirtyRate), ours.median(dirtyRate), 0.15);
      const passMs = ({ begun, last }: { begun: Progress; last: Progress }) =>
        (last['total-time'] - begun['total-time']) / (last.ram['dirty-sync-count'] - begun.ram['dirty-sync-count']);
      expectNear('time of a pass', passMs(theirs), passMs(ours), 0.2);
      expect(theirs.throttles.slice(0, 3)).toEqual([undefined, 20, 30]);
      expect(ours.throttles.slice(0, 3)).toEqual([undefined, 20, 30]);
      for (const { samples, end } of [ours, theirs]) {
        // All that is written to is dirty after a pass, and nothing else.
        expect(Math.max(...samples.map(({ ram }) => ram.remaining))).toBeLessThanOrEqual((PAGES + 64) * 4096);
        expect(end.ram).toMatchObject({ remaining: 0, 'dirty-pages-rate': 0, 'postcopy-bytes': 0 });
        expect(end).not.toHaveProperty('expected-downtime');
        expect(end).not.toHaveProperty('cpu-throttle-percentage');
        const sendingMs = end['total-time'] - end['setup-time'];
        expectNear('mbps at the end', (end.ram.transferred * 8) / sendingMs / 1000, end.ram.mbps, 0.001);
      }
    });
  });

  describe('256 MiB that nobody writes to', () => {
    /** Members of `ram` that do not depend on when one looks. */
    const exact = ({ ram }: Progress) => {
      const { mbps: _, 'pages-per-second': __, 'precopy-bytes': precopy, 'downtime-bytes': downtime, ...rest } = ram;
      return { ...rest, 'of RAM': precopy! + downtime! };
    };

    async function migration(kind: PeerKind, parameters: object, changed: object) {
      await using destination = await startPeer('qemu', { memory: '256M', incoming: 'defer' });
      await using source = await startPeer(kind, { memory: '256M', loadFile: content.path, running: true });
      await begin(source, destination, { 'max-bandwidth': 64 * MiB, ...parameters });
      const samples: Progress[] = [];
      while ((samples.at(-1)?.['total-time'] ?? 0) < 1500) {
        await delay(POLL_MS);
        samples.push(await progressOf(source));
      }
      await source.qmp.execute('migrate-set-parameters', changed);
      return { samples, end: await until(source, ({ status }) => status === 'completed') };
    }

    test('is counted the same, at the same speed', { timeout: 60_000 }, async () => {
      const fast = { 'max-bandwidth': 0 };
      const theirs = await migration('qemu', { 'downtime-limit': 10 }, fast);
      const ours = await migration('switchover', { 'downtime-limit': 10 }, fast);
      const { transferred: theirBytes, 'of RAM': theirRam, ...theirRest } = exact(theirs.end);
      const { transferred: ourBytes, 'of RAM': ourRam, ...ourRest } = exact(ours.end);
      expect(ourRest).toEqual(theirRest);
      // Where parts of the stream end, the name of the block is told again.
      expectNear('transferred', theirBytes!, ourBytes!, 0.0001);
      expectNear('precopy and downtime bytes', theirRam, ourRam, 0.0001);
      for (const { samples } of [theirs, ours]) {
        const { ram, 'expected-downtime': downtime, ...progress } = samples.at(-1)!;
        expect(downtime).toBe(10); // nothing was dirtied, so nothing is expected but the limit
        expect(ram).toMatchObject({ 'dirty-sync-count': 1, 'dirty-pages-rate': 0, 'downtime-bytes': 0 });
        // QEMU counts a page in the one a moment before the other.
        const { remaining, normal, duplicate, total } = ram;
        expect(Math.abs(remaining + (normal + duplicate) * 4096 - total)).toBeLessThanOrEqual(64 * 4096);
        expectNear('bytes of the limit', 64 * MiB * (progress['total-time'] / 1000), ram.transferred, 0.12);
      }
      const median = ({ samples }: typeof ours) =>
        samples.map(({ ram }) => ram?.mbps ?? 0).toSorted((one, other) => one - other)[samples.length >> 1]!;
      expectNear('mbps', median(theirs), median(ours), 0.05);
    });

    test('switches over when the threshold, of the wire or of the parameter, says so', {
      timeout: 60_000,
    }, async () => {
      // 64 MiB/s for 1000 ms are a quarter of RAM, and 128 MiB/s promised are the half of it.
      const cases = [
        { changed: { 'downtime-limit': 1000 }, least: 52 * MiB, most: 72 * MiB },
        {
          changed: { 'downtime-limit': 1000, 'avail-switchover-bandwidth': 128 * MiB },
          least: 112 * MiB,
          most: 129 * MiB,
        },
      ];
      for (const { changed, least, most } of cases) {
        for (const kind of ['qemu', 'switchover'] as const) {
          const { end } = await migration(kind, { 'downtime-limit': 10 }, changed);
          expect(end.ram['downtime-bytes'], `${kind}, ${JSON.stringify(changed)}`).toBeGreaterThan(least);
          expect(end.ram['downtime-bytes'], `${kind}, ${JSON.stringify(changed)}`).toBeLessThan(most);
          expect(end.ram['dirty-sync-count']).toBe(3);
        }
      }
    });
  });
});
