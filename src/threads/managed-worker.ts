/**
 * A worker thread with an owner: explicit states, a deadline for starting and for stopping, typed requests, and errors
 * that keep their code across the border. The worker's end is worker-port.ts.
 *
 *   starting ─ready─▶ running ─stop─▶ stopping ─exit─▶ stopped
 *        └──────────── failed ◀── error, or exit nobody asked for
 */

import { type Transferable, Worker } from 'node:worker_threads';
import { fromWire, HarnessError } from '../base/errors.ts';
import type { OwnerMessage, WorkerMessage } from './worker-port.ts';

/** bin/switchover.js leaves out the hint that native calls are experimental; a thread would give it again. */
const QUIET = process.execArgv.length === 0 ? { execArgv: ['--disable-warning=ExperimentalWarning'] } : {};

const SMALL_HEAP = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 32 };

/** States of a ManagedWorker. */
export type WorkerState = 'starting' | 'running' | 'stopping' | 'stopped' | 'failed';

/** How a worker is started. */
export interface WorkerOptions {
  /** Names the thread in errors and in the debugger. */
  readonly name: string;
  readonly url: URL;
  /** Structured-cloneable; shared buffers and WebAssembly memories stay shared. */
  readonly data: unknown;
  readonly transfer?: readonly Transferable[];
  /** Least heap for a thread that keeps little: with more a thread takes 2 MiB more of memory before it does anything. */
  readonly smallHeap?: boolean;
  /** Longest time until the worker says it is ready (ms, default 10 000). */
  readonly startMs?: number;
  /** Longest time from `stop` to the end of the thread (ms, default 5 000). */
  readonly stopMs?: number;
  /** Ends a worker that does not read messages; the default posts `close`. */
  readonly close?: () => void;
  /** Called once when the thread is gone, asked for or not. */
  readonly onEnd?: (error: Error | undefined) => void;
  /** Called with everything the worker emits on its own. */
  readonly onEvent?: (value: unknown) => void;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** One worker thread. Dispose of it, or it keeps the process alive. */
export class ManagedWorker {
  readonly name: string;
  readonly #worker: Worker;
  readonly #options: WorkerOptions;
  readonly #ready = Promise.withResolvers<void>();
  readonly #exited = Promise.withResolvers<void>();
  readonly #requests = new Map<number, Waiting>();
  #state: WorkerState = 'starting';
  #error: Error | undefined;
  #nextId = 1;
  #systemThreadId = -1;

  /** Starts a worker and waits until it is ready. Throws what the worker threw, or `thread/timeout`. */
  static async start(options: WorkerOptions): Promise<ManagedWorker> {
    const managed = new ManagedWorker(options);
    const startMs = options.startMs ?? 10_000;
    try {
      await managed.#within(managed.#ready.promise, 'start', startMs);
    } catch (error) {
      await managed[Symbol.asyncDispose]();
      throw error;
    }
    return managed;
  }

  private constructor(options: WorkerOptions) {
    this.name = options.name;
    this.#options = options;
    this.#worker = new Worker(options.url, {
      name: options.name,
      workerData: options.data,
      ...QUIET,
      ...(options.smallHeap === true ? { resourceLimits: SMALL_HEAP } : {}),
      transferList: [...(options.transfer ?? [])],
    });
    this.#ready.promise.catch(() => {}); // A worker that fails while nobody waits for its start is reported by onEnd.
    this.#worker.on('message', (message: WorkerMessage) => this.#receive(message));
    this.#worker.on('error', (error) => this.#fail(asError(error)));
    this.#worker.on('exit', (code) => this.#exit(code));
  }

  get state(): WorkerState {
    return this.#state;
  }

  /** The system's number of the thread, as in /proc; -1 before it is ready. */
  get systemThreadId(): number {
    return this.#systemThreadId;
  }

  /** Why the worker failed, if it did. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Resolves when the thread is gone, for whatever reason. */
  get exited(): Promise<void> {
    return this.#exited.promise;
  }

  /**
   * Asks the worker's handler and resolves with its reply. Throws what the handler threw, `thread/timeout` after
   * `deadlineMs`, `thread/failed` when the thread is or goes away.
   */
  async request(
    kind: string,
    payload: unknown,
    options: { deadlineMs: number; transfer?: readonly Transferable[] },
  ): Promise<unknown> {
    if (this.#state !== 'running') throw this.#gone();
    const id = this.#nextId;
    this.#nextId += 1;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#requests.set(id, { resolve, reject });
    this.#worker.postMessage({ type: 'request', id, kind, payload } satisfies OwnerMessage, [
      ...(options.transfer ?? []),
    ]);
    try {
      return await this.#within(promise, kind, options.deadlineMs);
    } finally {
      this.#requests.delete(id);
    }
  }

  /**
   * Ends the worker in order. Throws `thread/timeout`, after terminating it, when it does not end by its deadline, and
   * what the worker failed with if it did.
   */
  async stop(): Promise<void> {
    if (this.#state === 'running') {
      this.#state = 'stopping';
      if (this.#options.close !== undefined) this.#options.close();
      else this.#worker.postMessage({ type: 'close' } satisfies OwnerMessage);
    }
    try {
      await this.#within(this.#exited.promise, 'close', this.#options.stopMs ?? 5_000);
    } catch (error) {
      await this[Symbol.asyncDispose]();
      throw error;
    }
    if (this.#error !== undefined) throw this.#error;
  }

  /** Terminates the thread, whatever it is doing; does nothing when it is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'starting' || this.#state === 'running') this.#state = 'stopping';
    await this.#worker.terminate();
    await this.#exited.promise;
  }

  #receive(message: WorkerMessage): void {
    switch (message.type) {
      case 'ready':
        if (this.#state === 'starting') this.#state = 'running';
        this.#systemThreadId = message.systemThreadId;
        this.#ready.resolve();
        break;
      case 'reply':
        this.#requests.get(message.id)?.resolve(message.value);
        break;
      case 'refused':
        this.#requests.get(message.id)?.reject(fromWire(message.error));
        break;
      case 'event':
        this.#options.onEvent?.(message.value);
        break;
      case 'failed':
        this.#fail(fromWire(message.error));
        break;
      default:
        message satisfies never;
    }
  }

  #fail(error: Error): void {
    this.#error ??= error;
    this.#state = 'failed';
  }

  #exit(code: number): void {
    if (this.#state === 'stopping') this.#state = 'stopped';
    else if (this.#state !== 'failed') this.#fail(this.#gone(`it ended by itself with code ${code}`));
    const error = this.#error ?? this.#gone();
    this.#ready.reject(error);
    for (const waiting of this.#requests.values()) waiting.reject(this.#gone());
    this.#exited.resolve();
    this.#options.onEnd?.(this.#error);
  }

  #gone(why = this.#error?.message ?? `it is ${this.#state}`): Error {
    return new HarnessError('thread/failed', { thread: this.name, why }, this.#error && { cause: this.#error });
  }

  async #within<T>(promise: Promise<T>, request: string, ms: number): Promise<T> {
    const late = Promise.withResolvers<never>();
    const details = { thread: this.name, request, waitedMs: ms };
    const timer = setTimeout(() => late.reject(new HarnessError('thread/timeout', details)), ms);
    try {
      return await Promise.race([promise, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
