/** The UART's FIFO: a ring of 16 bytes, in the form that the stream has it. */

import { FIFO_BYTES } from './registers.ts';

/** A FIFO as it is saved. */
interface SavedFifo {
  readonly data: Uint8Array;
  readonly head: number;
  readonly num: number;
}

/** First in, first out. */
export class Fifo {
  readonly #data = new Uint8Array(FIFO_BYTES);
  #head = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count === FIFO_BYTES;
  }

  /** There must be room. */
  push(byte: number): void {
    this.#data[(this.#head + this.#count) % FIFO_BYTES] = byte;
    this.#count += 1;
  }

  /** The oldest byte; 0 when there is none. */
  pop(): number {
    if (this.#count === 0) return 0;
    const byte = this.#data[this.#head] ?? 0;
    this.#head = (this.#head + 1) % FIFO_BYTES;
    this.#count -= 1;
    return byte;
  }

  /** Stores to a full FIFO in the place of the newest byte. */
  replaceNewest(byte: number): void {
    this.#data[(this.#head + this.#count - 1) % FIFO_BYTES] = byte;
  }

  clear(): void {
    this.#head = 0;
    this.#count = 0;
  }

  save(): SavedFifo {
    return { data: this.#data.slice(), head: this.#head, num: this.#count };
  }

  load({ data, head, num }: SavedFifo): void {
    this.#data.set(data);
    this.#head = head;
    this.#count = num;
  }
}
