/** Opens channels: outgoing by `openOutgoing`, incoming by `openIncoming` (spec/control.md §6). */

import { lookup } from 'node:dns/promises';
import { unlinkSync } from 'node:fs';
import { lstat, unlink } from 'node:fs/promises';
import net from 'node:net';
import { HarnessError, isHarnessError } from '../../base/errors.ts';
import { systemReason } from '../../base/system-reason.ts';
import { LIMITS } from '../../wire/limits.ts';
import type { SocketAddress } from '../vm-control.ts';
import type { Address, UnixAddress } from './address.ts';
import type { Channel } from './channel.ts';
import { noSuchDescriptor, openDescriptor } from './descriptor-channel.ts';
import { openExec } from './exec-channel.ts';
import { createFile, openFile } from './file-channel.ts';
import { acceptSocket, connectSocket } from './socket-channel.ts';
import { isAbsent, isInUse, isUnknownName, listenFailure, NO_SUCH_NAME, unlinkFailure } from './socket-failure.ts';
import { familyOf, portNumber, type TcpAddress, unresolved } from './tcp-address.ts';
import { acceptTls, type ClientTls, connectTls, type ServerTls } from './tls-channel.ts';

/** Longest path of a unix socket on Linux. */
const SOCKET_PATH_BYTES = 107;
const WRONG_FAMILY = 'Address family for hostname not supported';

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

/** Throws `qmp/generic`, in QEMU's words, when this transport cannot do what the capabilities need (spec/control.md §6). */
export function refuseTransport(
  address: Address,
  options: { isOn(capability: 'mapped-ram' | 'multifd'): boolean },
): void {
  const isSocket = address.kind === 'tcp' || address.kind === 'unix';
  const isFile = address.kind === 'file';
  if (options.isOn('mapped-ram') && !isFile) {
    throw new HarnessError('qmp/generic', { text: 'Migration requires seekable transport (e.g. file)' });
  }
  // A mapped file can be opened more than once, as a listener can be connected to.
  const isMultiChannel = isSocket || (isFile && options.isOn('mapped-ram'));
  if (options.isOn('multifd') && !isMultiChannel) {
    throw new HarnessError('qmp/generic', { text: 'Migration requires multi-channel URIs (e.g. tcp)' });
  }
}

/** Ours: QEMU shakes hands over whatever there is, and waits for ever where nobody answers (docs/differences.md). Throws `qmp/generic`. */
export function refuseTls(
  address: Address,
  options: { isOn(capability: 'mapped-ram'): boolean; readonly hasTls: boolean },
): void {
  if (!options.hasTls || address.kind === 'tcp' || address.kind === 'unix') return;
  const text = options.isOn('mapped-ram')
    ? 'Cannot use TLS with mapped-ram'
    : `TLS needs a socket (tcp: or unix:); ${address.uri} is none`;
  throw new HarnessError('qmp/generic', { text });
}

/** Opens the sending end. Rejects with `transport/connect` or `transport/open`. */
export async function openOutgoing(
  address: Address,
  signal: AbortSignal,
  clientTls?: ClientTls | undefined,
): Promise<Channel> {
  const { uri } = address;
  const open = (target: net.NetConnectOpts) => connected(address, target, { signal, clientTls });
  switch (address.kind) {
    case 'exec':
      return openExec(address.command, uri);
    case 'fd':
      throw noSuchDescriptor(address.name); // a source's are those of getfd, and none can be received
    case 'file':
      return createFile(address);
    case 'tcp':
      return open(tcpTarget(address));
    case 'unix':
      return open({ path: socketName(address) });
    default:
      return address satisfies never;
  }
}

function tcpTarget(address: TcpAddress): net.TcpNetConnectOpts {
  const { host, keepAlive = false } = address;
  // Node takes an address as it is, whatever family is asked for; as a v6 address QEMU takes one of IPv4 too.
  if (familyOf(address) === 4 && net.isIP(host) === 6) throw unresolved(address, WRONG_FAMILY);
  return { host: host === '' ? 'localhost' : host, port: portNumber(address), family: familyOf(address), keepAlive };
}

async function connected(
  address: Address,
  target: net.NetConnectOpts,
  { signal, clientTls }: { signal: AbortSignal; clientTls: ClientTls | undefined },
): Promise<Channel> {
  const { uri } = address;
  const deadline = AbortSignal.timeout(LIMITS.CONNECT_MS);
  const either = AbortSignal.any([signal, deadline]);
  try {
    if (clientTls === undefined) return await connectSocket(target, uri, either);
    return await connectTls(target, { uri, tls: clientTls, signal: either });
  } catch (cause) {
    if (isHarnessError(cause, 'transport/tls')) throw cause;
    if (signal.aborted) throw signal.reason;
    if (isUnknownName(cause) && address.kind === 'tcp') throw unresolved(address, NO_SUCH_NAME);
    const why = deadline.aborted ? `no answer for ${LIMITS.CONNECT_MS} ms` : systemReason(cause);
    throw new HarnessError('transport/connect', { uri: nameOf(address), why }, { cause });
  }
}

/** What QEMU calls it when it cannot connect; the URI of a multifd channel says which one behind the address. */
function nameOf({ uri, ...address }: Address): string {
  if (address.kind !== 'tcp') return uri.replace(/^unix:/, '');
  return `${address.host}:${address.port}${/ \(multifd channel \d+\)$/.exec(uri)?.[0] ?? ''}`;
}

