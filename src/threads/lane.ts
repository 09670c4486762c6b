/**
 * A ring of fixed-size entries from one thread to one other, over a SharedArrayBuffer. Nothing is allocated or posted
 * per entry; an entry is filled and read in place.
 *
 *   writer   claim() → fill → publish()            close()
 *   reader             take() or takeLater() → use → release()
 *
 * PUBLISHED and RELEASED only grow; their difference is what is in the ring. The reader rings the writer's bell, so one
 * writer can wait for many lanes; it does so once no more than half of the ring is in use, because to wake a thread costs
 * more than an entry, and a writer that was woken fills all the room there is.
 */

import { Bell } from './bell.ts';

const SLOT = { PUBLISHED: 0, RELEASED: 1, CLOSED: 2 } as const;
const HEADER_WORDS = 4;

/** What a lane's reader needs, to be posted to its thread. */
export interface LaneShare {
  readonly ring: SharedArrayBuffer;
  readonly entryWords: number;
  readonly bell: SharedArrayBuffer;
}

function entriesOf(ring: SharedArrayBuffer, entryWords: number): Uint32Array[] {
  const count = (ring.byteLength / 4 - HEADER_WORDS) / entryWords;
  return Array.from(
    { length: count },
    (_, index) => new Uint32Array(ring, (HEADER_WORDS + index * entryWords) * 4, entryWords),
  );
}

/** The writing end. */
export class LaneWriter {
  readonly share: LaneShare;
  readonly #slots: Int32Array;
  readonly #entries: readonly Uint32Array[];
  readonly #incoming: Bell;

  /** `depth` entries (a power of two, because counters wrap) of `entryWords` 32-bit words each; `bell` is rung when there is room. */
  constructor(options: { depth: number; entryWords: number; bell: Bell }) {
    const { depth, entryWords, bell } = options;
    const ring = new SharedArrayBuffer((HEADER_WORDS + depth * entryWords) * 4);
    this.share = { ring, entryWords, bell: bell.share };
    this.#slots = new Int32Array(ring, 0, HEADER_WORDS);
    this.#entries = entriesOf(ring, entryWords);
    this.#incoming = incomingBell(ring);
  }

  /** Entries published and not yet released. */
  get unreleased(): number {
    return (Atomics.load(this.#slots, SLOT.PUBLISHED) - Atomics.load(this.#slots, SLOT.RELEASED)) | 0;
  }

  /** Sum of what `weigh` says of the entries published and not yet released. */
  sumUnreleased(weigh: (entry: Uint32Array) => number): number {
    const published = Atomics.load(this.#slots, SLOT.PUBLISHED);
    let sum = 0;
    for (let left = this.unreleased; left > 0; left--) sum += weigh(entryAt(this.#entries, published - left));
    return sum;
  }

  /** How many were published, to ask `isReleased` about the last of them later. */
  get mark(): number {
    return Atomics.load(this.#slots, SLOT.PUBLISHED);
  }

  /** Everything published before `mark` has been released. */
  isReleased(mark: number): boolean {
    return ((Atomics.load(this.#slots, SLOT.RELEASED) - mark) | 0) >= 0;
  }

  /** The next entry to fill; undefined when the ring is full. */
  claim(): Uint32Array | undefined {
    if (this.unreleased >= this.#entries.length) return undefined;
    return entryAt(this.#entries, Atomics.load(this.#slots, SLOT.PUBLISHED));
  }

  /** Hands the claimed entry over. */
  publish(): void {
    Atomics.add(this.#slots, SLOT.PUBLISHED, 1);
    this.#incoming.ring();
  }

  /** No more entries: the reader ends after those that are in the ring. */
  close(): void {
    Atomics.store(this.#slots, SLOT.CLOSED, 1);
    this.#incoming.ring();
  }
}

/** The reading end. */
export class LaneReader {
  readonly #slots: Int32Array;
  readonly #entries: readonly Uint32Array[];
  readonly #incoming: Bell;
  readonly #released: Bell;

  constructor(share: LaneShare) {
    this.#slots = new Int32Array(share.ring, 0, HEADER_WORDS);
    this.#entries = entriesOf(share.ring, share.entryWords);
    this.#incoming = incomingBell(share.ring);
    this.#released = new Bell(share.bell);
  }

  /** The next entry, once there is one, until `release`; undefined when the lane was closed. Blocks this thread. */
  take(): Uint32Array | undefined {
    for (;;) {
      const seen = this.#incoming.count;
      const next = this.#next();
      if (next !== 'none') return next;
      this.#incoming.block(seen);
    }
  }

  /** As `take`, without blocking. */
  async takeLater(): Promise<Uint32Array | undefined> {
    for (;;) {
      const seen = this.#incoming.count;
      const next = this.#next();
      if (next !== 'none') return next;
      await this.#incoming.wait(seen, Number.POSITIVE_INFINITY);
    }
  }

  /** Gives the entry back to the writer. `atOnce`: somebody may wait for what this entry held, and not for room. */
  release(atOnce = false): void {
    const released = Atomics.add(this.#slots, SLOT.RELEASED, 1) + 1;
    const left = (Atomics.load(this.#slots, SLOT.PUBLISHED) - released) | 0;
    if (atOnce || left * 2 <= this.#entries.length) this.#released.ring();
  }

  #next(): Uint32Array | undefined | 'none' {
    // In this order: an entry published before the close must not be missed.
    const closed = Atomics.load(this.#slots, SLOT.CLOSED) === 1;
    const released = Atomics.load(this.#slots, SLOT.RELEASED);
    if (Atomics.load(this.#slots, SLOT.PUBLISHED) !== released) return entryAt(this.#entries, released);
    return closed ? undefined : 'none';
  }
}

/** The writer's ringing: the header's last word. */
function incomingBell(ring: SharedArrayBuffer): Bell {
  return new Bell(ring, 12);
}

function entryAt(entries: readonly Uint32Array[], count: number): Uint32Array {
  return entries[(count >>> 0) % entries.length]!;
}
