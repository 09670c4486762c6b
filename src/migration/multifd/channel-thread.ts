/**
 * The work of one channel, and its connection's descriptor. A thread does it and blocks in system calls; what ends that is
 * shutdown(2) on the descriptor, which this side owns and closes when the work is over. Without native calls, or for a
 * connection that is not a plain socket, the same work is done in turns on this thread.
 */

import { closeSync } from 'node:fs';
import { isHarnessError } from '../../base/errors.ts';
import type { ManagedWorker } from '../../threads/managed-worker.ts';
import { native } from '../../threads/native.ts';
import type { Channel } from '../transport/channel.ts';
import type { ChannelEnd, ChannelThreads } from './channel-threads.ts';

/** No deadline: work lasts as long as the migration (ms, as much as a timer can). */
const WORK_MS = 2 ** 31 - 1;
/** How long work may take to end once it was asked to (ms). */
const END_MS = 5000;

/** How a channel's work is started. */
export interface ChannelThreadOptions {
  readonly channel: Channel;
  readonly threads: ChannelThreads;
  readonly end: ChannelEnd;
  /** What the thread gets, besides the descriptor. */
  readonly data: object;
  /** The same work on this thread. */
  readonly inTurns: () => Promise<void>;
  /** Asks the work to end in good order, wherever it waits. */
  readonly close: () => void;
  /** What the thread says while it works. */
  readonly onEvent?: (event: unknown) => void;
  /** Called once the work has ended, by itself or because it was asked to. */
  readonly onEnd: (error: Error | undefined) => void;
}

/** See the header. */
export class ChannelThread {
  readonly #options: ChannelThreadOptions;
  /** -1 when the work is done on this thread. */
  readonly #fd: number;
  readonly #worker: ManagedWorker | undefined;
  readonly #work: Promise<void>;
  #ended = false;
  #error: Error | undefined;

  /** Takes the connection over. Rejects when there is no thread to be had. */
  static async start(options: ChannelThreadOptions): Promise<ChannelThread> {
    const fd = options.channel.handOver?.() ?? -1;
    if (fd < 0) return new ChannelThread(options, fd, undefined);
    try {
      return new ChannelThread(options, fd, await options.threads.take(options.end));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  private constructor(options: ChannelThreadOptions, fd: number, worker: ManagedWorker | undefined) {
    this.#options = options;
    this.#fd = fd;
    this.#worker = worker;
    if (worker !== undefined) options.threads.listen(worker, options.onEvent ?? (() => undefined));
    const working =
      worker === undefined
        ? options.inTurns()
        : worker.request('run', { ...options.data, fd }, { deadlineMs: WORK_MS });
    this.#work = working.then(
      () => this.#end(undefined),
      (error) => this.#end(error instanceof Error ? error : new Error(String(error))),
    );
  }

  /** True when the work has ended, for whatever reason. */
  get ended(): boolean {
    return this.#ended;
  }

  /** What it failed with. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Ends the work in good order, then the connection. */
  async close(): Promise<void> {
    this.#options.close();
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(() => late.resolve(), END_MS);
    await Promise.race([this.#work, late.promise]);
    clearTimeout(timer);
    if (!this.#ended) await this.#worker?.[Symbol.asyncDispose](); // whose end ends the work
    await this.#work;
    if (this.#fd < 0) await this.#options.channel.close();
  }

  /** Ends everything at once. */
  async destroy(): Promise<void> {
    this.#options.close();
    if (this.#fd < 0) this.#options.channel.destroy('the migration is over');
    else if (!this.#ended) native?.shutdown(this.#fd);
    await this.close();
  }

  #end(error: Error | undefined): void {
    this.#ended = true;
    this.#error = isHarnessError(error, 'thread/failed') ? ((error.cause as Error | undefined) ?? error) : error;
    if (this.#fd >= 0) closeSync(this.#fd);
    if (this.#worker?.state === 'running') this.#options.threads.giveBack(this.#options.end, this.#worker);
    this.#options.onEnd(this.#error);
  }
}
