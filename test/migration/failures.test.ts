/** A migration that fails, wherever it fails, says why, leaves the source running, and does not spoil the next one. */

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { seeded } from '../support/seeded.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import { WatchedVm } from '../support/watched-vm.ts';

const RAM_BYTES = 2 << 20;
const CONTENT = randomBytes(RAM_BYTES);
/** The whole stream is a little longer than RAM: headers, records, device state. */
const STREAM_BYTES = RAM_BYTES + 8 * (RAM_BYTES / 4096);
const RETURN_PATH = ['return-path'];

/** A peer that accepts one connection and is told every piece that comes; disposal closes it. */
async function rawPeer(
  dir: TempDir,
  onConnection: (socket: Socket) => void,
): Promise<AsyncDisposable & { uri: string }> {
  const path = dir.file('raw.sock');
  const server = createServer((socket) => {
    socket.on('error', () => undefined); // the source may be gone first: that is its right here
    onConnection(socket);
  });
  server.listen(path);
  await once(server, 'listening');
  return { uri: `unix:${path}`, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** Reads `count` bytes and closes without a word. */
function closeAfter(count: number): (socket: Socket) => void {
  return (socket) => {
    let received = 0;
    if (count === 0) socket.destroy();
    socket.on('data', (chunk) => {
      received += chunk.length;
      if (received >= count) socket.destroy();
    });
  };
}

async function runningSource(capabilities: readonly string[] = RETURN_PATH): Promise<WatchedVm> {
  const source = await WatchedVm.start({ running: true, ramBytes: RAM_BYTES, content: CONTENT, capabilities });
  source.events.length = 0;
  return source;
}

/** The run state and the order of events after a failure: `failed`, then RESUME if the guest had been stopped (§4.2). */
async function expectRunsOn(source: WatchedVm): Promise<void> {
  const { vm, events } = source;
  const resumed = events.includes('STOP') ? ['RESUME'] : [];
  if (resumed.length > 0) await source.event(resumed);
  expect(events.slice(events.indexOf('M:failed'))).toEqual(['M:failed', ...resumed]);
  expect(vm.queryStatus()).toEqual({ status: 'running', running: true });
}

/** The next migration goes to a real destination, and all of RAM arrives. */
async function expectNextSucceeds(source: WatchedVm, dir: TempDir): Promise<void> {
  const uri = `unix:${dir.file('next.sock')}`;
  await using destination = await WatchedVm.start({ ramBytes: RAM_BYTES, incoming: uri, capabilities: RETURN_PATH });
  const mark = source.events.length;
  await source.vm.migrate({ uri });
  expect([await source.ended(mark), await destination.ended()]).toEqual(['completed', 'completed']);
  expect(source.vm.queryMigrate()['error-desc']).toBeUndefined();
  expect(Buffer.compare(destination.vm.ram.bytes, CONTENT)).toBe(0);
}

const below = seeded(5);
const counts = [0, 1, 100, ...Array.from({ length: 16 }, () => below(STREAM_BYTES)), RAM_BYTES, STREAM_BYTES];

test.for(counts)('a peer that closes after %i bytes', async (count) => {
  await using dir = await tempDir();
  await using peer = await rawPeer(dir, closeAfter(count));
  await using source = await runningSource();
  await source.vm.migrate({ uri: peer.uri });
  expect(await source.ended()).toBe('failed');
  await source.vm.migrateCancel(); // does nothing to a migration that is over
  expect(source.vm.queryMigrate()).toMatchObject({ status: 'failed', 'error-desc': expect.stringContaining(peer.uri) });
  await expectRunsOn(source);
  await expectNextSucceeds(source, dir);
});

test('nobody who listens', async () => {
  await using dir = await tempDir();
  await using source = await runningSource();
  await source.vm.migrate({ uri: `unix:${dir.file('nobody')}` });
  expect(await source.ended()).toBe('failed');
  expect(source.events).toEqual(['M:setup', 'M:failed']);
  expect(source.vm.queryMigrate()['error-desc']).toMatch(/Failed to connect.*nobody/);
  await expectRunsOn(source);
  await expectNextSucceeds(source, dir);
});

test('a destination that cannot load the stream reports it on the return path', async () => {
  await using dir = await tempDir();
  await using source = await runningSource();
  const uri = `unix:${dir.file('m.sock')}`;
  await using destination = await WatchedVm.start({
    ramBytes: RAM_BYTES * 2, // refused in the middle of the stream, when the list of RAM blocks arrives
    incoming: uri,
    capabilities: RETURN_PATH,
  });
  await source.vm.migrate({ uri });
  expect([await source.ended(), await destination.ended()]).toEqual(['failed', 'failed']);
  expect(source.vm.queryMigrate()['error-desc']).toMatch(/the destination reported an error/);
  expect(destination.vm.queryMigrate()['error-desc']).toMatch(/at byte \d+/);
  expect(destination.vm.queryStatus().status).toBe('inmigrate');
  await expectRunsOn(source);
  await expectNextSucceeds(source, dir);
});

test.for([
  { what: 'SHUT with an error', answer: '0001 0004 00000001', reason: /the destination reported an error/ },
  { what: 'a message that is none', answer: '00ff 0000', reason: /bad return-path message.*type/ },
])('$what while the source waits in pre-switchover', async ({ answer, reason }) => {
  await using dir = await tempDir();
  const sockets: Socket[] = [];
  await using peer = await rawPeer(dir, (socket) => {
    sockets.push(socket);
    socket.resume();
  });
  await using source = await runningSource(['return-path', 'pause-before-switchover']);
  await source.vm.migrate({ uri: peer.uri });
  await source.event(['M:pre-switchover']);
  expect(source.vm.queryStatus().status).toBe('finish-migrate');
  sockets[0]?.write(Buffer.from(answer.replaceAll(' ', ''), 'hex'));
  expect(await source.ended()).toBe('failed');
  expect(source.vm.queryMigrate()['error-desc']).toMatch(reason);
  await expectRunsOn(source);
});

test.for([
  { what: 'a source that sends', capabilities: ['return-path'], until: 'M:active' },
  {
    what: 'a source that waits in pre-switchover',
    capabilities: ['pause-before-switchover'],
    until: 'M:pre-switchover',
  },
])('yank: $what fails, and its guest runs on', async ({ capabilities, until }) => {
  await using dir = await tempDir();
  await using peer = await rawPeer(dir, (socket) => void socket.resume());
  await using source = await runningSource(capabilities);
  expect(source.vm.canYank()).toBe(false);
  source.vm.setParameters({ 'max-bandwidth': until === 'M:active' ? 65_536 : 0 });
  await source.vm.migrate({ uri: peer.uri });
  await source.event([until]);
  expect(source.vm.canYank()).toBe(true);
  source.vm.yank();
  expect(await source.ended()).toBe('failed');
  expect(source.vm.queryMigrate()['error-desc']).toContain('it was yanked');
  expect(source.vm.canYank()).toBe(false);
  source.vm.yank(); // nothing is left to close
  await expectRunsOn(source);
  source.vm.setCapabilities(capabilities.map((capability) => ({ capability, state: false })));
  source.vm.setParameters({ 'max-bandwidth': 0 });
  await expectNextSucceeds(source, dir);
});

test('yank: a destination that waits for a connection goes on waiting', async () => {
  await using dir = await tempDir();
  await using destination = await WatchedVm.start({ incoming: `unix:${dir.file('m.sock')}` });
  expect(destination.vm.canYank()).toBe(true);
  destination.vm.yank();
  await using source = await WatchedVm.start({ running: true });
  await source.vm.migrate({ uri: `unix:${dir.file('m.sock')}` });
  expect(await source.ended()).toBe('completed');
  expect(await destination.ended()).toBe('completed');
});

test('yank: a destination whose source says nothing fails', async () => {
  await using dir = await tempDir();
  await using destination = await WatchedVm.start({ incoming: `unix:${dir.file('m.sock')}` });
  const source = connect(dir.file('m.sock'));
  expect(await destination.event(['M:active'])).toBe('M:active');
  destination.vm.yank();
  expect(await destination.ended()).toBe('failed');
  expect(destination.vm.canYank()).toBe(false);
  source.destroy();
});
