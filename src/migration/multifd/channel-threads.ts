/**
 * The threads of a machine's multifd channels. Starting one takes longer than sending a hundred megabytes, so they are
 * started when it is known that they will be needed, and kept for the next migration.
 */

import type { RamShare } from '../../hw/ram.ts';
import { RamWindows } from '../../hw/ram-window.ts';
import { ManagedWorker } from '../../threads/managed-worker.ts';
import { workerUrl } from '../../threads/worker-url.ts';

/** Which end of a channel: the name of the worker's entry. */
export type ChannelEnd = 'multifd-send' | 'multifd-receive';

/** Threads that are started ahead at most; with more channels the rest is started with them. */
const AHEAD = 16;
/** Threads that are starting at the same time at most: what one needs of a processor, all others of 255 would wait for. */
const STARTING = 8;
/** How long a start may take (ms): beside it, those that have started load what they work with. */
const START_MS = 30_000;

/** Idle threads of one machine. Dispose of it when no channel is left. */
export class ChannelThreads implements AsyncDisposable {
  readonly #idle: Record<ChannelEnd, Promise<ManagedWorker>[]> = { 'multifd-send': [], 'multifd-receive': [] };
  readonly #listeners = new WeakMap<ManagedWorker, (event: unknown) => void>();
  /** Those at work, or started for somebody. */
  readonly #busy: Record<ChannelEnd, Set<object>> = { 'multifd-send': new Set(), 'multifd-receive': new Set() };
  readonly #blocks: readonly RamShare[];
  #ram: RamWindows | undefined;
  #started = 0;
  #starting = 0;
  /** They start when another has started. */
  readonly #waiting: (() => void)[] = [];

  /**
   * A thread gets the machine's RAM when it starts: V8 takes a memory that a thread is given for a need to collect garbage, and would do so
   * in all of them while the migration begins.
   */
  constructor(blocks: readonly RamShare[]) {
    this.#blocks = blocks;
  }

  /** The same RAM, for who does a thread's work on this one. */
  get ram(): RamWindows {
    this.#ram ??= new RamWindows(this.#blocks);
    return this.#ram;
  }

  /** Sees to it that there are so many soon; those at work will be idle by the time they are needed again. */
  prepare(end: ChannelEnd, count: number): void {
    const idle = this.#idle[end];
    while (idle.length + this.#busy[end].size < Math.min(count, AHEAD)) {
      const starting = this.#start(end);
      starting.catch(() => undefined); // whoever takes it hears of it
      idle.push(starting);
    }
  }

  /** An idle thread, or a new one. Rejects with what it failed to start with. */
  async take(end: ChannelEnd): Promise<ManagedWorker> {
    const busy = this.#busy[end];
    for (;;) {
      const starting = this.#idle[end].shift() ?? this.#start(end);
      busy.add(starting);
      const worker = await starting.finally(() => busy.delete(starting));
      if (worker.state !== 'running') continue;
      busy.add(worker);
      void worker.exited.then(() => busy.delete(worker));
      return worker;
    }
  }

  /** Who hears what a thread says unasked, from now on. */
  listen(worker: ManagedWorker, listener: (event: unknown) => void): void {
    this.#listeners.set(worker, listener);
  }

  /** Keeps a thread that has done its work. */
  giveBack(end: ChannelEnd, worker: ManagedWorker): void {
    this.#busy[end].delete(worker);
    this.#idle[end].push(Promise.resolve(worker));
  }

  /** The system's numbers of the threads that have a channel, in the order in which they were taken. */
  atWork(end: ChannelEnd): number[] {
    return [...this.#busy[end]].flatMap((who) => (who instanceof ManagedWorker ? who.systemThreadId : []));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = Object.values(this.#idle).flatMap((idle) => idle.splice(0));
    await Promise.all(
      all.map((worker) => worker.then((started) => started[Symbol.asyncDispose]()).catch(() => undefined)),
    );
  }

  async #start(end: ChannelEnd): Promise<ManagedWorker> {
    if (this.#starting === STARTING) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#starting += 1;
    this.#started += 1;
    try {
      const worker: ManagedWorker = await ManagedWorker.start({
        name: `${end} ${this.#started}`,
        url: workerUrl(end),
        data: this.#blocks,
        smallHeap: true,
        startMs: START_MS,
        onEvent: (event) => this.#listeners.get(worker)?.(event),
      });
      return worker;
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#starting -= 1;
      else next(); // in this one's place
    }
  }
}
