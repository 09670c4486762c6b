/** The smallest QMP client that a test driver needs: one connection, commands in order, events kept by arrival. */

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
  readonly QMP?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
}

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
  readonly #replies: PromiseWithResolvers<unknown>[] = [];
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
    const reply = Promise.withResolvers<unknown>();
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    this.#replies.push(reply);
    this.#socket.write(JSON.stringify(args === undefined ? { execute: name } : { execute: name, arguments: args }));
    return reply.promise;
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
    if (this.#closed !== undefined) return;
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
    const reply = this.#replies.shift();
    if (message.error === undefined) reply?.resolve(message.return);
    else reply?.reject(new Error(`${message.error.class}: ${message.error.desc}`));
  }

  #close(): void {
    this.#closed = new Error('the QMP connection is closed');
    for (const reply of this.#replies.splice(0)) reply.reject(this.#closed);
    for (const wake of this.#waiters) wake();
  }
}
