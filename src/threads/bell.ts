/**
 * A counter that threads bump when something changed, so that an owner can wait for any of them. Look at the counter,
 * then at what you wait for, then wait with what you saw: a change in between ends the wait at once.
 */

/** One bell; any thread may ring it and any thread may wait. */
export class Bell {
  readonly share: SharedArrayBuffer;
  readonly #count: Int32Array;

  /** A new one, or another thread's, whose counter is at `byteOffset` of `share`. */
  constructor(share = new SharedArrayBuffer(4), byteOffset = 0) {
    this.share = share;
    this.#count = new Int32Array(share, byteOffset, 1);
  }

  get count(): number {
    return Atomics.load(this.#count, 0);
  }

  ring(): void {
    Atomics.add(this.#count, 0, 1);
    Atomics.notify(this.#count, 0);
  }

  /** Resolves when the bell has rung since `seen`, or after `ms`. */
  async wait(seen: number, ms: number): Promise<void> {
    await Atomics.waitAsync(this.#count, 0, seen, ms).value;
  }

  /** As `wait`, but blocks this thread. */
  block(seen: number, ms = Number.POSITIVE_INFINITY): void {
    Atomics.wait(this.#count, 0, seen, ms);
  }
}
