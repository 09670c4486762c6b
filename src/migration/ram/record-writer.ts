/** Page records on the main channel, one by one (spec/wire.md §4.1): first word, the block's name where it is due, contents. */

import type { RamBlock } from '../../hw/ram.ts';
import { RAM_FLAG } from '../../wire/ram.ts';
import { ByteWriter } from '../../wire/writer.ts';
import type { ByteSink } from '../transport/channel.ts';

/** Bytes of a record's first word. */
export const RECORD_WORD_BYTES = 8;
const LOW = 2 ** 32;
/** The byte that a zero page is full of. */
const ZERO_FILL = Uint8Array.of(0);

/** Writes records to one sink, and knows which block the last one named. */
export class RecordWriter {
  readonly #sink: ByteSink;
  readonly #head = new DataView(new ArrayBuffer(RECORD_WORD_BYTES));
  #named: RamBlock | undefined;

  constructor(sink: ByteSink) {
    this.#sink = sink;
  }

  /** Writes the record of a zero page; returns its bytes. */
  writeZero(block: RamBlock, offset: number): Promise<number> {
    return this.write(block, offset, RAM_FLAG.ZERO, ZERO_FILL);
  }

  /** Writes a record for the page at this offset of the block; returns its bytes. */
  async write(block: RamBlock, offset: number, flag: number, ...rest: readonly Uint8Array[]): Promise<number> {
    const named = this.#named === block;
    this.#named = block;
    const flags = named ? flag | RAM_FLAG.CONTINUE : flag;
    const head = this.#head;
    head.setUint32(0, Math.floor(offset / LOW));
    head.setUint32(4, (offset % LOW) + flags);
    await this.#sink.write(new Uint8Array(head.buffer));
    let bytes = RECORD_WORD_BYTES;
    if (!named) {
      const name = new ByteWriter().text8(block.name).take();
      await this.#sink.write(name);
      bytes += name.length;
    }
    for (const piece of rest) {
      await this.#sink.write(piece);
      bytes += piece.length;
    }
    return bytes;
  }
}
