/**
 * A QMP client for our own command line, tests and benchmarks; it works with a real QEMU as well. Commands may be sent
 * without waiting for earlier replies.
 */

import { connect, type Socket } from 'node:net';
import { HarnessError, messageOf } from '../base/errors.ts';
import { type JsonValue, stringify } from '../base/json.ts';
import { endpointName, parseEndpoint, type SocketEndpoint } from './monitor-options.ts';
import { QmpParser } from './parser.ts';

/** An event as it came; `data` is absent when it has none. */
export interface QmpEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

/** The greeting's content. */
export interface QmpGreeting {
  readonly version: {
    readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
    readonly package: string;
  };
  readonly capabilities: readonly string[];
}

/** Where to connect: `unix:PATH`, `tcp:HOST:PORT`, or the same as an object. */
export type QmpAddress = string | SocketEndpoint;

type Message = Readonly<Record<string, unknown>>;
type Waiter = PromiseWithResolvers<unknown>;

type ClassCode = 'qmp/command-not-found' | 'qmp/device-not-active' | 'qmp/device-not-found';

const ERROR_CODES: Readonly<Record<string, ClassCode>> = {
  CommandNotFound: 'qmp/command-not-found',
  DeviceNotActive: 'qmp/device-not-active',
  DeviceNotFound: 'qmp/device-not-found',
};

/**
 * Connects, reads the greeting and negotiates. `signal` ends the attempt: a server that is busy with another client
 * accepts and stays silent. Throws `transport/connect`, or the signal's reason.
 */
export async function connectQmp(
  address: QmpAddress,
  options: {
    readonly signal?: AbortSignal /** Ask for `exec-oob` where the server offers it. */;
    readonly oob?: boolean;
  } = {},
): Promise<QmpClient> {
  const endpoint = typeof address === 'string' ? parseEndpoint(address) : address;
  if (endpoint === undefined) {
    throw new HarnessError('option/bad-value', {
      option: 'QMP address',
      expected: 'unix:PATH or tcp:HOST:PORT',
      actual: `'${address}'`,
    });
  }
  const socket = connect(endpoint);
  const abort = () => socket.destroy(options.signal?.reason);
  options.signal?.addEventListener('abort', abort, { once: true });
  if (options.signal?.aborted === true) abort();
  const client = new QmpClient(socket, { uri: endpointName(endpoint), oob: options.oob === true });
  try {
    await client.ready;
    return client;
  } catch (error) {
    socket.destroy();
    throw options.signal?.aborted === true ? options.signal.reason : error;
  } finally {
    options.signal?.removeEventListener('abort', abort);
  }
}

/** A negotiated connection. Made by `connectQmp`. */
export class QmpClient implements AsyncDisposable {
  /** Resolves with the greeting once commands may be sent. */
  readonly ready: Promise<QmpGreeting>;
  /** Resolves when the connection is over, whoever ended it. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #uri: string;
  readonly #parser = new QmpParser();
  readonly #greeting: PromiseWithResolvers<QmpGreeting> = Promise.withResolvers();
  readonly #replies = new Map<number, Waiter>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #eventWaiters = new Set<(reason: Error) => void>();
  readonly #ended = Promise.withResolvers<void>();
  #nextId = 0;
  #receivedBytes = 0;
  /** Why the connection is over; commands sent later fail with it. */
  #failure: Error | undefined;

  constructor(socket: Socket, { uri, oob = false }: { readonly uri: string; readonly oob?: boolean }) {
    this.#socket = socket;
    this.#uri = uri;
    this.closed = this.#ended.promise;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#fail(this.#closedError(messageOf(error))));
    socket.on('close', () => {
      this.#fail(this.#closedError('the server closed it'));
      this.#ended.resolve();
    });
    this.ready = this.#negotiate(oob);
  }

