/** Opens channels: outgoing by `openOutgoing`, incoming by `openIncoming` (spec/control.md §6). */

import { unlinkSync } from 'node:fs';
import { lstat, unlink } from 'node:fs/promises';
import net from 'node:net';
import { HarnessError, messageOf } from '../../base/errors.ts';
import { LIMITS } from '../../wire/limits.ts';
import type { SocketAddress } from '../vm-control.ts';
import type { Address } from './address.ts';
import type { Channel } from './channel.ts';
import { openExec } from './exec-channel.ts';
import { createFile, openFile } from './file-channel.ts';
import { acceptSocket, connectSocket } from './socket-channel.ts';

/** Where an incoming migration waits. */
export interface Listener {
  /** For query-migrate; with the real port. Undefined for exec and file. */
  readonly socketAddress: SocketAddress | undefined;
  /** The first connection; further ones are refused. Rejects with `transport/closed` once `close` was called. */
  accept(): Promise<Channel>;
  /** Stops listening and removes a unix socket's file. The accepted channel lives on. */
  close(): Promise<void>;
}

/** True for transports whose channel can carry a return path. */
export function isBidirectional(address: Address): boolean {
  return address.kind !== 'file';
}

/** Opens the sending end. Rejects with `transport/connect` or `transport/open`. */
export async function openOutgoing(address: Address, signal: AbortSignal): Promise<Channel> {
  const { uri } = address;
  switch (address.kind) {
    case 'exec':
      return openExec(address.command, uri);
    case 'file':
      return createFile(address);
    case 'tcp':
      return connected(uri, { host: address.host === '' ? 'localhost' : address.host, port: address.port }, signal);
    case 'unix':
      return connected(uri, { path: address.path }, signal);
    default:
      return address satisfies never;
  }
}

async function connected(uri: string, target: net.NetConnectOpts, signal: AbortSignal): Promise<Channel> {
  const deadline = AbortSignal.timeout(LIMITS.CONNECT_MS);
  try {
    return await connectSocket(target, uri, AbortSignal.any([signal, deadline]));
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    const why = deadline.aborted ? `no answer for ${LIMITS.CONNECT_MS} ms` : messageOf(cause);
    throw new HarnessError('transport/connect', { uri, why }, { cause });
  }
}

/** Opens the receiving end. Rejects with `transport/listen` or `transport/open`. */
export async function openIncoming(address: Address): Promise<Listener> {
  switch (address.kind) {
    case 'exec':
      return ready(await openExec(address.command, address.uri));
    case 'file':
      return ready(await openFile(address));
    case 'tcp':
      return listenTcp(address);
    case 'unix':
      return listenUnix(address);
    default:
      return address satisfies never;
  }
}

function ready(channel: Channel): Listener {
  return { socketAddress: undefined, accept: async () => channel, close: async () => undefined };
}

async function listenTcp(address: Address & { kind: 'tcp' }): Promise<Listener> {
  const host = address.host === '' || address.host === '0' ? undefined : address.host;
  for (let port = address.port; ; port++) {
    try {
      return await listen(address.uri, { port, ...(host === undefined ? {} : { host }) });
    } catch (error) {
      if (port >= address.lastPort) throw error;
    }
  }
}

async function listenUnix(address: Address & { kind: 'unix' }): Promise<Listener> {
  // QEMU replaces an existing socket file; anything else at that path stays.
  const found = await lstat(address.path).catch(() => undefined);
  if (found?.isSocket()) await unlink(address.path);
  return listen(address.uri, { path: address.path });
}

async function listen(uri: string, options: net.ListenOptions): Promise<Listener> {
  const accepting = Promise.withResolvers<Channel>();
  accepting.promise.catch(() => undefined); // nobody may be waiting when it is closed
  let taken = false;
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    if (taken) {
      socket.destroy();
      return;
    }
    taken = true;
    accepting.resolve(acceptSocket(socket, uri));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new HarnessError('transport/listen', { uri, why: messageOf(cause) }, { cause })),
    );
    server.listen(options, resolve);
  });
  const bound = server.address();
  return {
    socketAddress: socketAddressOf(bound),
    accept: () => accepting.promise,
    close: async () => {
      accepting.reject(new HarnessError('transport/closed', { uri, at: 0, why: 'stopped listening' }));
      server.close(); // its callback would wait for the accepted channel, which lives on
      if (typeof bound === 'string') removeQuietly(bound);
    },
  };
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Node already removed it when the server closed, or the user did: gone is gone.
  }
}

function socketAddressOf(bound: net.AddressInfo | string | null): SocketAddress | undefined {
  if (bound === null) return undefined;
  if (typeof bound === 'string') return { type: 'unix', path: bound };
  return {
    type: 'inet',
    host: bound.address,
    port: String(bound.port),
    ...(bound.family === 'IPv6' ? { ipv6: true } : { ipv4: true }),
  };
}
