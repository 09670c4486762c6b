/** A guest that writes faster than the link carries converges with XBZRLE, and a real QEMU gets all of it. */

import { describe, expect, test } from 'vitest';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { tempDir } from '../support/temp.ts';

const skipReason = whyNoQemu();
/** The guest adds one to a byte of every page, over and over: 160 MiB of pages a second, over a link of 64 MiB/s. */
const GUEST = 'guest-sweep,id=g0,rate=160MiB';
const LINK = 64 * 1024 * 1024;

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  test.for(['qemu', 'switchover'] as const)('a hot guest converges to %s and arrives whole', async (kind) => {
    await using dir = await tempDir();
    const uri = `unix:${dir.file('m')}`;
    await using destination = await startPeer(kind, { memory: '64M', incoming: uri });
    // With something in RAM the first pass takes a second: the guest writes by then.
    const content = await writeRandomFile({ path: dir.file('content'), mib: 64, seed: 7 });
    const args = ['-object', GUEST];
    await using source = await startPeer('switchover', { memory: '64M', running: true, loadFile: content.path, args });
    await source.setCapabilities({ xbzrle: true, 'return-path': true });
    await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': LINK, 'downtime-limit': 100 });
    await source.qmp.execute('migrate', { uri });
    const info = await source.waitStatus('completed', 30_000);
    await destination.waitStatus('completed');
    expect(await destination.ramSha256()).toBe(await source.ramSha256());
    const cache = info['xbzrle-cache'] as Record<string, number>;
    expect(cache['pages']).toBeGreaterThan(1000);
    expect(cache['bytes']).toBeLessThan(cache['pages']! * 64);
    expect(cache['cache-size']).toBe(67_108_864);
  });
});
