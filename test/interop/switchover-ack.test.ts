/**
 * Switchover-ack with a real QEMU at the other end, which has no VFIO device here: it acknowledges at once, and as a source it
 * waits for our ack. Either way round a running guest arrives, and a source that gets no ack stays `active`.
 */

import { describe, expect, test } from 'vitest';
import type { PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { tempDir } from '../support/temp.ts';

const MEMORY = '64M';
const ACK = { 'return-path': true, 'switchover-ack': true };
const WAYS: readonly (readonly [PeerKind, PeerKind])[] = [
  ['qemu', 'qemu'],
  ['qemu', 'switchover'],
  ['switchover', 'qemu'],
];

const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  test.for(WAYS.map(([from, to]) => ({ from, to })))('$from → $to completes', async ({ from, to }) => {
    await using dir = await tempDir();
    const uri = `unix:${dir.file('m')}`;
    await using source = await startPeer(from, { memory: MEMORY });
    await using destination = await startPeer(to, { memory: MEMORY, incoming: 'defer' });
    for (const peer of [source, destination]) await peer.setCapabilities(ACK);
    await destination.qmp.execute('migrate-incoming', { uri });
    await source.qmp.execute('cont');
    await source.qmp.execute('migrate', { uri });
    await source.waitStatus('completed');
    await destination.waitStatus('completed');
    expect(await destination.ramSha256()).toBe(await source.ramSha256());
  });

  test('without the capability at the destination, either source waits for the ack, as QEMU does', async () => {
    for (const [from, to] of [
      ['qemu', 'switchover'],
      ['switchover', 'qemu'],
    ] as const) {
      await using dir = await tempDir();
      const uri = `unix:${dir.file('m')}`;
      await using source = await startPeer(from, { memory: MEMORY });
      await using destination = await startPeer(to, { memory: MEMORY, incoming: 'defer' });
      await source.setCapabilities(ACK);
      await destination.setCapabilities({ 'return-path': true });
      await destination.qmp.execute('migrate-incoming', { uri, 'exit-on-error': false });
      await source.qmp.execute('cont');
      await source.qmp.execute('migrate', { uri });
      // All of RAM has been sent, and again and again: nothing but the ack is missing.
      let passes = 0;
      while (passes < 5) {
        const info = await source.waitStatus('active');
        passes = (info['ram'] as { 'dirty-sync-count': number })['dirty-sync-count'];
      }
      expect(passes).toBeGreaterThanOrEqual(5);
      await source.qmp.execute('migrate_cancel');
      await source.waitStatus('cancelled');
    }
  });
});
