/** What whole machines with multifd are put through when one of their connections fails, and what must hold afterwards. */

import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type Server, Socket, type SocketConstructorOpts } from 'node:net';
import { afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { descriptorOf } from '../../src/migration/transport/socket-channel.ts';
import { native } from '../../src/threads/native.ts';
import { seeded } from './seeded.ts';
import type { TempDir } from './temp.ts';
import { turnUntil, WatchedVm, type WatchedVmOptions } from './watched-vm.ts';

/** Of the machines of these tests. */
export const RAM_BYTES = 8 << 20;
/** What is in their RAM. */
export const CONTENT = new Uint8Array(RAM_BYTES);
const random = seeded(8);
for (let at = 0; at < RAM_BYTES; at += 64) CONTENT[at] = random(256);
/** Multifd channels that they have. */
export const CHANNELS = 3;
/** How they are made. */
export const OPTIONS = {
  ramBytes: RAM_BYTES,
  capabilities: ['multifd', 'return-path'],
  parameters: { 'multifd-channels': CHANNELS },
} as const;

/** Sockets and threads of this process; what was there before must be all that is there after. */
function held(): { sockets: number; threads: number } {
  const sockets = readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // the descriptor of this very listing
    }
  });
  return { sockets: sockets.length, threads: readdirSync('/proc/self/task').length };
}

/** Makes every test of the file wait until no more sockets and threads are there than before it. */
export function expectNothingLeftBehind(): void {
  let before: { sockets: number; threads: number };
  beforeAll(async () => {
    // Node starts its own threads when they are first needed.
    await Promise.all(Array.from({ length: 8 }, () => stat('/')));
  });
  beforeEach(() => {
    before = held();
  });
  afterEach(async () => {
    await turnUntil(() => held().sockets <= before.sockets && held().threads <= before.threads);
  });
}

/** A source whose guest runs. */
export async function runningSource(options: WatchedVmOptions = OPTIONS): Promise<WatchedVm> {
  const source = await WatchedVm.start({ content: CONTENT, ...options, running: true });
  source.events.length = 0;
  return source;
}

/** What `migrate` says went wrong; the guest runs on. */
export async function failure(source: WatchedVm, uri: string): Promise<string> {
  const mark = source.events.length;
  await source.vm.migrate({ uri });
  expect(await source.ended(mark)).toBe('failed');
  const text = source.vm.queryMigrate()['error-desc'] ?? '';
  if (source.events.includes('STOP', mark)) await source.event(['RESUME'], mark);
  expect(source.vm.queryStatus()).toEqual({ status: 'running', running: true });
  return text;
}

/** The next migration, to a real destination, brings everything there. */
export async function expectNextSucceeds(
  source: WatchedVm,
  dir: TempDir,
  options: WatchedVmOptions = OPTIONS,
): Promise<void> {
  const next = `unix:${dir.file('next')}`;
  await using destination = await WatchedVm.start({ ...options, incoming: next });
  const mark = source.events.length;
  await source.vm.migrate({ uri: next });
  expect([await source.ended(mark), await destination.ended()]).toEqual(['completed', 'completed']);
  expect(Buffer.compare(destination.vm.ram.bytes, options.content ?? CONTENT)).toBe(0);
}

/** Listens, and gives every connection, with its number from 0, to `onConnection`; nothing of it has been read. */
export async function listener(
  target: { readonly path: string; readonly backlog?: number } | { readonly host: string; readonly port: number },
  onConnection: (socket: Socket, ordinal: number, server: Server) => void,
): Promise<Server> {
  let ordinal = 0;
  const sockets = new Set<Socket>();
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined); // the source may be gone first
    onConnection(socket, ordinal++, server);
  });
  server.listen(target);
  await once(server, 'listening');
  return Object.assign(server, {
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

/** Takes `count` bytes of a connection, not one more, and closes it; resolves with them. */
export function takeOnly(accepted: Socket, count: number): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const taken = Buffer.alloc(count);
  let length = 0;
  const ended = (socket: Socket) => {
    socket.destroy();
    resolve(taken.subarray(0, length));
  };
  if (count === 0) {
    ended(accepted);
    return promise;
  }
  const copy = native?.dup(descriptorOf(accepted)) ?? -1;
  if (copy < 0) {
    accepted.on('data', (chunk: Buffer) => {
      length += chunk.copy(taken, length);
      if (length === count) ended(accepted);
    });
    accepted.resume();
    return promise;
  }
  // Only a socket of our own can be told where to stop (see acceptSocket).
  const onread = {
    buffer: () => taken.subarray(length),
    callback: (got: number) => {
      length += got;
      if (length === count) ended(socket);
      return length < count;
    },
  };
  const socket = new Socket({ fd: copy, readable: true, writable: true, onread } as SocketConstructorOpts);
  socket.on('error', () => undefined);
  accepted.destroy();
  socket.resume();
  return promise;
}
