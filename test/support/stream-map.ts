/**
 * What each byte of a recorded precopy stream is worth to a loader: what may happen when that byte alone is another.
 * A reading of spec/wire.md of its own, apart from the loader's; it takes well-formed streams only.
 */

import { PAGE_SIZE, RAM_FLAG } from '../../src/wire/ram.ts';
import { ELEMENT } from '../../src/wire/stream.ts';

/**
 * - `strict`: any other value is an error.
 * - `page`: page data; any other value loads, and is in RAM.
 * - `value`: any other value loads to the same RAM: clocks, flags, padding, everything after EOF.
 * - `word`: some other values have another legal meaning, which may change RAM: page addresses and flags, element
 *   types (0x00 is EOF), commands. The format has no checksum that would tell.
 */
type ByteClass = 'strict' | 'page' | 'value' | 'word';

/** The classes of a stream, and where each page's data lies in RAM. */
export interface StreamMap {
  /** One entry a byte. */
  readonly classes: readonly ByteClass[];
  /** RAM offset of a byte of class `page`. */
  ramOffset(at: number): number;
  /** Offset of the EOF element. */
  readonly eofAt: number;
}

const PAYLOAD_BYTES: Readonly<Record<string, number>> = { timer: 24, globalstate: 104 };

/** Maps a stream of machine `none` with one RAM block. */
export function mapStream(bytes: Uint8Array, form: { configuration: boolean; footers: boolean }): StreamMap {
  return new Mapper(bytes, form).map();
}

class Mapper {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #form: { configuration: boolean; footers: boolean };
  readonly #classes: ByteClass[];
  readonly #pages = new Map<number, number>();
  #at = 0;

  constructor(bytes: Uint8Array, form: { configuration: boolean; footers: boolean }) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#form = form;
    this.#classes = new Array<ByteClass>(bytes.length).fill('strict');
  }

  map(): StreamMap {
    this.#skip(8);
    if (this.#form.configuration) this.#skip(5 + this.#view.getUint32(this.#at + 1));
    while (this.#bytes[this.#at] !== ELEMENT.EOF) this.#element();
    const eofAt = this.#at;
    this.#classes.fill('value', eofAt + 1);
    const starts = [...this.#pages.keys()];
    return {
      classes: this.#classes,
      eofAt,
      ramOffset: (at) => {
        const start = starts.findLast((page) => page <= at) ?? 0;
        return (this.#pages.get(start) ?? 0) + at - start;
      },
    };
  }

  #element(): void {
    const type = this.#bytes[this.#at];
    this.#mark(1, 'word');
    if (type === ELEMENT.COMMAND) this.#command();
    else this.#section(type);
  }

  #section(type: number | undefined): void {
    // Without footers nothing repeats the id, and any will do for a section that has no parts.
    const idAt = this.#at;
    this.#skip(4);
    if (type === ELEMENT.SECTION_START || type === ELEMENT.SECTION_FULL) {
      const length = this.#bytes[this.#at] ?? 0;
      const idstr = Buffer.from(this.#bytes.subarray(this.#at + 1, this.#at + 1 + length)).toString('latin1');
      this.#skip(1 + length + 4);
      this.#mark(4, idstr === 'timer' ? 'word' : 'strict'); // version 1 of timer is 8 bytes shorter
      if (idstr !== 'ram') {
        if (!this.#form.footers) this.#classes.fill('word', idAt, idAt + 4);
        this.#fields(idstr);
        this.#footer();
        return;
      }
    }
    this.#records();
    this.#footer();
  }

  #command(): void {
    this.#mark(2, 'word');
    const length = this.#view.getUint16(this.#at);
    this.#skip(2);
    this.#mark(length, 'value');
  }

  #fields(idstr: string): void {
    const start = this.#at;
    this.#mark(PAYLOAD_BYTES[idstr] ?? 0, 'value');
    if (idstr !== 'globalstate') return;
    const nul = this.#bytes.indexOf(0, start + 4);
    this.#classes.fill('strict', start + 4, nul + 1);
  }

  #footer(): void {
    if (this.#form.footers) this.#skip(5);
  }

  #records(): void {
    for (;;) {
      const offset = this.#view.getUint32(this.#at) * 2 ** 32 + this.#view.getUint32(this.#at + 4);
      const flags = offset % PAGE_SIZE;
      const kind = flags & ~RAM_FLAG.CONTINUE;
      if (kind === RAM_FLAG.EOS) {
        this.#mark(6, 'value');
        this.#mark(2, 'word');
        return;
      }
      this.#skip(5); // address bits above any RAM of these recordings
      this.#mark(3, 'word');
      if (kind === RAM_FLAG.MEM_SIZE) {
        this.#skip(1 + (this.#bytes[this.#at] ?? 0) + 8);
        continue;
      }
      if ((flags & RAM_FLAG.CONTINUE) === 0) this.#skip(1 + (this.#bytes[this.#at] ?? 0));
      if (kind === RAM_FLAG.ZERO) this.#skip(1);
      else if (kind === RAM_FLAG.PAGE) {
        this.#pages.set(this.#at, offset - flags);
        this.#mark(PAGE_SIZE, 'page');
      } else throw new Error(`a record these recordings do not have: flags 0x${flags.toString(16)}`);
    }
  }

  #skip(count: number): void {
    this.#at += count;
  }

  #mark(count: number, to: ByteClass): void {
    this.#classes.fill(to, this.#at, this.#at + count);
    this.#at += count;
  }
}