  /**
   * Runs a command and resolves with its `return`; integers beyond 2^53 are bigints, all others numbers. Throws
   * `qmp/…` with the server's text, or `transport/closed`.
   */
  execute(command: string, args?: object): Promise<unknown> {
    return this.request({ execute: command, arguments: args });
  }

  /** `execute` for a whole message, which may say `exec-oob`; it gets an id of ours. */
  async request(message: object): Promise<unknown> {
    if (this.#failure !== undefined) throw this.#failure;
    const id = this.#nextId++;
    const reply: Waiter = Promise.withResolvers();
    this.#replies.set(id, reply);
    this.#socket.write(`${stringify({ ...message, id })}\n`);
    return await reply.promise;
  }

  /** Adds a listener for every event; the returned function removes it. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Resolves with the first event from now on that the predicate accepts; call it before the command that causes the
   * event. Throws the signal's reason, or `transport/closed`.
   */
  async waitEvent(predicate: (event: QmpEvent) => boolean, signal?: AbortSignal): Promise<QmpEvent> {
    if (this.#failure !== undefined) throw this.#failure;
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>();
    const abort = () => reject(signal?.reason);
    const unlisten = this.onEvent((event) => {
      if (predicate(event)) resolve(event);
    });
    signal?.addEventListener('abort', abort, { once: true });
    this.#eventWaiters.add(reject);
    try {
      return await promise;
    } finally {
      unlisten();
      signal?.removeEventListener('abort', abort);
      this.#eventWaiters.delete(reject);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#fail(this.#closedError('we closed it'));
    this.#socket.destroy();
    await this.#ended.promise;
  }

  async #negotiate(oob: boolean): Promise<QmpGreeting> {
    const greeting = await this.#greeting.promise;
    await this.execute(
      'qmp_capabilities',
      oob && greeting.capabilities.includes('oob') ? { enable: ['oob'] } : undefined,
    );
    return greeting;
  }

  #receive(chunk: Buffer): void {
    this.#receivedBytes += chunk.length;
    for (const input of this.#parser.push(chunk)) {
      if ('syntaxError' in input) {
        this.#fail(this.#closedError(`the server sent no QMP: ${input.syntaxError}`));
        this.#socket.destroy();
        return;
      }
      this.#dispatch(toPlain(input.value));
    }
  }

  #dispatch(message: unknown): void {
    if (!isMessage(message)) return;
    if ('QMP' in message) {
      // The greeting's shape is the protocol's first promise; whatever reads it checks what it needs.
      this.#greeting.resolve(message['QMP'] as QmpGreeting);
    } else if ('event' in message) {
      for (const listener of [...this.#listeners]) listener(message as unknown as QmpEvent);
    } else {
      this.#settle(message);
    }
  }

  #settle(message: Message): void {
    const id = message['id'];
    const waiter = typeof id === 'number' ? this.#replies.get(id) : undefined;
    if (waiter === undefined) return;
    this.#replies.delete(id as number);
    const error = message['error'];
    if (isMessage(error)) waiter.reject(toError(error));
    else waiter.resolve(message['return']);
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#greeting.reject(error);
    for (const waiter of this.#replies.values()) waiter.reject(error);
    for (const reject of this.#eventWaiters) reject(error);
    this.#replies.clear();
  }

  #closedError(why: string): HarnessError {
    return this.#receivedBytes === 0
      ? new HarnessError('transport/connect', { uri: this.#uri, why })
      : new HarnessError('transport/closed', { uri: this.#uri, at: this.#receivedBytes, why });
  }
}

function toError(error: Message): HarnessError {
  const code = ERROR_CODES[String(error['class'])] ?? 'qmp/generic';
  return new HarnessError(code, { text: String(error['desc']) });
}

/** Ordinary objects and numbers, as far as numbers are exact. */
function toPlain(value: JsonValue): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }
  if (Array.isArray(value)) return value.map(toPlain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, toPlain(member)]));
}

function isMessage(value: unknown): value is Message {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
