/**
 * RAM in a shared file between QEMU and ours: with x-ignore-shared its content is not sent but taken from the file, alone, with
 * multifd and in mode cpr-reboot, from QEMU to ours and back. Both read and write one file.
 */

import { readFile, stat } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Peer, PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { type RandomFile, writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

const MEMORY_MIB = 16;
/** Headers, device state and description, without a page. */
const NO_PAGES_BYTES = 3000;
const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  let content: RandomFile;

  beforeAll(async () => {
    dir = await tempDir();
    content = await writeRandomFile({ path: dir.file('content'), mib: MEMORY_MIB / 2, seed: 8 });
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  test.for([
    { mode: 'normal', multifd: false },
    { mode: 'normal', multifd: true },
    { mode: 'cpr-reboot', multifd: false },
  ])('nothing is sent and nothing is lost, QEMU → ours → QEMU: $mode, multifd $multifd', async (cell) => {
    await using peers = new AsyncDisposableStack();
    const ram = dir.file(`ram-${cell.mode}-${cell.multifd}`);
    let source = peers.use(await start('qemu', ram, { ...cell, loadFile: content.path }));
    const before = await source.ramSha256();
    for (const kind of ['switchover', 'qemu'] as const) {
      const destination = peers.use(await start(kind, ram, { ...cell, incoming: 'defer' }));
      const uri = `unix:${dir.file(`m-${kind}`)}`;
      await destination.qmp.execute('migrate-incoming', { uri });
      await source.qmp.execute('migrate', { uri });
      const { ram: sent } = (await source.waitStatus('completed')) as unknown as { ram: Record<string, number> };
      await destination.waitStatus('completed');
      expect(sent).toMatchObject({ total: 0, normal: 0, duplicate: 0 });
      expect(await destination.ramSha256()).toBe(before);
      source = destination;
    }
    expect((await stat(ram)).size).toBe(MEMORY_MIB << 20);
  });

  test('cpr-reboot into a file: both write the same stream, and the other starts from it', async () => {
    const streams: Buffer[] = [];
    for (const [kind, other] of [
      ['qemu', 'switchover'],
      ['switchover', 'qemu'],
    ] as const) {
      await using peers = new AsyncDisposableStack();
      const ram = dir.file(`ram-reboot-${kind}`);
      const cell = { mode: 'cpr-reboot', multifd: false };
      const source = peers.use(await start(kind, ram, { ...cell, loadFile: content.path }));
      const before = await source.ramSha256();
      const stream = dir.file(`stream-${kind}`);
      await source.qmp.execute('migrate', { uri: `file:${stream}` });
      await source.waitStatus('completed');
      streams.push(await readFile(stream));
      const next = peers.use(await start(other, ram, { ...cell, incoming: `defer` }));
      await next.qmp.execute('migrate-incoming', { uri: `file:${stream}` });
      await next.waitStatus('completed');
      expect(await next.ramSha256()).toBe(before);
    }
    const [byQemu, byUs] = streams as [Buffer, Buffer];
    expect(byQemu.length).toBeLessThan(NO_PAGES_BYTES);
    // How often QEMU passes by with nothing to send is up to time; what begins the stream is not.
    const setup = byQemu.indexOf('m', byQemu.indexOf('ram')) + 1 + 8 + 8 + 8 + 5;
    expect(byUs.subarray(0, setup).toString('hex')).toBe(byQemu.subarray(0, setup).toString('hex'));
  });

  test('a guest of ours goes on in QEMU with what it wrote to the file', async () => {
    await using peers = new AsyncDisposableStack();
    const ram = dir.file('ram-guest');
    const cell = { mode: 'normal', multifd: false };
    const args = ['-object', 'guest-random-writes,id=g0,rate=100MiB'];
    const source = peers.use(await start('switchover', ram, { ...cell, running: true, args }));
    const destination = peers.use(await start('qemu', ram, { ...cell, incoming: 'defer' }));
    const uri = `unix:${dir.file('m-guest')}`;
    await destination.qmp.execute('migrate-incoming', { uri });
    await source.qmp.execute('migrate', { uri });
    await source.waitStatus('completed');
    await destination.waitStatus('completed');
    expect(await destination.ramSha256()).toBe(await source.ramSha256());
    expect((await readFile(ram)).some((byte) => byte !== 0)).toBe(true);
  });
});

interface StartOptions {
  readonly mode: string;
  readonly multifd: boolean;
  readonly loadFile?: string;
  readonly incoming?: string;
  readonly running?: boolean;
  readonly args?: readonly string[];
}

async function start(kind: PeerKind, ram: string, { mode, multifd, args = [], ...rest }: StartOptions): Promise<Peer> {
  const backend = `memory-backend-file,id=m,size=${MEMORY_MIB}M,share=on,mem-path=${ram}`;
  const machine = 'none,memory-backend=m';
  const memory = `${MEMORY_MIB}M`;
  const peer = await startPeer(kind, { ...rest, memory, machine, args: ['-object', backend, ...args] });
  await peer.setCapabilities({ 'x-ignore-shared': true, multifd });
  await peer.qmp.execute('migrate-set-parameters', { mode });
  return peer;
}
