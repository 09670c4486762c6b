/**
 * The worker's end of a ManagedWorker: says when it is ready, answers requests, and sends errors in a form that keeps
 * their code. The message types are the whole protocol between the two.
 *
 *   worker → owner   ready · reply · refused · event · failed
 *   owner → worker   request · close
 */

import { parentPort, type Transferable, workerData } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import { toWire, type WireError } from '../base/errors.ts';
import { readlinkSync } from '../base/node-fs.ts';

/** Messages of a worker to its owner. */
export type WorkerMessage =
  | { readonly type: 'ready'; readonly systemThreadId: number }
  | { readonly type: 'reply'; readonly id: number; readonly value: unknown }
  | { readonly type: 'refused'; readonly id: number; readonly error: WireError }
  | { readonly type: 'event'; readonly value: unknown }
  | { readonly type: 'failed'; readonly error: WireError };

/** Messages of an owner to its worker. */
export type OwnerMessage =
  | { readonly type: 'request'; readonly id: number; readonly kind: string; readonly payload: unknown }
  | { readonly type: 'close' };

/** A reply whose memory moves to the owner instead of being copied. */
export class Transferred {
  readonly value: unknown;
  readonly transfer: readonly Transferable[];

  constructor(value: unknown, transfer: readonly Transferable[]) {
    this.value = value;
    this.transfer = transfer;
  }
}

/** What a worker entry gets to work with. */
export interface WorkerPort {
  /** Tells the owner that requests may come; the owner's start deadline ends here. */
  ready(): void;
  /** Sends something nobody asked for. */
  emit(value: unknown): void;
  /**
   * Answers requests with `handler` until the owner closes, then resolves. A throwing handler refuses that request only.
   * What the handler returns is copied, or moved when it is a `Transferred`.
   */
  serve(handler: (kind: string, payload: unknown) => unknown): Promise<void>;
}

/** What a thread does with the data its owner gave; when it returns, the thread ends. */
export type WorkerBody<Data> = (data: Data, port: WorkerPort) => Promise<void> | void;

/** Runs what `load` gives with the owner's data, and tells the owner why when either throws. For `runWorker` (worker-entry.ts). */
export async function serveOwner<Data>(load: () => Promise<WorkerBody<Data>>): Promise<void> {
  const port = parentPort;
  assert(port !== null, 'a worker entry runs in a worker');
  const send = (message: WorkerMessage) => port.postMessage(message);
  try {
    const body = await load();
    // The owner's ManagedWorker.start has the same type parameter; nothing checks it at run time.
    await body(workerData as Data, {
      ready: () => send({ type: 'ready', systemThreadId: systemThreadId() }),
      emit: (value) => send({ type: 'event', value }),
      serve: (handler) =>
        new Promise((resolve) => {
          port.on('message', (message: OwnerMessage) => {
            if (message.type === 'close') return resolve();
            void answer(message, handler, (reply, transfer) => port.postMessage(reply, transfer));
          });
        }),
    });
  } catch (error) {
    send({ type: 'failed', error: toWire(error) });
  } finally {
    port.close();
  }
}

/** The system's number of the thread that asks (gettid(2)); -1 where there is no /proc. */
function systemThreadId(): number {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  } catch {
    return -1;
  }
}

async function answer(
  request: Extract<OwnerMessage, { type: 'request' }>,
  handler: (kind: string, payload: unknown) => unknown,
  send: (message: WorkerMessage, transfer?: Transferable[]) => void,
): Promise<void> {
  const { id } = request;
  try {
    const result = await handler(request.kind, request.payload);
    if (result instanceof Transferred) send({ type: 'reply', id, value: result.value }, [...result.transfer]);
    else send({ type: 'reply', id, value: result }); // throws when the value cannot be cloned
  } catch (error) {
    send({ type: 'refused', id, error: toWire(error) });
  }
}
