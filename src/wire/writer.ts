/** A growing big-endian writer for small pieces of the stream: headers, sections, commands, messages. */

/** Writes integers and text into one buffer; `take` returns the bytes and starts over. */
export class ByteWriter {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #used = 0;

  get length(): number {
    return this.#used;
  }

  u8(value: number): this {
    this.#room(1);
    this.#view.setUint8(this.#used, value);
    this.#used += 1;
    return this;
  }

  u16(value: number): this {
    this.#room(2);
    this.#view.setUint16(this.#used, value);
    this.#used += 2;
    return this;
  }

  u32(value: number): this {
    this.#room(4);
    this.#view.setUint32(this.#used, value);
    this.#used += 4;
    return this;
  }

  u64(value: bigint): this {
    this.#room(8);
    this.#view.setBigUint64(this.#used, BigInt.asUintN(64, value));
    this.#used += 8;
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#room(value.length);
    this.#bytes.set(value, this.#used);
    this.#used += value.length;
    return this;
  }

  /** One length byte, then UTF-8 text of at most 255 bytes. */
  text8(value: string): this {
    const text = new TextEncoder().encode(value);
    return this.u8(text.length).bytes(text);
  }

  /** A copy of what was written; the writer is empty afterwards. */
  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.#used);
    this.#used = 0;
    return taken;
  }

  #room(count: number): void {
    if (this.#used + count <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#used + count));
    grown.set(this.#bytes);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
