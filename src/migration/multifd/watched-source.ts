/**
 * A source that is read ahead of whoever will read it, so that its end is seen while nobody wants its bytes yet. What was
 * read ahead comes first afterwards, and nothing is read twice.
 */

import { ERRNO } from '../../threads/native.ts';
import type { ByteSource } from '../transport/channel.ts';

/** Longest piece that one read ahead brings. */
const PIECE_BYTES = 65_536;

/** See the header. The first `read` or `readv` ends the watch. */
export class WatchedSource implements ByteSource {
  readonly readv: ByteSource['readv'];
  readonly #source: ByteSource;
  readonly #limitBytes: number;
  readonly #piece = new Uint8Array(PIECE_BYTES);
  readonly #ahead: Uint8Array[] = [];
  #aheadBytes = 0;
  /** The read of the watch that is under way. */
  #reading: Promise<number> | undefined;
  #watches = true;
  #ended = false;

  /** Reads at most about `limitBytes` ahead. */
  constructor(source: ByteSource, limitBytes: number) {
    this.#source = source;
    this.#limitBytes = limitBytes;
    const { readv } = source;
    this.readv = readv && ((iovAddress, count) => (this.#isThrough() ? readv(iovAddress, count) : -ERRNO.EAGAIN));
  }

  /** Bytes that were read ahead so far. */
  get aheadBytes(): number {
    return this.#aheadBytes;
  }

  /** Reads ahead; true once the source ends, false when the watch is over before. Rejects with what the source fails with. */
  async end(): Promise<boolean> {
    while (this.#watches && this.#aheadBytes < this.#limitBytes) {
      this.#reading = this.#readAhead();
      if ((await this.#reading) === 0) return true;
    }
    return false;
  }

  async read(into: Uint8Array): Promise<number> {
    this.#watches = false;
    if (this.#ahead.length === 0) await this.#reading;
    const [first] = this.#ahead;
    if (first === undefined) return this.#ended ? 0 : this.#source.read(into);
    const count = Math.min(first.length, into.length);
    into.set(first.subarray(0, count));
    if (count === first.length) this.#ahead.shift();
    else this.#ahead[0] = first.subarray(count);
    return count;
  }

  async #readAhead(): Promise<number> {
    const count = await this.#source.read(this.#piece);
    this.#reading = undefined;
    if (count === 0) this.#ended = true;
    else this.#ahead.push(this.#piece.slice(0, count));
    this.#aheadBytes += count;
    return count;
  }

  /** Nothing is left of what the watch read or reads. */
  #isThrough(): boolean {
    this.#watches = false;
    return this.#ahead.length === 0 && this.#reading === undefined && !this.#ended;
  }
}
