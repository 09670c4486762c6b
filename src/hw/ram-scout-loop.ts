/** What a RAM scout's thread does (ram-scout.ts): it looks for zero pages, a chunk at a time, ahead of the sender. */

import { Bell } from '../threads/bell.ts';
import { loadKernel } from '../threads/kernel.ts';
import type { PagesKernel } from '../threads/kernel-exports.ts';
import { GROUP_BYTES, GROUPS_PER_CHUNK, isZeroChunk, isZeroGroup, SCOUT_WORD, type ScoutShare } from './ram-scout.ts';

/** How far ahead of the sender the scout begins (chunks); both look at this much in turn, so that they meet rarely. */
const LEAD = 4;
/** So near to the sender it would look at the same pages in a moment. */
const NEAREST = 2;
/** After so many chunks that are not all zeros the next will hardly be: looking would take time from the sender. */
const MOST_IN_VAIN = 4;

/** The thread's end of a scout. */
export class ScoutLoop {
  readonly #words: Int32Array;
  readonly #looked: Int32Array;
  readonly #zeros: Int32Array;
  readonly #pending: Int32Array;
  readonly #written: Int32Array;
  readonly #pages: PagesKernel;
  readonly #groups: number;
  #generation = 0;
  #position = 0;
  #next = 0;
  /** Chunks since the last with nothing but zero pages. */
  #inVain = 0;

  constructor(share: ScoutShare) {
    const { ram } = share;
    this.#words = new Int32Array(share.words);
    this.#looked = new Int32Array(share.looked);
    this.#zeros = new Int32Array(share.zeros);
    this.#groups = Math.ceil(ram.length / GROUP_BYTES);
    this.#pending = new Int32Array(ram.bitmaps.buffer, ram.pendingOffset, this.#groups);
    this.#written = new Int32Array(ram.bitmaps.buffer, ram.writtenOffset, this.#groups);
    this.#pages = loadKernel('pages', ram.memory, ram.address);
  }

  /** The owner wants no more of it. */
  get isClosed(): boolean {
    return Atomics.load(this.#words, SCOUT_WORD.CLOSED) === 1;
  }

  /** The owner has rung: it came through nothing but zero pages, or a pass begins. */
  wake(): void {
    this.#inVain = 0;
  }

  /** Looks at one chunk; false when there is none to look at until the owner rings. */
  step(): boolean {
    const generation = Atomics.load(this.#words, SCOUT_WORD.GENERATION);
    if (generation === 0) return false;
    const position = Atomics.load(this.#words, SCOUT_WORD.POSITION);
    if (generation !== this.#generation || position < this.#position || this.#next - position < NEAREST) {
      this.#next = position + LEAD;
      this.#generation = generation;
    }
    this.#position = position;
    const chunk = this.#next;
    if (chunk >= this.#looked.length || this.#inVain >= MOST_IN_VAIN) return false;
    const end = Math.min(this.#groups, (chunk + 1) * GROUPS_PER_CHUNK);
    let zeroGroups = 0;
    for (let group = chunk * GROUPS_PER_CHUNK; group < end; group++) {
      const wanted = this.#pending[group]! & this.#written[group]!;
      const zeros = wanted === 0 ? 0 : this.#pages.zeroMask(group * GROUP_BYTES, wanted);
      this.#zeros[group] = zeros;
      if (isZeroGroup(zeros)) zeroGroups += 1;
    }
    this.#inVain = isZeroChunk(zeroGroups) ? 0 : this.#inVain + 1;
    Atomics.store(this.#looked, chunk, generation);
    this.#next = chunk + 1;
    return true;
  }
}

/** The whole life of a scout's thread. */
export function runScout(share: ScoutShare, onReady: () => void): void {
  const bell = new Bell(share.words, 4 * SCOUT_WORD.BELL);
  const loop = new ScoutLoop(share);
  onReady();
  for (;;) {
    const seen = bell.count;
    if (loop.isClosed) return;
    if (loop.step()) continue;
    bell.block(seen);
    loop.wake();
  }
}