/** What a listener does with the connections that come. */
export interface Admission {
  /** How many are let in. */
  readonly connections: number;
  /** Asked for every connection; what it throws fails `accept`. Undefined, and a returned undefined, mean no TLS. */
  readonly serverTls?: (() => ServerTls | undefined) | undefined;
  /** A connection that did not get through its handshake; others may still come. */
  readonly onRefused?: ((error: unknown) => void) | undefined;
}

/** Opens the receiving end. Rejects with `transport/open` or `transport/resolve`. */
export async function openIncoming(address: Address, admission: Admission = { connections: 1 }): Promise<Listener> {
  switch (address.kind) {
    case 'exec':
      return ready(await openExec(address.command, address.uri));
    case 'fd':
      return ready(await openDescriptor(address));
    case 'file':
      return ready(await openFile(address));
    case 'tcp':
      return listenTcp(address, admission);
    case 'unix':
      return listenUnix(address, admission);
    default:
      return address satisfies never;
  }
}

function ready(channel: Channel): Listener {
  return { socketAddress: undefined, accept: async () => channel, close: async () => undefined };
}

async function listenTcp(address: TcpAddress, admission: Admission): Promise<Listener> {
  const first = portNumber(address);
  const host = await listeningHost(address);
  const last = address.to ?? first;
  if (last < first) throw new HarnessError('transport/open', { uri: address.uri, why: 'Failed to create a socket' });
  for (let port = first; ; port++) {
    try {
      return await listen(address.uri, { port, ...host }, admission);
    } catch (error) {
      if (port >= last || !isInUse(error)) throw listenFailure(address, error);
    }
  }
}

/** What Node is told; without a host it listens on all addresses, of both IP versions where there are both. */
async function listeningHost(address: TcpAddress): Promise<{ host?: string; ipv6Only?: boolean }> {
  const family = familyOf(address);
  const { host } = address;
  if (host === '0') return { host: '0.0.0.0' };
  if (host === '') return family === 0 ? {} : family === 4 ? { host: '0.0.0.0' } : { host: '::', ipv6Only: true };
  if (family === 0) return { host };
  if (net.isIP(host) !== 0 && net.isIP(host) !== family) throw unresolved(address, WRONG_FAMILY);
  try {
    return { host: (await lookup(host, { family })).address };
  } catch (error) {
    throw isUnknownName(error) ? unresolved(address, NO_SUCH_NAME) : error;
  }
}

/** What the kernel is told: the path, or an abstract name behind a NUL. Throws `qmp/generic` when it is too long. */
function socketName({ path, abstract }: UnixAddress): string {
  const room = SOCKET_PATH_BYTES - Buffer.byteLength(path);
  if (room < 0) {
    throw new HarnessError('qmp/generic', { text: `UNIX socket path '${path}' is too long` });
  }
  if (abstract === undefined) return path;
  return `\0${path}${abstract.tight ? '' : '\0'.repeat(room)}`;
}

async function listenUnix(address: UnixAddress, admission: Admission): Promise<Listener> {
  const path = socketName(address);
  if (address.abstract !== undefined) {
    const listener = await listenAt(address, path, admission);
    const { tight } = address.abstract;
    return { ...listener, socketAddress: { type: 'unix', path: address.path, abstract: true, tight } };
  }
  // An existing socket is replaced; anything else at that path stays (docs/differences.md).
  try {
    const found = await lstat(address.path);
    if (found.isSocket() || found.isDirectory()) await unlink(address.path);
  } catch (cause) {
    if (!isAbsent(cause)) throw unlinkFailure(address, cause);
  }
  return listenAt(address, path, admission);
}

async function listenAt(address: UnixAddress, path: string, admission: Admission): Promise<Listener> {
  try {
    return await listen(address.uri, { path }, admission);
  } catch (error) {
    throw listenFailure(address, error);
  }
}

async function listen(uri: string, options: net.ListenOptions, admission: Admission): Promise<Listener> {
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
  /** In their handshakes. */
  const greeting = new Set<net.Socket>();
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    if (arrived === admission.connections || closed || greeting.size === LIMITS.TLS_HANDSHAKES) {
      socket.destroy();
      return;
    }
    greeting.add(socket);
    socket.once('close', () => greeting.delete(socket));
    admit(socket, uri, admission).then(
      (channel) => {
        greeting.delete(socket);
        if (channel === undefined) return;
        if (closed || arrived === admission.connections) return channel.destroy('nobody waits for it');
        if (arrived >= asked) waiting.add(channel);
        place(arrived++).resolve(channel);
      },
      (error) => place(arrived++).reject(error),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
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
      for (const socket of greeting) socket.destroy();
      server.close(); // its callback would wait for the accepted channel, which lives on
      if (typeof bound === 'string' && !bound.startsWith('\0')) removeQuietly(bound);
    },
  };
}

/** The connection's channel, after the handshake if there is one; undefined when it did not get through it. */
async function admit(socket: net.Socket, uri: string, admission: Admission): Promise<Channel | undefined> {
  let serverTls: ServerTls | undefined;
  try {
    serverTls = admission.serverTls?.();
  } catch (error) {
    socket.destroy();
    throw error;
  }
  if (serverTls === undefined) return acceptSocket(socket, uri);
  try {
    return await acceptTls(socket, uri, serverTls);
  } catch (error) {
    socket.destroy();
    admission.onRefused?.(error);
    return undefined;
  }
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
