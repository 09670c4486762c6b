/**
 * The smallest QMP client that a test driver needs: one connection, commands matched with their replies by `id`, events kept
 * by arrival. A server that cannot read a command answers without an id; the rejection then tells what it was sent.
 */

import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** What drivers and tests use of a QMP connection. */
export interface QmpClient extends AsyncDisposable {
  /** Runs a command; rejects with the error's text. */
  execute(name: string, args?: object): Promise<unknown>;
  /** All events that came so far. */
  readonly events: readonly QmpEvent[];
  /** Resolves with the first event of that name that has come or will come. */
  waitEvent(name: string, signal?: AbortSignal): Promise<QmpEvent>;
}

/** An event as it came, without its timestamp. */
interface QmpEvent {
  readonly event: string;
  readonly data?: unknown;
}

/** Everything a server sends in one line. */
interface Message extends Partial<QmpEvent> {
  readonly id?: unknown;
  readonly QMP?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
}

/** A command that was sent and not yet answered. */
interface Outstanding extends PromiseWithResolvers<unknown> {
  readonly sent: string;
}

/** Of what was sent, so much is in an error. */
const QUOTED_CHARACTERS = 300;

/** Connects to a unix socket and leaves negotiation mode. */
export async function connectTinyQmp(options: { path: string }): Promise<QmpClient> {
  const socket = connect(options.path);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  const client = new TinyQmp(socket);
  await client.execute('qmp_capabilities');
  return client;
}

class TinyQmp implements QmpClient {
  readonly #socket: Socket;
  /** By id, the oldest first. */
  readonly #outstanding = new Map<number, Outstanding>();
  #nextId = 1;
  readonly events: QmpEvent[] = [];
  readonly #waiters = new Set<() => void>();
  #closed: Error | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    // The server's end (a killed process) shows as `close`; the error itself says nothing more.
    socket.on('error', () => {});
    socket.on('close', () => this.#close());
    createInterface({ input: socket })
      .on('error', () => {}) // it repeats the socket's
      .on('line', (line) => this.#receive(JSON.parse(line) as Message));
  }

  execute(name: string, args?: object): Promise<unknown> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const id = this.#nextId++;
    const sent = JSON.stringify({ execute: name, ...(args === undefined ? {} : { arguments: args }), id });
    const command = { ...Promise.withResolvers<unknown>(), sent };
    this.#outstanding.set(id, command);
    this.#socket.write(`${sent}\n`);
    return command.promise;
  }

  async waitEvent(name: string, signal?: AbortSignal): Promise<QmpEvent> {
    for (;;) {
      const found = this.events.find((event) => event.event === name);
      if (found !== undefined) return found;
      if (this.#closed !== undefined) throw this.#closed;
      const next = Promise.withResolvers<void>();
      const abort = () => next.reject(signal?.reason);
      this.#waiters.add(next.resolve);
      signal?.addEventListener('abort', abort, { once: true });
      try {
        signal?.throwIfAborted();
        await next.promise;
      } finally {
        this.#waiters.delete(next.resolve);
        signal?.removeEventListener('abort', abort);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.closed) return;
    const closed = new Promise((resolve) => this.#socket.once('close', resolve));
    this.#socket.destroy();
    await closed;
  }

  #receive(message: Message): void {
    if (message.QMP !== undefined) return;
    if (message.event !== undefined) {
      this.events.push({ event: message.event, data: message.data });
      for (const wake of this.#waiters) wake();
      return;
    }
    const { id, error } = message;
    const command = this.#take(id === undefined && error !== undefined ? this.#oldest() : id);
    if (command === undefined) {
      // Nobody could tell what later replies answer.
      this.#closed = new Error(`a QMP reply to no command: ${JSON.stringify(message)}`);
      this.#socket.destroy();
    } else if (error === undefined) {
      command.resolve(message.return);
    } else {
      const about = id === undefined ? `, about ${command.sent.slice(0, QUOTED_CHARACTERS)}` : '';
      command.reject(new Error(`${error.class}: ${error.desc}${about}`));
    }
  }

  #oldest(): number | undefined {
    return this.#outstanding.keys().next().value;
  }

  #take(id: unknown): Outstanding | undefined {
    const command = typeof id === 'number' ? this.#outstanding.get(id) : undefined;
    if (typeof id === 'number') this.#outstanding.delete(id);
    return command;
  }

  #close(): void {
    this.#closed ??= new Error('the QMP connection is closed');
    for (const { reject } of this.#outstanding.values()) reject(this.#closed);
    this.#outstanding.clear();
    for (const wake of this.#waiters) wake();
  }
}
