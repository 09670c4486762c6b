/**
 * The thread of one channel, and its connection's descriptor. The thread blocks in system calls; what ends it is
 * shutdown(2) on the descriptor, which this side owns and closes when the thread is gone. Without native calls, or for a
 * connection that is not a plain socket, the same work is done in turns on this thread.
 */

import { closeSync } from 'node:fs';
import { isHarnessError } from '../../base/errors.ts';
import { ManagedWorker } from '../../threads/managed-worker.ts';
import { native } from '../../threads/native.ts';
import { workerUrl } from '../../threads/worker-url.ts';
import type { Channel } from '../transport/channel.ts';

/** How a channel's work is started. */
export interface ChannelThreadOptions {
  readonly channel: Channel;
  /** Names the thread in errors and in the debugger. */
  readonly name: string;
  /** Name of the worker's entry. */
  readonly worker: 'multifd-send' | 'multifd-receive';
  /** What the worker gets, besides the descriptor. */
  readonly data: object;
  /** The same work on this thread. */
  readonly inTurns: () => Promise<void>;
  /** Asks the work to end in good order, wherever it waits. */
  readonly close: () => void;
  /** Called once the work has ended, by itself or because it was asked to. */
  readonly onEnd: (error: Error | undefined) => void;
}

/** See the header. */
export class ChannelThread {
  readonly #options: ChannelThreadOptions;
  /** -1 when the work is done on this thread. */
  readonly #fd: number;
  #worker: ManagedWorker | undefined;
  #work: Promise<void> = Promise.resolve();
  #ended = false;
  #error: Error | undefined;

  /** Takes the connection over and resolves once the work has begun. */
  static async start(options: ChannelThreadOptions): Promise<ChannelThread> {
    const { channel } = options;
    const fd = channel.handOver?.() ?? -1;
    const thread = new ChannelThread(options, fd);
    if (fd < 0) thread.#begin();
    else await thread.#startWorker();
    return thread;
  }

  private constructor(options: ChannelThreadOptions, fd: number) {
    this.#options = options;
    this.#fd = fd;
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
    if (this.#worker === undefined) {
      await this.#work;
      await this.#options.channel.close();
    } else {
      await this.#worker.stop().catch(() => undefined); // `error` has it
      await this.#exited();
    }
  }

  /** Ends everything at once. */
  async destroy(): Promise<void> {
    this.#options.close();
    if (this.#fd < 0) this.#options.channel.destroy('the migration is over');
    else if (!this.#ended) native?.shutdown(this.#fd);
    await this.close();
  }

  #begin(): void {
    this.#work = this.#options.inTurns().then(
      () => this.#end(undefined),
      (error) => this.#end(error instanceof Error ? error : new Error(String(error))),
    );
  }

  async #startWorker(): Promise<void> {
    const { name, worker, data } = this.#options;
    try {
      this.#worker = await ManagedWorker.start({
        name,
        url: workerUrl(worker),
        data: { ...data, fd: this.#fd },
        close: () => undefined, // `close` has asked it already, in its own way
        onEnd: (error) => this.#end(error),
      });
    } catch (error) {
      this.#closeDescriptor();
      throw error;
    }
  }

  async #exited(): Promise<void> {
    await this.#worker?.exited;
    this.#closeDescriptor();
  }

  #closed = false;

  #closeDescriptor(): void {
    if (this.#fd < 0 || this.#closed) return;
    this.#closed = true;
    closeSync(this.#fd);
  }

  #end(error: Error | undefined): void {
    this.#ended = true;
    this.#error = isHarnessError(error, 'thread/failed') ? ((error.cause as Error | undefined) ?? error) : error;
    this.#options.onEnd(this.#error);
  }
}
