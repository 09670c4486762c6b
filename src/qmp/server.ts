/**
 * QMP monitors: sockets that listen or connect, and standard input and output. Each socket serves one client at a
 * time, as QEMU's do; the next one waits for its greeting. Several monitors serve one machine side by side.
 */

import { lstat, unlink } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { HarnessError, messageOf } from '../base/errors.ts';
import { type ConnectionConfig, QmpConnection } from './connection.ts';
import { QMP_LIMITS } from './limits.ts';
import { endpointName, type MonitorConfig, type SocketEndpoint } from './monitor-options.ts';
import type { YankableMonitors } from './yank.ts';

/** What the monitors serve, and how. */
export interface QmpServerConfig extends Pick<ConnectionConfig, 'vm' | 'packageVersion'> {
  readonly monitors: readonly MonitorConfig[];
  readonly nowMs?: () => number;
  readonly warn?: (text: string) => void;
  /** Ends the waiting for first clients (`wait=on`); without meaning once the server has started. */
  readonly signal?: AbortSignal;
}

type MonitorSocket = Pick<Exclude<MonitorConfig, { readonly kind: 'stdio' }>, 'endpoint' | 'id'>;

interface Monitor {
  /** Undefined for what no yank reaches. */
  readonly id: string | undefined;
  /** Where clients connect; the port is the real one. Undefined where there is nothing to connect to. */
  readonly endpoint: SocketEndpoint | undefined;
  /** Resolves when the first client is there. */
  readonly firstClient: Promise<void>;
  /** From now on clients are greeted; until then they wait. */
  serve(): void;
  /** Cuts off the client that is served. */
  cut(): void;
  close(): Promise<void>;
}

/** All monitors of a machine; disposing answers what was asked, flushes and closes. */
export class QmpServer implements AsyncDisposable, YankableMonitors {
  readonly #monitors: Monitor[] = [];

  /**
   * Opens the monitors in their order. One with `wait=on` holds up the next until its first client is there. Of the
   * others none greets anybody before all are open: who has been greeted by one can connect to all, as in QEMU.
   * Throws `transport/listen`, `transport/connect` or the signal's reason; the monitors opened before are closed then.
   */
  static async start(config: QmpServerConfig): Promise<QmpServer> {
    const server = new QmpServer();
    const shared: ConnectionConfig = {
      vm: config.vm,
      monitors: server,
      packageVersion: config.packageVersion,
      nowMs: config.nowMs ?? (() => performance.timeOrigin + performance.now()),
      warn: config.warn ?? ((text) => process.stderr.write(`switchover: ${text}\n`)),
    };
    try {
      for (const options of config.monitors) {
        const monitor = await openMonitor(options, shared);
        server.#monitors.push(monitor);
        if (options.kind !== 'server' || !options.wait) continue;
        monitor.serve();
        await orAborted(monitor.firstClient, config.signal);
      }
      for (const monitor of server.#monitors) monitor.serve();
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }

  /** Where each monitor's clients connect, in the order of the configuration, with the ports the system chose. */
  get endpoints(): readonly (SocketEndpoint | undefined)[] {
    return this.#monitors.map((monitor) => monitor.endpoint);
  }

  get ids(): readonly string[] {
    return this.#monitors.flatMap(({ id }) => id ?? []);
  }

  cut(id: string): void {
    this.#monitors.find((monitor) => monitor.id === id)?.cut();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#monitors.map((monitor) => monitor.close()));
  }
}

async function openMonitor(monitor: MonitorConfig, common: ConnectionConfig): Promise<Monitor> {
  const shared = { ...common, pretty: monitor.pretty === true };
  if (monitor.kind === 'stdio') return openStdio(shared);
  if (monitor.kind === 'client') return openClient(monitor, shared);
  return await ListeningMonitor.open(monitor, shared);
}

function openStdio(shared: ConnectionConfig): Monitor {
  return connected(
    undefined,
    new QmpConnection({ input: process.stdin, output: process.stdout, endOutput: false }, shared),
  );
}

async function openClient({ endpoint, id }: MonitorSocket, shared: ConnectionConfig): Promise<Monitor> {
  const socket = connect({ ...endpoint, allowHalfOpen: true });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) =>
      reject(new HarnessError('transport/connect', { uri: endpointName(endpoint), why: messageOf(error) })),
    );
  });
  return connected(id, new QmpConnection({ input: socket, output: socket, endOutput: true }, shared));
}

/** A monitor with one client, which is there. */
function connected(id: string | undefined, connection: QmpConnection): Monitor {
  return {
    id,
    endpoint: undefined,
    firstClient: Promise.resolve(),
    serve: () => {},
    cut: () => connection.cut(),
    close: () => connection.finish(),
  };
}

/** A socket that listens, the client it serves, and those who wait. */
class ListeningMonitor implements Monitor {
  readonly #shared: ConnectionConfig;
  readonly #server: Server;
  readonly #waiting: Socket[] = [];
  readonly #firstClient = Promise.withResolvers<void>();
  #current: QmpConnection | undefined;
  #isServing = false;
  #closing = false;
  readonly id: string;
  endpoint: SocketEndpoint;

  private constructor({ endpoint, id }: MonitorSocket, shared: ConnectionConfig) {
    this.id = id;
    this.endpoint = endpoint;
    this.#shared = shared;
    // Paused, so that a client in the queue sends into its own socket's buffer and not into ours.
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => this.#arrive(socket));
  }

  static async open(socket: MonitorSocket, shared: ConnectionConfig): Promise<ListeningMonitor> {
    const { endpoint } = socket;
    const monitor = new ListeningMonitor(socket, shared);
    if ('path' in endpoint) await removeStaleSocket(endpoint.path);
    await new Promise<void>((resolve, reject) => {
      monitor.#server.once('error', (error) =>
        reject(new HarnessError('transport/listen', { uri: endpointName(endpoint), why: messageOf(error) })),
      );
      monitor.#server.listen(endpoint, resolve);
    });
    if ('host' in endpoint) {
      // A TCP server's address is never a string.
      const { port } = monitor.#server.address() as AddressInfo;
      monitor.endpoint = { host: endpoint.host, port };
    }
    return monitor;
  }

  get firstClient(): Promise<void> {
    return this.#firstClient.promise;
  }

  serve(): void {
    this.#isServing = true;
    this.#serveNext();
  }

  cut(): void {
    this.#current?.cut();
  }

  async close(): Promise<void> {
    this.#closing = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#waiting.splice(0)) socket.destroy();
    await this.#current?.finish();
    await closed;
  }

  #arrive(socket: Socket): void {
    // Without a listener an error of a client that waits would end the process.
    socket.on('error', () => socket.destroy());
    this.#firstClient.resolve();
    if (this.#waiting.length >= QMP_LIMITS.WAITING_CLIENTS) {
      this.#shared.warn(
        `${endpointName(this.endpoint)}: ${this.#waiting.length} QMP clients wait; one more was refused`,
      );
      socket.destroy();
      return;
    }
    this.#waiting.push(socket);
    this.#serveNext();
  }

  #serveNext(): void {
    if (!this.#isServing || this.#current !== undefined || this.#closing) return;
    const socket = this.#waiting.shift();
    if (socket === undefined) return;
    const connection = new QmpConnection({ input: socket, output: socket, endOutput: true }, this.#shared);
    this.#current = connection;
    void connection.closed.then(() => {
      this.#current = undefined;
      this.#serveNext();
    });
  }
}

/** Rejects with the signal's reason when that comes first. */
async function orAborted(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return await promise;
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** A socket left over by a process that died would make listening fail; anything else at the path stays. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isSocket() === true) await unlink(path);
}
