/** Addresses that are no paths, what a failed listen is called, and the threads that are told to whoever asks for them. */

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createReadStream, createWriteStream, openSync, readdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { basename } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Peer, PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { type RandomFile, writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

const MEMORY = '16M';
const PAIRS: readonly (readonly [source: PeerKind, destination: PeerKind])[] = [
  ['switchover', 'qemu'],
  ['qemu', 'switchover'],
  ['switchover', 'switchover'],
];
const skipReason = whyNoQemu();

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port; // it listens, and at a port
}

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  let content: RandomFile;
  beforeAll(async () => {
    dir = await tempDir();
    content = await writeRandomFile({ path: dir.file('content'), mib: 16, seed: 3 });
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  const machine = (kind: PeerKind, options: object) => startPeer(kind, { memory: MEMORY, ...options });

  async function arrived(destination: Peer): Promise<void> {
    await destination.waitStatus('completed');
    expect(await destination.ramSha256()).toBe(content.sha256);
  }

  describe.each([true, false])('an abstract socket, tight=%s', (tight) => {
    test.for(PAIRS)('from %s to %s, with multifd', async ([from, to]) => {
      const path = `${basename(dir.file('.'))}-${from}-${to}-${tight}`;
      const addr = { transport: 'socket', type: 'unix', path, abstract: true, tight };
      const address = { channels: [{ 'channel-type': 'main', addr }] };
      await using destination = await machine(to, { incoming: 'defer' });
      await using source = await machine(from, { loadFile: content.path });
      for (const peer of [destination, source]) await peer.setCapabilities({ multifd: true });
      await destination.qmp.execute('migrate-incoming', address);
      expect(await destination.qmp.execute('query-migrate')).toMatchObject({
        'socket-address': [{ type: 'unix', path, abstract: true, tight }],
      });
      await source.qmp.execute('migrate', address);
      await source.waitStatus('completed');
      await arrived(destination);
    });
  });

  describe('a descriptor', () => {
    let stream: string;
    beforeAll(async () => {
      stream = dir.file('stream');
      await using source = await machine('qemu', { loadFile: content.path });
      await source.qmp.execute('migrate', { uri: `file:${stream},offset=4096` });
      await source.waitStatus('completed');
    });

    test('of a file is read from where it stands', async () => {
      const whole = openSync(stream, 'r');
      // Read to where the stream begins: the position is the file's, whoever has the descriptor.
      spawnSync('head', ['-c', '4096'], { stdio: [whole, 'ignore', 'inherit'] });
      await using destination = await machine('switchover', { incoming: 'fd:3', descriptors: [whole] });
      closeSync(whole);
      await arrived(destination);
    });

    test('of a pipe is read to the end of the stream', async () => {
      const pipe = dir.file('pipe');
      expect(spawnSync('sh', ['-c', 'mkfifo "$0"', pipe]).status).toBe(0);
      const end = openSync(pipe, 'r+');
      await using destination = await machine('switchover', { incoming: 'fd:3', descriptors: [end] });
      createReadStream(stream, { start: 4096 }).pipe(createWriteStream(pipe));
      await arrived(destination);
      closeSync(end);
    });
  });

  describe('where nothing can listen', () => {
    let busy: Server;
    beforeAll(async () => {
      busy = createServer().listen(0, '127.0.0.1');
      await once(busy, 'listening');
      await mkdir(dir.file('directory'));
    });
    afterAll(() => busy.close());

    test.for<readonly [what: string, uri: () => string]>([
      ['a directory that is not there', () => `unix:${dir.file('none')}/socket`],
      ['a directory that takes no sockets', () => 'unix:/proc/socket'],
      ['a directory that is a file', () => `unix:${content.path}/socket`],
      ['a directory itself', () => `unix:${dir.file('directory')}`],
      ['a port that somebody has', () => `tcp:127.0.0.1:${portOf(busy)}`],
      ['a range of one port that somebody has', () => `tcp:127.0.0.1:${portOf(busy)},to=${portOf(busy)}`],
      ['an empty range of ports', () => 'tcp:127.0.0.1:5000,to=4000'],
      ['an address that is not ours', () => 'tcp:192.0.2.1:0'],
      ['a name that nobody knows', () => 'tcp:nobody.invalid:0'],
    ])('%s', async ([, uri]) => {
      const refusals = await Promise.all(
        (['qemu', 'switchover'] as const).map(async (kind) => {
          await using peer = await machine(kind, { incoming: 'defer' });
          const args = { uri: uri(), 'exit-on-error': false };
          return await peer.qmp.execute('migrate-incoming', args).catch((error: Error) => error.message);
        }),
      );
      expect(refusals[0]).toMatch(/^GenericError: /);
      expect(refusals[1]).toBe(refusals[0]);
    });

    test('a range of ports has one that is free', async () => {
      const first = portOf(busy);
      const host = '127.0.0.1';
      for (const kind of ['qemu', 'switchover'] as const) {
        await using peer = await machine(kind, { incoming: 'defer' });
        await peer.qmp.execute('migrate-incoming', { uri: `tcp:${host}:${first},to=${first + 20}` });
        const { 'socket-address': [socket] = [] } = (await peer.qmp.execute('query-migrate')) as {
          'socket-address'?: { port: string }[];
        };
        expect(Number(socket?.port)).toBeGreaterThan(first);
      }
    });
  });

  test('every vCPU has a thread of the process', async () => {
    const guests = ['g0', 'g1'].flatMap((id, n) => ['-object', `guest-sweep,id=${id},start=${n * 8}MiB,size=8MiB`]);
    await using peer = await machine('switchover', { running: true, args: guests });
    const cpus = (await peer.qmp.execute('query-cpus-fast')) as { 'cpu-index': number; 'thread-id': number }[];
    expect(cpus.map((cpu) => cpu['cpu-index'])).toEqual([0, 1]);
    const ids = cpus.map((cpu) => cpu['thread-id']);
    expect(new Set([...ids, peer.pid]).size).toBe(3);
    expect(readdirSync(`/proc/${peer.pid}/task`)).toEqual(expect.arrayContaining(ids.map(String)));
  });

  test('the threads of a multifd source are those of the process', async () => {
    await using destination = await machine('switchover', { incoming: 'defer' });
    await using source = await machine('switchover', { loadFile: content.path });
    for (const peer of [destination, source]) await peer.setCapabilities({ multifd: true });
    await source.setCapabilities({ 'pause-before-switchover': true });
    const uri = `unix:${dir.file('threads')}`;
    await destination.qmp.execute('migrate-incoming', { uri });
    await source.qmp.execute('migrate', { uri });
    await source.waitStatus('pre-switchover');
    const threads = (await source.qmp.execute('query-migrationthreads')) as { name: string; 'thread-id': number }[];
    expect(threads.map(({ name }) => name)).toEqual(['mig/src/main', 'mig/src/send_0', 'mig/src/send_1']);
    const ids = threads.map((thread) => thread['thread-id']);
    expect(ids[0]).toBe(source.pid);
    expect(new Set(ids).size).toBe(3);
    expect(readdirSync(`/proc/${source.pid}/task`)).toEqual(expect.arrayContaining(ids.map(String)));
    await source.qmp.execute('migrate-continue', { state: 'pre-switchover' });
    await source.waitStatus('completed');
    expect(await source.qmp.execute('query-migrationthreads')).toEqual([]);
  });
});
