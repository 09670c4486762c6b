/**
 * Waits that are over in a moment, without the event loop: a turn of it costs more than what is waited for while both
 * sides keep up with each other. Each that was in vain makes the next ones rarer, so that a slow peer, or one in the same
 * thread, costs nothing.
 */

import { native, POLL } from '../../threads/native.ts';

/** How long the thread may stand still for a peer that will be ready at once (ms). */
const LONGEST_MS = 1;
/** So many waits of a connection go through libuv before a short one is tried: a short transfer has no use for it. */
const FIRST_SKIPPED = 16;
const MAX_SKIPPED = 255;

/** Decides, wait by wait, whether a short one is worth it. */
export class ShortWait {
  readonly #isReadyWithin: (milliseconds: number) => boolean;
  #skip = FIRST_SKIPPED;
  #skipNext = FIRST_SKIPPED;

  /** `isReadyWithin` stands still until the descriptor is ready or the time is over. */
  constructor(isReadyWithin: (milliseconds: number) => boolean) {
    this.#isReadyWithin = isReadyWithin;
  }

  /** For a descriptor that is to be read; without native calls none is ever ready soon. */
  static forReading(fd: number): ShortWait {
    return new ShortWait((milliseconds) => native?.isReadyWithin(fd, POLL.IN, milliseconds) ?? false);
  }

  /** For a descriptor that is to be written. */
  static forWriting(fd: number): ShortWait {
    return new ShortWait((milliseconds) => native?.isReadyWithin(fd, POLL.OUT, milliseconds) ?? false);
  }

  /** Whether the descriptor is ready now or in a moment; false without asking when that is unlikely. */
  isReadySoon(): boolean {
    if (this.#skip > 0) {
      this.#skip -= 1;
      return false;
    }
    const isReady = this.#isReadyWithin(LONGEST_MS);
    this.#skipNext = isReady ? 0 : Math.min(2 * this.#skipNext + 1, MAX_SKIPPED);
    this.#skip = this.#skipNext;
    return isReady;
  }
}
