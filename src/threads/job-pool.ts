/** Short jobs on worker threads, through piscina. A job is a worker entry of that name; its types are one row here. */

import { availableParallelism } from 'node:os';
import { Piscina } from 'piscina';
import { workerUrl } from './worker-url.ts';

/** Every job: what one call takes and what it returns. */
export interface Jobs {
  /** Path of a file → its SHA-256 in hex. */
  readonly hash: { readonly input: string; readonly output: string };
}

/** Runs one job for every input, as many at once as there are cores; outputs come in the order of the inputs. */
export async function runJobs<J extends keyof Jobs>(
  job: J,
  inputs: readonly Jobs[J]['input'][],
): Promise<Jobs[J]['output'][]> {
  const threads = Math.max(1, Math.min(inputs.length, availableParallelism()));
  const pool = new Piscina<Jobs[J]['input'], Jobs[J]['output']>({
    filename: workerUrl(job).href,
    minThreads: threads,
    maxThreads: threads,
  });
  try {
    return await Promise.all(inputs.map((input) => pool.run(input)));
  } finally {
    await pool.destroy();
  }
}
