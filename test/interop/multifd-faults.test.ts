/**
 * Multifd between QEMU and ours over a wire that holds connections up, changes the order in which they are heard, or breaks
 * one: what is late arrives whole, and what breaks is an error of ours that names the channel, at once.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Peer, PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { type RandomFile, writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import { Wire } from '../support/wire.ts';

const MEMORY_MIB = 32;
const CHANNELS = 3;
const CONNECTIONS = [0, 1, 2, 3];
const HELD_MS = 1000;
/** Far less than any deadline of ours. */
const PROMPT_MS = 10_000;
const skipReason = whyNoQemu();

/** A source, its destination, and a wire between them. */
interface Line extends AsyncDisposable {
  readonly source: Peer;
  readonly destination: Peer;
  readonly wire: Wire;
}

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  let content: RandomFile;

  beforeAll(async () => {
    dir = await tempDir();
    content = await writeRandomFile({ path: dir.file('content'), mib: MEMORY_MIB, seed: 14 });
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  async function multifd(kind: PeerKind, rest: { incoming?: string; loadFile?: string; args?: string[] }) {
    const peer = await startPeer(kind, { memory: `${MEMORY_MIB}M`, ...rest });
    await peer.setCapabilities({ multifd: true });
    await peer.qmp.execute('migrate-set-parameters', { 'multifd-channels': CHANNELS, 'max-bandwidth': 1 << 30 });
    return peer;
  }

  async function line(from: PeerKind, to: PeerKind): Promise<Line> {
    const own = await tempDir();
    const source = await multifd(from, { loadFile: content.path });
    const destination = await multifd(to, { incoming: 'defer' });
    await destination.qmp.execute('migrate-incoming', { uri: `unix:${own.file('d')}`, 'exit-on-error': false });
    const wire = await Wire.open(own.file('w'), own.file('d'));
    const dispose = async () => {
      for (const one of [wire, source, destination, own]) await one[Symbol.asyncDispose]();
    };
    return { source, destination, wire, [Symbol.asyncDispose]: dispose };
  }

  async function expectWhole({ source, destination }: Line): Promise<void> {
    await source.waitStatus('completed');
    await destination.waitStatus('completed');
    expect([await source.ramSha256(), await destination.ramSha256()]).toEqual([content.sha256, content.sha256]);
  }

  describe.for([
    ['qemu', 'switchover'],
    ['switchover', 'qemu'],
  ] as const)('%s → %s', ([from, to]) => {
    test.for(CONNECTIONS)('connection %i is heard a second late', async (late) => {
      await using both = await line(from, to);
      both.wire.hold(late);
      await both.source.qmp.execute('migrate', { uri: both.wire.uri });
      await delay(HELD_MS);
      // Ours answers meanwhile; QEMU 10 does not.
      if (to === 'switchover') await both.destination.waitStatus('setup');
      both.wire.release();
      await expectWhole(both);
    });

    test.for(CONNECTIONS)('connection %i stands still for a second in the middle', async (held) => {
      await using both = await line(from, to);
      await both.source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': MEMORY_MIB << 20 });
      await both.source.qmp.execute('migrate', { uri: both.wire.uri });
      while (both.wire.bytes < 4 << 20) await delay(10);
      both.wire.hold(held);
      await delay(HELD_MS);
      both.wire.release();
      await expectWhole(both);
    });

    test.for([
      [3, 2, 1, 0],
      [1, 0, 3, 2],
      [2, 3, 0, 1],
    ])('connections are heard in the order %i %i %i %i', async (order) => {
      await using both = await line(from, to);
      for (const ordinal of order) both.wire.hold(ordinal);
      await both.source.qmp.execute('migrate', { uri: both.wire.uri });
      for (const ordinal of order) {
        await delay(50);
        both.wire.release(ordinal);
      }
      await expectWhole(both);
    });
  });

  /** In the greeting, in the first SYNC packet, in the header, the table and the pages of the second packet. */
  const CUTS = [0, 20, 64 + 600, 64 + 1344 + 20, 64 + 1344 + 700, 64 + 2 * 1344 + 100_000];

  test.for(CUTS)('QEMU → ours: a channel that breaks after %i bytes is named at once', async (count) => {
    await using both = await line('qemu', 'switchover');
    both.wire.cutAfter(2, count);
    await both.source.qmp.execute('migrate', { uri: both.wire.uri });
    const { 'error-desc': text } = await both.destination.waitStatus('failed', PROMPT_MS);
    expect(text).toMatch(count < 64 ? /greeting of connection \d, reading/ : /multifd channel \d/);
  });

  test('ours → QEMU: a channel that breaks is named at once, the guest runs on, and the next migration is whole', async () => {
    await using source = await multifd('switchover', { loadFile: content.path });
    for (const count of CUTS) {
      await using own = await tempDir();
      await using destination = await multifd('qemu', { incoming: 'defer' });
      await destination.qmp.execute('migrate-incoming', { uri: `unix:${own.file('d')}`, 'exit-on-error': false });
      await using wire = await Wire.open(own.file('w'), own.file('d'));
      wire.cutAfter(2, count);
      await source.qmp.execute('migrate', { uri: wire.uri });
      const { 'error-desc': text } = await source.waitStatus('failed', PROMPT_MS);
      expect(text).toMatch(/\(multifd channel \d\)/);
      process.kill(destination.pid, 'SIGKILL'); // it freezes when a channel breaks
    }
    await using own = await tempDir();
    const uri = `unix:${own.file('d')}`;
    await using destination = await multifd('qemu', { incoming: 'defer' });
    await destination.qmp.execute('migrate-incoming', { uri });
    await source.qmp.execute('migrate', { uri });
    await source.waitStatus('completed');
    await destination.waitStatus('completed');
    expect(await destination.ramSha256()).toBe(content.sha256);
  });

  test('QEMU with fewer channels than ours expects: an error that says how many came, as soon as QEMU is gone', async () => {
    await using both = await line('qemu', 'switchover');
    await both.source.qmp.execute('migrate-set-parameters', { 'multifd-channels': CHANNELS - 1 });
    await both.source.qmp.execute('migrate', { uri: both.wire.uri });
    while (both.wire.connections < CHANNELS) await delay(10);
    await delay(200); // the main channel says its first bytes once all are connected
    await both.destination.waitStatus('setup');
    process.kill(both.source.pid, 'SIGKILL');
    const { 'error-desc': text } = await both.destination.waitStatus('failed', PROMPT_MS);
    expect(text).toMatch(
      /\(main channel\)' closed after \d+ bytes: its sender closed it, and multifd channel 2 of 3 did not come \(3 connections came, 0 said nothing\)/,
    );
  });
});
