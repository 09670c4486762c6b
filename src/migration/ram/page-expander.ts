/**
 * Compressed pages on the destination (spec/wire.md §4.5): collected, and stored by pool threads while the stream goes on. Before
 * anything else may touch a page that is on its way, and before a section ends, all of them are waited for.
 */

import type { RamBlock } from '../../hw/ram.ts';
import { type InflatedPages, type InflateJob, JobPool } from '../../threads/job-pool.ts';
import { LIMITS } from '../../wire/limits.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { StreamReader } from '../transport/stream-reader.ts';

/** Pages of one job. */
const JOB_PAGES = 32;
/** Jobs for each thread that may wait or run; then the stream waits. */
const JOBS_PER_THREAD = 2;
const LENGTH = 'length of a compressed page';

interface Gathered {
  readonly block: number;
  readonly pages: number[];
  readonly streams: Uint8Array[];
  /** Of each record's stream, for errors. */
  readonly places: number[];
}

/** Loads compressed pages. Dispose of it. */
export class PageExpander implements AsyncDisposable {
  readonly #pool: JobPool<'expand'>;
  readonly #most: number;
  #gathered: Gathered | undefined;
  #pages = new Set<string>();
  #working: Promise<void>[] = [];

  constructor(options: { blocks: readonly RamBlock[]; threads: number }) {
    this.#pool = new JobPool('expand', {
      threads: options.threads,
      data: options.blocks.map((block) => block.share),
    });
    this.#most = options.threads * JOBS_PER_THREAD;
  }

  /** True while pages are on their way into RAM. */
  get isBusy(): boolean {
    return this.#gathered !== undefined || this.#working.length > 0;
  }

  /** Reads what follows a record's first word. Throws `stream/…`, also for a page that came before. */
  async load(reader: StreamReader, place: { readonly block: number; readonly page: number }): Promise<void> {
    const at = reader.offset;
    const length = await reader.u32(LENGTH);
    const maximum = LIMITS.COMPRESSED_PAGE_BYTES;
    if (length === 0) throw reader.bad({ at, field: LENGTH, expected: `1 to ${maximum}`, actual: '0' });
    if (length > maximum) {
      throw reader.overLimit({ at, field: LENGTH, limit: 'COMPRESSED_PAGE_BYTES', maximum, actual: length });
    }
    const stream = await reader.bytes(length, 'compressed page');
    const { block, page } = place;
    const key = `${block} ${page}`;
    if (this.#pages.has(key)) await this.drain(reader);
    if (this.#gathered !== undefined && this.#gathered.block !== block) await this.#submit(reader);
    this.#gathered ??= { block, pages: [], streams: [], places: [] };
    this.#pages.add(key);
    this.#gathered.pages.push(page);
    this.#gathered.streams.push(stream.slice());
    this.#gathered.places.push(at + 4);
    if (this.#gathered.pages.length === JOB_PAGES) await this.#submit(reader);
  }

  /** Waits until everything is in RAM. Throws `stream/bad-value` for a page that is none. */
  async drain(reader: StreamReader): Promise<void> {
    await this.#submit(reader);
    const working = this.#working;
    this.#working = [];
    await Promise.all(working);
    this.#pages = new Set();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
  }

  async #submit(reader: StreamReader): Promise<void> {
    const gathered = this.#gathered;
    if (gathered === undefined) return;
    this.#gathered = undefined;
    const job: InflateJob = {
      block: gathered.block,
      pages: Uint32Array.from(gathered.pages),
      lengths: Uint32Array.from(gathered.streams, (stream) => stream.length),
      bytes: Buffer.concat(gathered.streams),
    };
    const done = this.#pool.run(job).then((result) => check(reader, gathered, result));
    done.catch(() => undefined); // thrown where it is waited for
    this.#working.push(done);
    if (this.#working.length > this.#most) await this.#working.shift();
  }
}

function check(reader: StreamReader, { places, streams }: Gathered, { failed }: InflatedPages): void {
  if (failed === undefined) return;
  const { index, why } = failed;
  const expected = `${streams[index]?.length} bytes that expand to ${PAGE_SIZE}`;
  throw reader.bad({ at: places[index] ?? reader.offset, field: 'compressed page', expected, actual: why });
}
