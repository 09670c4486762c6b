/** Jobs on worker threads, through piscina. A job is a worker entry of that name; its types are one row here. */

import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { Piscina } from 'piscina';
import { workerUrl } from './worker-url.ts';

/** Every job: what one call takes and what it returns. */
export interface Jobs {
  /** Path of a file → its SHA-256 in hex. */
  readonly hash: { readonly input: string; readonly output: string };
  /** Pages of a RAM block → a zlib stream each. */
  readonly compress: { readonly input: DeflateJob; readonly output: DeflatedPages };
  /** Zlib streams → pages, in RAM. */
  readonly expand: { readonly input: InflateJob; readonly output: InflatedPages };
}

/** Which pages are to be compressed. */
export interface DeflateJob {
  /** Place of the block in the pool's data. */
  readonly block: number;
  readonly pages: Uint32Array;
  readonly level: number;
  /** Pages of zeros are told by a length of 0. */
  readonly detectZero: boolean;
}

/** What pages became. */
export interface DeflatedPages {
  /** All streams, one behind the other. */
  readonly bytes: Uint8Array;
  /** Of each page's stream; 0 for a page of zeros. */
  readonly lengths: Uint32Array;
}

/** Pages that arrived. */
export interface InflateJob {
  readonly block: number;
  readonly pages: Uint32Array;
  readonly lengths: Uint32Array;
  readonly bytes: Uint8Array;
}

/** The first page whose stream is not one of a page; undefined when all are stored. */
export interface InflatedPages {
  readonly failed: { readonly index: number; readonly why: string } | undefined;
}

/** How long threads that start and jobs that run are waited for before the threads are ended (ms). */
const END_MS = 10_000;

/** Threads for one job, started as jobs want them. Dispose of it. */
export class JobPool<J extends keyof Jobs> implements AsyncDisposable {
  readonly #pool: Piscina<Jobs[J]['input'], Jobs[J]['output']>;
  readonly #jobs = new Set<Promise<Jobs[J]['output']>>();
  /** Threads that have loaded the job. */
  #loaded = 0;

  /** `data` is what the threads start with. */
  constructor(job: J, options: { threads: number; data?: unknown }) {
    const { threads, data } = options;
    this.#pool = new Piscina({
      filename: workerUrl(job).href,
      minThreads: 0, // of those that it starts at once piscina does not tell when they have loaded the job
      maxThreads: threads,
      idleTimeout: Number.POSITIVE_INFINITY,
      workerData: data,
    });
    this.#pool.on('workerCreate', () => {
      this.#loaded += 1;
    });
  }

  /** Runs the job on the next idle thread. Throws what it threw. */
  async run(input: Jobs[J]['input']): Promise<Jobs[J]['output']> {
    const job = this.#pool.run(input);
    this.#jobs.add(job);
    try {
      return await job;
    } finally {
      this.#jobs.delete(job);
    }
  }

  /**
   * Ends the threads once they have done every job, or after END_MS. Node aborts the process when a thread is ended within a `require` of
   * an ES module, which is how piscina loads the job, and when it is ended as it makes a zlib stream.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const waiting = new AbortController();
    const late = setTimeout(() => waiting.abort(), END_MS); // which also keeps this process alive: piscina's threads do not
    await Promise.race([Promise.allSettled(this.#jobs), once(waiting.signal, 'abort')]);
    while (this.#loaded < this.#pool.threads.length && !waiting.signal.aborted) await this.#change(waiting.signal);
    clearTimeout(late);
    waiting.abort();
    await this.#pool.destroy();
  }

  /** Another thread has loaded the job, or has ended. */
  async #change(signal: AbortSignal): Promise<void> {
    const events = ['workerCreate', 'workerDestroy'].map((event) => once(this.#pool, event, { signal }));
    await Promise.race(events).catch(() => undefined);
  }
}

/** Runs one job for every input, as many at once as there are cores; outputs come in the order of the inputs. */
export async function runJobs<J extends keyof Jobs>(
  job: J,
  inputs: readonly Jobs[J]['input'][],
): Promise<Jobs[J]['output'][]> {
  const threads = Math.max(1, Math.min(inputs.length, availableParallelism()));
  await using pool = new JobPool(job, { threads });
  return await Promise.all(inputs.map((input) => pool.run(input)));
}
