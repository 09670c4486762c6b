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
  /** The next connection. Those beyond the number expected are refused. Rejects with `transport/closed` once `close` was called. */
  accept(): Promise<Channel>;
  /** Stops listening and removes a unix socket's file. The accepted channel lives on. */
  close(): Promise<void>;
}

/** True for transports whose channel can carry a return path. */
export function isBidirectional(address: Address): boolean {
  return address.kind !== 'file';
}

/** True for transports that can be connected to more than once. */
export function isMultiChannel(address: Address): boolean {
  return address.kind === 'tcp' || address.kind === 'unix';
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

/** Opens the receiving end for this many connections. Rejects with `transport/listen` or `transport/open`. */
export async function openIncoming(address: Address, connections = 1): Promise<Listener> {
  switch (address.kind) {
    case 'exec':
      return ready(await openExec(address.command, address.uri));
    case 'file':
      return ready(await openFile(address));
    case 'tcp':
      return listenTcp(address, connections);
    case 'unix':
      return listenUnix(address, connections);
    default:
      return address satisfies never;
  }
}

function ready(channel: Channel): Listener {
  return { socketAddress: undefined, accept: async () => channel, close: async () => undefined };
}

async function listenTcp(address: Address & { kind: 'tcp' }, connections: number): Promise<Listener> {
  const host = address.host === '' || address.host === '0' ? undefined : address.host;
  for (let port = address.port; ; port++) {
    try {
      return await listen(address.uri, { port, ...(host === undefined ? {} : { host }) }, connections);
    } catch (error) {
      if (port >= address.lastPort) throw error;
    }
  }
}

async function listenUnix(address: Address & { kind: 'unix' }, connections: number): Promise<Listener> {
  // QEMU replaces an existing socket file; anything else at that path stays.
  const found = await lstat(address.path).catch(() => undefined);
  if (found?.isSocket()) await unlink(address.path);
  return listen(address.uri, { path: address.path }, connections);
}

async function listen(uri: string, options: net.ListenOptions, connections: number): Promise<Listener> {
  // Accepted and asked for, whichever comes first.
  const places: PromiseWithResolvers<Channel>[] = [];
  const place = (index: number): PromiseWithResolvers<Channel> => {
    while (places.length <= index) {
      const next = Promise.withResolvers<Channel>();
      next.promise.catch(() => undefined); // nobody may be waiting when it is closed
      places.push(next);
    }
    return places[index]!;
  };
  let arrived = 0;
  let asked = 0;
  let closed = false;
  const waiting = new Set<Channel>();
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    if (arrived === connections || closed) {
      socket.destroy();
      return;
    }
    const channel = acceptSocket(socket, uri);
    if (arrived >= asked) waiting.add(channel);
    place(arrived++).resolve(channel);
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
    accept: async () => {
      if (closed) throw new HarnessError('transport/closed', { uri, at: 0, why: 'stopped listening' });
      const channel = await place(asked++).promise;
      waiting.delete(channel);
      return channel;
    },
    close: async () => {
      closed = true;
      for (const { reject } of places)
        reject(new HarnessError('transport/closed', { uri, at: 0, why: 'stopped listening' }));
      for (const channel of waiting) channel.destroy('nobody took it');
      waiting.clear();
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
