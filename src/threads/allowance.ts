/**
 * What a thread needs its owner's leave for, one at a time: the owner grants, the thread takes and waits when nothing is
 * granted. Shared memory, so that a thread which blocks in system calls needs no event loop.
 */

import { Bell } from './bell.ts';

const SLOT = { GRANTED: 0, ENDED: 1, BELL: 2, SLOTS: 3 } as const;

/** Both ends. */
export class Allowance {
  readonly share: SharedArrayBuffer;
  readonly #slots: Int32Array;
  readonly #bell: Bell;

  /** A new one with so many granted, or another thread's. */
  constructor(granted: number | SharedArrayBuffer) {
    this.share = typeof granted === 'number' ? new SharedArrayBuffer(SLOT.SLOTS * 4) : granted;
    this.#slots = new Int32Array(this.share);
    this.#bell = new Bell(this.share, SLOT.BELL * 4);
    if (typeof granted === 'number') Atomics.store(this.#slots, SLOT.GRANTED, granted);
  }

  /** One more may be taken. */
  grant(): void {
    Atomics.add(this.#slots, SLOT.GRANTED, 1);
    this.#bell.ring();
  }

  /** Nobody waits any more, now or later. */
  end(): void {
    Atomics.store(this.#slots, SLOT.ENDED, 1);
    this.#bell.ring();
  }

  /** Takes one, blocking this thread until there is one; false when it was ended. */
  take(): boolean {
    for (;;) {
      const seen = this.#bell.count;
      const taken = this.#taken();
      if (taken !== undefined) return taken;
      this.#bell.block(seen);
    }
  }

  /** As `take`, without blocking. */
  async takeLater(): Promise<boolean> {
    for (;;) {
      const seen = this.#bell.count;
      const taken = this.#taken();
      if (taken !== undefined) return taken;
      await this.#bell.wait(seen, Number.POSITIVE_INFINITY);
    }
  }

  #taken(): boolean | undefined {
    if (Atomics.load(this.#slots, SLOT.ENDED) === 1) return false;
    if (Atomics.load(this.#slots, SLOT.GRANTED) === 0) return undefined;
    Atomics.sub(this.#slots, SLOT.GRANTED, 1); // only this thread takes
    return true;
  }
}
