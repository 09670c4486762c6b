/**
 * A thread that goes ahead of whoever sends a RAM block and looks which pages hold nothing but zeros. Nobody waits for it: who
 * comes to a place where it has not been looks himself.
 *
 * What it found counts until the next harvest of dirty bits. A page that is written after it was looked at is dirty, so it is
 * sent again; but when that dirty bit is harvested before the page was sent, the page is pending once, and what was found is old.
 */

import { Bell } from '../threads/bell.ts';
import { ManagedWorker } from '../threads/managed-worker.ts';
import { workerUrl } from '../threads/worker-url.ts';
import { PAGE_SIZE } from '../wire/ram.ts';
import { GROUP } from './bit-masks.ts';
import type { RamShare } from './ram.ts';

/** Groups of 32 pages that are looked at in one go: 2 MiB. */
export const GROUPS_PER_CHUNK = 16;
/** Bytes of a group. */
export const GROUP_BYTES = GROUP * PAGE_SIZE;
/** A pass over less is over before the thread is awake (pages). */
const WORTHWHILE_PAGES = 8192;
const GENERATIONS = 2 ** 30;

/** Words that both threads see. */
export const SCOUT_WORD = {
  BELL: 0,
  CLOSED: 1,
  /** Of the pass; 0 while there is none. Every harvest begins another one. */
  GENERATION: 2,
  /** The chunk that the sender is in. */
  POSITION: 3,
} as const;

/** What the thread is started with. */
export interface ScoutShare {
  readonly ram: RamShare;
  readonly words: SharedArrayBuffer;
  /** By chunk, the generation in which its zero pages were looked for last. */
  readonly looked: SharedArrayBuffer;
  /** By group of 32 pages, which of those that were pending are zero. */
  readonly zeros: SharedArrayBuffer;
}

/** Whether a group is all zero pages. */
export function isZeroGroup(zeros: number): boolean {
  return (zeros | 0) === -1;
}

/**
 * Whether so many groups of zero pages in a chunk are a reason to look at the next ones: only when there is nothing else. Where
 * zero pages stand among others, the sender writes more than it looks, and looking ahead takes time from who reads what it writes.
 */
export function isZeroChunk(zeroGroups: number): boolean {
  return zeroGroups === GROUPS_PER_CHUNK;
}

/** Shared memory for the scout of a block. */
export function scoutShare(ram: RamShare): ScoutShare {
  const chunks = Math.ceil(ram.length / (GROUPS_PER_CHUNK * GROUP_BYTES));
  return {
    ram,
    words: new SharedArrayBuffer(4 * Object.keys(SCOUT_WORD).length),
    looked: new SharedArrayBuffer(4 * chunks),
    zeros: new SharedArrayBuffer(4 * chunks * GROUPS_PER_CHUNK),
  };
}

/** The owner's end; for the block's own thread. */
export class RamScout {
  readonly #words: Int32Array;
  readonly #looked: Int32Array;
  readonly #zeros: Int32Array;
  readonly #bell: Bell;
  #generation = 0;
  #isScanning = false;
  /** The chunk that is asked about, and whether the scout has been there. */
  #chunk = -1;
  #isKnown = false;
  /** Groups of zero pages that the sender found there itself. */
  #zeroGroups = 0;

  constructor(share: ScoutShare) {
    this.#words = new Int32Array(share.words);
    this.#looked = new Int32Array(share.looked);
    this.#zeros = new Int32Array(share.zeros);
    this.#bell = new Bell(share.words, 4 * SCOUT_WORD.BELL);
  }

  /** Dirty bits were just moved to the pending bitmap, which has so many pages now: what was found before counts no more. */
  beginPass(pendingPages: number): void {
    this.#isScanning = pendingPages >= WORTHWHILE_PAGES;
    this.#generation = (this.#generation % GENERATIONS) + 1;
    this.#chunk = -1;
    Atomics.store(this.#words, SCOUT_WORD.GENERATION, this.#isScanning ? this.#generation : 0);
  }

  /** No pass, nothing to look for. */
  endPass(): void {
    this.beginPass(0);
  }

  /** The sender is at this group: true when `zerosOf` can say which of its pending pages are zero. */
  knows(group: number): boolean {
    if (!this.#isScanning) return false;
    const chunk = Math.floor(group / GROUPS_PER_CHUNK);
    if (chunk !== this.#chunk) this.#enter(chunk);
    return this.#isKnown;
  }

  /** The zero ones of the group's pages that were pending when the pass began. */
  zerosOf(group: number): number {
    return this.#zeros[group]!;
  }

  /** The sender looked at a group itself, and found these zero pages. */
  found(zeros: number): void {
    if (isZeroGroup(zeros)) this.#zeroGroups += 1;
  }

  #enter(chunk: number): void {
    const isRestart = chunk < this.#chunk || this.#chunk < 0;
    this.#chunk = chunk;
    Atomics.store(this.#words, SCOUT_WORD.POSITION, chunk);
    this.#isKnown = Atomics.load(this.#looked, chunk) === this.#generation;
    // After nothing but zeros the scout can be of use again.
    if (isRestart || isZeroChunk(this.#zeroGroups)) this.#bell.ring();
    this.#zeroGroups = 0;
  }

  /** Ends the thread. */
  close(): void {
    Atomics.store(this.#words, SCOUT_WORD.CLOSED, 1);
    this.#bell.ring();
  }
}

/** Starts a scout's thread. Throws `thread/timeout` or what kept it from starting. `onEnd` is told when it ends. */
export async function startScout(options: {
  readonly ram: RamShare;
  readonly onEnd: (error: Error | undefined) => void;
}): Promise<{ readonly scout: RamScout; readonly thread: AsyncDisposable }> {
  const share = scoutShare(options.ram);
  const scout = new RamScout(share);
  const thread = await ManagedWorker.start({
    name: `scout ${options.ram.name}`,
    url: workerUrl('ram-scout'),
    data: share,
    smallHeap: true,
    close: () => scout.close(),
    onEnd: options.onEnd,
  });
  return { scout, thread };
}
