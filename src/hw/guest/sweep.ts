/**
 * The sweep: adds one to the first byte of every page, in order, round and round. At any moment the pages before the
 * sweep's position hold v + 1 and those from it on hold v, so its RAM has at most one edge and needs no other state.
 * A page that a migration lost or carried over twice makes a second edge, or one that goes the wrong way.
 */

import { PAGE_SIZE } from '../../wire/ram.ts';
import { GuestHeader, type GuestIdentity, hashSettings } from './guest-header.ts';
import type { GuestContext, GuestDefinition, GuestEvidence, GuestProgram } from './guest-program.ts';

const PROGRAM_ID = 1;

function identityOf(guest: { seed: number; settings: GuestContext['settings'] }, pageCount: number): GuestIdentity {
  return { programId: PROGRAM_ID, seed: guest.seed, pageCount, settingsHash: hashSettings(guest.settings) };
}

class Sweep implements GuestProgram {
  readonly restMs = 0;
  readonly #memory: GuestContext['memory'];
  readonly #identity: GuestIdentity;
  /** Pages set up so far; the whole region once the sweep runs. */
  #readyPages = 0;
  #position = 0;

  constructor(context: GuestContext) {
    this.#memory = context.memory;
    this.#identity = identityOf(context, context.memory.pageCount);
  }

  resume(): void {
    const { pageCount } = this.#memory;
    if (this.#memory.isReady(this.#identity)) {
      this.#readyPages = pageCount;
      this.#position = this.#findEdge();
    } else {
      this.#memory.setUnready();
      this.#readyPages = 0;
      this.#position = 0;
    }
  }

  run(maxPages: number): number {
    const { pageCount } = this.#memory;
    if (this.#readyPages < pageCount) {
      this.#getReady(maxPages);
      return 0;
    }
    const count = Math.min(maxPages, pageCount - this.#position);
    this.#memory.sweep(this.#position, count);
    this.#position = (this.#position + count) % pageCount;
    return count;
  }

  /** RAM may hold anything at first: no edge may be there before the sweep makes one. */
  #getReady(maxPages: number): void {
    const { pageCount } = this.#memory;
    const count = Math.min(maxPages, pageCount - this.#readyPages);
    this.#memory.clearFirstBytes(this.#readyPages, count);
    this.#readyPages += count;
    if (this.#readyPages === pageCount) this.#memory.setReady(this.#identity);
  }

  /** The first page that differs from page 0, by bisection, as there is one edge; 0 when all are equal. */
  #findEdge(): number {
    const done = this.#memory.firstByte(0);
    let equal = 0;
    let differs = this.#memory.pageCount;
    while (differs - equal > 1) {
      const middle = Math.floor((equal + differs) / 2);
      if (this.#memory.firstByte(middle) === done) equal = middle;
      else differs = middle;
    }
    return differs === this.#memory.pageCount ? 0 : differs;
  }
}

function check({ bytes, seed, settings }: GuestEvidence) {
  const pageCount = bytes.length / PAGE_SIZE;
  const mismatch = new GuestHeader(bytes).mismatch(identityOf({ seed, settings }, pageCount));
  if (mismatch !== undefined) return { ok: false, detail: mismatch };
  const edges: number[] = [];
  for (let page = 1; page < pageCount; page += 1) {
    if (bytes[page * PAGE_SIZE] !== bytes[(page - 1) * PAGE_SIZE]) edges.push(page);
  }
  const [edge] = edges;
  if (edge === undefined)
    return { ok: true, detail: `no edge in ${pageCount} pages: the sweep had just ended a round` };
  if (edges.length > 1) {
    return {
      ok: false,
      detail: `${edges.length} edges, at pages ${edges.slice(0, 8).join(', ')}, where a sweep leaves one`,
    };
  }
  const before = bytes[(edge - 1) * PAGE_SIZE]!;
  const after = bytes[edge * PAGE_SIZE]!;
  if (before !== (after + 1) % 256) {
    return {
      ok: false,
      detail: `the edge at page ${edge} goes from ${before} to ${after}, a sweep's goes down by one`,
    };
  }
  return { ok: true, detail: `one edge, at page ${edge} of ${pageCount}` };
}

/** `guest-sweep`. */
export const SWEEP: GuestDefinition = {
  programId: PROGRAM_ID,
  help: 'adds one to a byte of every page, in order, round and round',
  settings: {},
  minimumPages: 2,
  create: (context) => new Sweep(context),
  check,
};
