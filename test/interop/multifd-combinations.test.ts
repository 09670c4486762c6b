/**
 * Multifd together with other options, between ours and a real QEMU in both directions: limited bandwidth, zero-copy-send, as many
 * channels as there may be, sides that differ, a cancelled migration before the one that counts. RAM is compared by SHA-256.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Peer, PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { type RandomFile, writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

const MEMORY_MIB = 32;
const skipReason = whyNoQemu();
const WAYS = [
  ['switchover', 'qemu'],
  ['qemu', 'switchover'],
  ['switchover', 'switchover'],
] as const;

/** What a side has besides multifd. */
interface Setting {
  readonly channels?: number;
  readonly parameters?: object;
  readonly capabilities?: Readonly<Record<string, boolean>>;
}

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  let content: RandomFile;

  beforeAll(async () => {
    dir = await tempDir();
    content = await writeRandomFile({ path: dir.file('content'), mib: MEMORY_MIB, seed: 71 });
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  async function start(kind: PeerKind, rest: { incoming?: string; loadFile?: string }, setting: Setting) {
    const peer = await startPeer(kind, { memory: `${MEMORY_MIB}M`, ...rest });
    const { channels = 2, capabilities, parameters } = setting;
    await peer.setCapabilities({ multifd: true, ...capabilities });
    const basic = { 'multifd-channels': channels, 'max-bandwidth': 10 << 30 };
    await peer.qmp.execute('migrate-set-parameters', { ...basic, ...parameters });
    return peer;
  }

  const sourceOf = (kind: PeerKind, setting: Setting = {}) => start(kind, { loadFile: content.path }, setting);

  /** A destination that waits, and where. */
  async function waiting(kind: PeerKind, transport: 'unix' | 'tcp', setting: Setting = {}) {
    const destination = await start(kind, { incoming: 'defer' }, setting);
    const uri = transport === 'unix' ? `unix:${dir.file(`m${destination.pid}`)}` : 'tcp:127.0.0.1:0';
    await destination.qmp.execute('migrate-incoming', { uri, 'exit-on-error': false });
    if (transport === 'unix') return { destination, uri };
    const info = await destination.waitStatus(['setup', 'none']);
    const [address] = info['socket-address'] as { port: string }[];
    return { destination, uri: `tcp:127.0.0.1:${address?.port}` };
  }

  /** Migrates; both ends complete, and the destination has all. Resolves with what the source's query-migrate says. */
  async function expectWhole(source: Peer, to: { destination: Peer; uri: string }) {
    await source.qmp.execute('migrate', { uri: to.uri });
    const info = await source.waitStatus('completed');
    await to.destination.waitStatus('completed');
    expect(await to.destination.ramSha256()).toBe(content.sha256);
    return info;
  }

  describe.for(WAYS)('%s → %s', ([from, to]) => {
    test('as slowly as max-bandwidth says', async () => {
      await using source = await sourceOf(from, { parameters: { 'max-bandwidth': 8 << 20 } });
      const target = await waiting(to, 'unix');
      await using _ = target.destination;
      const info = await expectWhole(source, target);
      // Half of RAM is zero pages; the last 2.4 MiB go when the guest stands still, as fast as they can.
      expect(info['total-time']).toBeGreaterThan(1200);
      expect(info['total-time']).toBeLessThan(5000);
    });

    test('zero-copy-send over tcp', async () => {
      const setting = { capabilities: { 'zero-copy-send': true } };
      await using source = await sourceOf(from, setting);
      const target = await waiting(to, 'tcp');
      await using _ = target.destination;
      await expectWhole(source, target);
    });

    test('zero-copy-send where only the destination has it', async () => {
      await using source = await sourceOf(from);
      const target = await waiting(to, 'tcp', { capabilities: { 'zero-copy-send': true } });
      await using _ = target.destination;
      await expectWhole(source, target);
    });

    test('255 channels, compressed', async () => {
      const setting = { channels: 255, parameters: { 'multifd-compression': 'zstd' } };
      await using source = await sourceOf(from, setting);
      const target = await waiting(to, 'unix', setting);
      await using _ = target.destination;
      await expectWhole(source, target);
    });

    test('a cancelled migration, and then one to another destination', async () => {
      await using source = await sourceOf(from, { channels: 4, parameters: { 'max-bandwidth': 4 << 20 } });
      const first = await waiting(to, 'unix', { channels: 4 });
      await using _first = first.destination;
      await source.qmp.execute('migrate', { uri: first.uri });
      await source.waitStatus('active');
      while (!((await transferred(source)) > 1 << 20)) await delay(10);
      await source.qmp.execute('migrate_cancel');
      await source.waitStatus('cancelled');
      await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 10 << 30 });
      const second = await waiting(to, 'unix', { channels: 4 });
      await using _second = second.destination;
      await expectWhole(source, second);
    });
  });

  describe.for([
    ['qemu', 'switchover'],
    ['switchover', 'switchover'],
  ] as const)('%s → %s', ([from, to]) => {
    test('a channel more than the destination expects: it says so, and the source runs on', async () => {
      await using source = await sourceOf(from, { channels: 3 });
      const target = await waiting(to, 'unix', { channels: 2 });
      await using _ = target.destination;
      await source.qmp.execute('migrate', { uri: target.uri });
      const { 'error-desc': text } = await target.destination.waitStatus('failed');
      expect(text).toMatch(/greeting of connection \d, reading channel id: expected 0 to 1, got 2/);
      await source.waitStatus('failed');
      const next = await waiting(to, 'unix', { channels: 3 });
      await using _next = next.destination;
      await expectWhole(source, next);
    });
  });

  // At the same time, for each waits for a deadline of 30 s.
  test.concurrent.for(['qemu', 'switchover'] as const)(
    '%s → switchover with a channel less than expected: the deadline passes, and says which',
    async (from) => {
      await using source = await sourceOf(from, { channels: 2 });
      const target = await waiting('switchover', 'unix', { channels: 3 });
      await using _ = target.destination;
      await source.qmp.execute('migrate', { uri: target.uri });
      const { 'error-desc': text } = await target.destination.waitStatus('failed', 50_000);
      expect(text).toMatch(/waited 30000 ms for multifd channel 2 of 3 \(3 connections came, 0 said nothing\)$/);
      await source.waitStatus('failed');
      const next = await waiting('switchover', 'unix', { channels: 2 });
      await using _next = next.destination;
      await expectWhole(source, next);
    },
  );

  test.for(['qemu', 'switchover'] as const)('%s refuses what multifd does not go with', async (kind) => {
    await using peer = await sourceOf(kind);
    for (const [capability, text] of [
      ['postcopy-ram', 'Postcopy is not yet compatible with multifd'],
      ['xbzrle', 'Multifd is not compatible with xbzrle'],
      ['background-snapshot', 'Background-snapshot is not compatible with multifd'],
    ] as const) {
      await expect(peer.setCapabilities({ [capability]: true })).rejects.toThrow(`GenericError: ${text}`);
    }
    const compress = { 'multifd-compression': 'zlib' };
    const zeroCopy = 'Zero copy only available for non-compressed non-TLS multifd migration';
    await peer.setCapabilities({ 'zero-copy-send': true });
    await expect(peer.qmp.execute('migrate-set-parameters', compress)).rejects.toThrow(zeroCopy);
    await peer.setCapabilities({ 'zero-copy-send': false });
    await peer.qmp.execute('migrate-set-parameters', compress);
    await expect(peer.setCapabilities({ 'zero-copy-send': true })).rejects.toThrow(zeroCopy);
  });
});

async function transferred(source: Peer): Promise<number> {
  const info = (await source.qmp.execute('query-migrate')) as { ram?: { transferred: number } };
  return info.ram?.transferred ?? 0;
}
