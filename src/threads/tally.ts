/** Counters that several threads add to and anyone reads: 64 bits each, in shared memory. */

/** A row of counters; what each slot counts is the owner's to name. */
export class Tally {
  readonly share: SharedArrayBuffer;
  readonly #slots: BigInt64Array;

  constructor(slots: number | SharedArrayBuffer) {
    this.share = typeof slots === 'number' ? new SharedArrayBuffer(slots * 8) : slots;
    this.#slots = new BigInt64Array(this.share);
  }

  /** Adds, and returns what the counter was before. */
  add(slot: number, count: number): number {
    return Number(Atomics.add(this.#slots, slot, BigInt(count)));
  }

  read(slot: number): number {
    return Number(Atomics.load(this.#slots, slot));
  }
}
