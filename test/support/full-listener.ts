/**
 * A listener that refuses the k-th connection and those after it, though they all come in one turn of the event loop: nobody
 * accepts, and the kernel's queue has room for k. At a unix socket the next is refused at once (EAGAIN). At a TCP port it is
 * not answered; once `stopListening` has let in those of the queue, its next attempt, a second later, is refused (ECONNREFUSED).
 */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';

/** A path, or a port of 127.0.0.1 that the kernel chooses. */
export type FullListenerTarget = { readonly path: string } | { readonly host: '127.0.0.1'; readonly port: 0 };

/** What its thread is given. */
export interface FullListenerData {
  readonly target: FullListenerTarget & { readonly backlog: number };
  readonly connections: number;
  readonly gate: SharedArrayBuffer;
}

/** In /proc/net/tcp. */
const SYN_SENT = '02';

/** See the header. */
export class FullListener implements AsyncDisposable {
  /** For `migrate`. */
  readonly uri: string;
  readonly #port: number | undefined;
  readonly #worker: Worker;
  readonly #gate: Int32Array<SharedArrayBuffer>;
  readonly #stray: Socket;

  /** Listens with room for `room` connections, at least one. */
  static async start(target: FullListenerTarget, room: number): Promise<FullListener> {
    const gate = new SharedArrayBuffer(4);
    // Node takes no backlog of 0, which would be room for one; so there is room for one more, which a stray has.
    const workerData: FullListenerData = { target: { ...target, backlog: room }, connections: room + 1, gate };
    const worker = new Worker(new URL('./full-listener-thread.ts', import.meta.url), { workerData });
    const [address] = (await once(worker, 'message')) as [AddressInfo | string];
    const stray = typeof address === 'string' ? connect(address) : connect(address.port, address.address);
    await once(stray, 'connect');
    return new FullListener({ address, worker, gate, stray });
  }

  private constructor(parts: {
    address: AddressInfo | string;
    worker: Worker;
    gate: SharedArrayBuffer;
    stray: Socket;
  }) {
    const { address } = parts;
    this.uri = typeof address === 'string' ? `unix:${address}` : `tcp:127.0.0.1:${address.port}`;
    this.#port = typeof address === 'string' ? undefined : address.port;
    this.#worker = parts.worker;
    this.#gate = new Int32Array(parts.gate);
    this.#stray = parts.stray;
  }

  /** Connections to the port that got no answer yet. */
  get unanswered(): number {
    const port = `:${(this.#port ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
    const rows = readFileSync('/proc/self/net/tcp', 'latin1').trim().split('\n').slice(1);
    return rows.filter((row) => {
      const [, , remote = '', state] = row.trim().split(/\s+/);
      return remote.endsWith(port) && state === SYN_SENT;
    }).length;
  }

  /** Lets in whoever is in the queue, and nobody else any more. */
  stopListening(): void {
    Atomics.store(this.#gate, 0, 1);
    Atomics.notify(this.#gate, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stopListening();
    this.#stray.destroy();
    await this.#worker.terminate();
  }
}
