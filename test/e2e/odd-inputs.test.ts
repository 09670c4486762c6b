/** Inputs that nobody means to give: each ends by itself, soon, with a sentence that says what was wrong, and no stack trace. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runSwitchover } from '../support/run-switchover.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import { turnUntil, WatchedVm } from '../support/watched-vm.ts';

let dir: TempDir;
beforeAll(async () => {
  dir = await tempDir();
  writeFileSync(dir.file('noise'), Buffer.alloc(3 << 20, 'no stream'));
  writeFileSync(dir.file('throws.ts'), "throw new Error('boom')");
  writeFileSync(dir.file('five.ts'), 'export default 5');
  execFileSync('/bin/sh', ['-c', `mkfifo ${dir.file('pipe')}`]);
});
afterAll(() => dir[Symbol.asyncDispose]());

const LONG = `/tmp/${'s'.repeat(120)}`;
const HARNESS = ['vm', '-M', 'harness', '-m', '16M'];
const INCOMING = ['vm', '-m', '16M', '-incoming'];

test.for<readonly [what: string, args: () => readonly string[], exit: number, says: RegExp]>([
  ['a directory to analyze', () => ['analyze', dir.path], 3, /cannot read '.*': it is a directory$/],
  ['nothing to analyze', () => ['analyze', '/dev/null'], 1, /^$/],
  [
    'a device that throws',
    () => [...HARNESS, '-device', dir.file('throws.ts')],
    1,
    /device module '.*throws\.ts': boom$/,
  ],
  ['a device that is none', () => [...HARNESS, '-device', dir.file('five.ts')], 1, /no default export/],
  [
    'no such directory',
    () => [...INCOMING, 'unix:/nope/s'],
    1,
    /Failed to bind socket to \/nope\/s: No such file or directory$/,
  ],
  ['a path too long for a socket', () => [...INCOMING, `unix:${LONG}`], 1, /UNIX socket path '.*' is too long$/],
  ['a command that fails', () => [...INCOMING, 'exec:exit 3'], 1, /the command of 'exec:exit 3' exited with status 3/],
  [
    'a command that is not done',
    () => [...INCOMING, `exec:cat ${dir.file('noise')}`],
    1,
    /expected 0x5145564d, got 0x6e6f2073/,
  ],
  ['a command that never ends', () => [...INCOMING, 'exec:cat /dev/zero'], 1, /expected 0x5145564d, got 0x00/],
  ['a command that lingers', () => [...INCOMING, `exec:cat ${dir.file('noise')}; exec sleep 600`], 1, /got 0x6e6f2073/],
])('%s', async ([, args, exit, says]) => {
  const { exitCode, stderr } = await runSwitchover(args());
  const sentences = stderr.split('\n').filter((line) => /^switchover/.test(line)); // beside the log
  expect({ exitCode, text: sentences.join('\n') }).toEqual({ exitCode: exit, text: expect.stringMatching(says) });
  expect(stderr).not.toMatch(/^ +at /m);
});

test('a pipe is read to its end', async () => {
  const reading = runSwitchover(['analyze', dir.file('pipe')]);
  const writing = once(spawn('/bin/sh', ['-c', `cat ${dir.file('noise')} > ${dir.file('pipe')}`]), 'close');
  const { exitCode, stdout } = await reading;
  await writing;
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: expect.stringContaining(`stream of ${3 << 20} bytes`) });
});

describe('a source whose stream goes where it cannot', () => {
  test.for<readonly [uri: string, says: RegExp]>([
    ['file:/dev/full', /^failed to truncate migration file to offset 0: Invalid argument$/],
    ['file:/nope/x', /^Could not create '\/nope\/x': No such file or directory$/],
    ['exec:cat > /dev/full', /^the command of 'exec:cat > \/dev\/full' exited with status 1$/],
    ['exec:exit 3', /^the command of 'exec:exit 3' exited with status 3$/],
    ['tcp:127.0.0.1:1', /^Failed to connect to '127\.0\.0\.1:1': Connection refused$/],
    ['unix:/nope/x', /^Failed to connect to '\/nope\/x': No such file or directory$/],
    [`unix:${LONG}`, /^UNIX socket path '.*' is too long$/],
  ])('%s: says so, and the guest runs on', async ([uri, says]) => {
    await using source = await WatchedVm.start({
      running: true,
      ramBytes: 8 << 20,
      content: new Uint8Array(8 << 20).fill(7),
    });
    await source.vm.migrate({ uri }).catch(() => undefined); // a file's error is also the command's
    await turnUntil(() => ['failed', 'completed'].includes(source.vm.queryMigrate().status ?? 'none'));
    expect(source.vm.queryMigrate()).toMatchObject({ status: 'failed', 'error-desc': expect.stringMatching(says) });
    await turnUntil(() => source.vm.queryStatus().status === 'running');
  });
});

describe('a peer that', () => {
  test.for<readonly [what: string, answer: (socket: Socket) => void, says: RegExp]>([
    ['answers with noise', (socket) => socket.write(Buffer.alloc(1 << 20, 0x55)), /bad return-path message at byte 0/],
    ['announces a message that is too long', (socket) => socket.write(Buffer.from('0002ffff', 'hex')), /at byte \d/],
    ['says goodbye at once', (socket) => socket.end(), /closed|return-path|Broken pipe/],
  ])('%s', async ([, answer, says]) => {
    await using server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.resume();
      answer(socket);
    });
    server.listen(dir.file('peer'));
    await once(server, 'listening');
    await using source = await WatchedVm.start({ running: true, capabilities: ['return-path'] });
    await source.vm.migrate({ uri: `unix:${dir.file('peer')}` });
    expect(await source.ended()).toBe('failed');
    expect(source.vm.queryMigrate()['error-desc']).toMatch(says);
  });

  test('says nothing is cancelled when asked', async () => {
    const sockets: Socket[] = [];
    await using server = createServer((socket) => sockets.push(socket.on('error', () => undefined))); // nobody reads
    server.listen(dir.file('mute'));
    await once(server, 'listening');
    await using source = await WatchedVm.start({
      running: true,
      ramBytes: 32 << 20,
      content: new Uint8Array(32 << 20).fill(7),
      capabilities: ['return-path'],
    });
    await source.vm.migrate({ uri: `unix:${dir.file('mute')}` });
    await source.event(['M:active']);
    await source.vm.migrateCancel();
    expect(await source.ended()).toBe('cancelled');
    expect(source.vm.queryStatus().status).toBe('running');
    for (const socket of sockets) socket.destroy();
  });
});
