/**
 * Reads runs of full pages straight from the socket into guest RAM. After a page record the next bytes are very often the
 * record of the next page: one scattered read takes the rest of this page, then (8 record bytes, page) again and again,
 * the pages at the places where they belong if the guess is right. It only guesses over pages never written, so a wrong
 * guess loses nothing: its bytes go back to the reader and the pages are zeroed again. Because that costs two copies, a
 * guess is never much longer than the run it continues: 8 pages at first, twice as many after each that was right.
 */

import type { RamBlock } from '../../hw/ram.ts';
import { ERRNO, native } from '../../threads/native.ts';
import { IovecArray } from '../../threads/segments.ts';
import { PAGE_SIZE, RAM_FLAG } from '../../wire/ram.ts';
import type { StreamReader } from '../transport/stream-reader.ts';

const RECORD_BYTES = 8;
const MAX_RUN = 64;
const MIN_RUN = 8;
const NEXT_PAGE_FLAGS = RAM_FLAG.PAGE | RAM_FLAG.CONTINUE;
/** Low word of a record: address bits above the flags. */
const LOW = 2 ** 32;

/** Loads page data; keeps its guess of how long runs are from one call to the next. */
export class PageRunReader {
  readonly #reader: StreamReader;
  readonly #records = new DataView(new SharedArrayBuffer(MAX_RUN * RECORD_BYTES));
  readonly #recordBytes = new Uint8Array(this.#records.buffer);
  readonly #iov = new IovecArray(2 * MAX_RUN + 1);
  readonly #recordsAddress: number;
  #guess = MIN_RUN;
  #block: RamBlock | undefined;
  #nextPage = 0;

  constructor(reader: StreamReader) {
    this.#reader = reader;
    this.#recordsAddress = native?.addressOf(this.#recordBytes) ?? 0;
  }

  /**
   * Reads the 4096 bytes of `page` whose record was just read, and as many following pages as the stream brings in
   * order. Returns the number of pages loaded, at least one. Throws `stream/truncated`.
   */
  async load(block: RamBlock, page: number): Promise<number> {
    const reader = this.#reader;
    await reader.breathe();
    if (block !== this.#block || page !== this.#nextPage) this.#guess = MIN_RUN;
    let current = page;
    let have = reader.take(block, page * PAGE_SIZE, PAGE_SIZE);
    // A page that came whole from the staging buffer says nothing about what is in the socket.
    let goOn = have < PAGE_SIZE;
    try {
      while (goOn) {
        const result = this.#scatter(block, current, have);
        if (result > 0) {
          const step = this.#settle(block, current, have, result);
          current += step.pages;
          have = step.have;
          goOn = step.goOn;
          await reader.breathe();
        } else if (have === PAGE_SIZE) {
          break; // nothing more for now: the next record is the caller's
        } else {
          // Nothing to read yet, the end, or no native calls: the ordinary way, which waits and reports errors.
          if (result === 0 || !(await reader.wait())) {
            throw reader.truncated(`page data at RAM offset ${current * PAGE_SIZE}`, PAGE_SIZE - have);
          }
          have += reader.take(block, current * PAGE_SIZE + have, PAGE_SIZE - have);
          goOn = have < PAGE_SIZE;
        }
      }
      return current - page + 1;
    } finally {
      // Also after an error: these pages may hold data now, and are no longer known to be zero.
      block.markLoaded(page, current - page + 1);
      this.#block = block;
      this.#nextPage = current + 1;
    }
  }

  /** One scattered read for the rest of `page` and the pages guessed after it; minus EAGAIN when there is none to do. */
  #scatter(block: RamBlock, page: number, have: number): number {
    const readv = this.#reader.readv;
    if (readv === undefined) return -ERRNO.EAGAIN;
    const run = block.unwrittenRun(page + 1, this.#guess);
    if (run === 0 && have === PAGE_SIZE) return -ERRNO.EAGAIN;
    const iov = this.#iov;
    const base = block.address + page * PAGE_SIZE;
    iov.set(0, base + have, PAGE_SIZE - have);
    for (let k = 0; k < run; k++) {
      iov.set(2 * k + 1, this.#recordsAddress + k * RECORD_BYTES, RECORD_BYTES);
      iov.set(2 * k + 2, base + (k + 1) * PAGE_SIZE, PAGE_SIZE);
    }
    this.#run = run;
    return readv(iov.address, 2 * run + 1);
  }

  #run = 0;

  /** Sorts out what one scattered read brought: whole pages, a started page, or a wrong guess to take back. */
  #settle(block: RamBlock, page: number, have: number, count: number): { pages: number; have: number; goOn: boolean } {
    const reader = this.#reader;
    const rest = Math.min(count, PAGE_SIZE - have);
    reader.consumed(rest);
    if (have + rest < PAGE_SIZE) return { pages: 0, have: have + rest, goOn: true };
    let left = count - rest;
    for (let k = 0; k < this.#run; k++) {
      if (left < RECORD_BYTES || !this.#isRecordOf(k, page + 1 + k)) {
        if (left > 0) this.#takeBack(block, page + 1 + k, k, left);
        return { pages: k, have: PAGE_SIZE, goOn: false };
      }
      const data = Math.min(left - RECORD_BYTES, PAGE_SIZE);
      reader.consumed(RECORD_BYTES + data);
      left -= RECORD_BYTES + data;
      if (data < PAGE_SIZE) return { pages: k + 1, have: data, goOn: true };
    }
    this.#guess = Math.min(MAX_RUN, this.#guess * 2);
    return { pages: this.#run, have: PAGE_SIZE, goOn: true };
  }

  #isRecordOf(index: number, page: number): boolean {
    const at = index * RECORD_BYTES;
    const offset = page * PAGE_SIZE;
    return (
      this.#records.getUint32(at) === Math.floor(offset / LOW) &&
      this.#records.getUint32(at + 4) === (offset % LOW) + NEXT_PAGE_FLAGS
    );
  }

  /** The `left` bytes from record `index` on were not what we guessed: back to the reader, and the pages are zero again. */
  #takeBack(block: RamBlock, page: number, index: number, left: number): void {
    const pieces: Uint8Array[] = [];
    let bytes = left;
    let touched = 0;
    for (let k = index; bytes > 0; k++) {
      const record = Math.min(bytes, RECORD_BYTES);
      pieces.push(this.#recordBytes.subarray(k * RECORD_BYTES, k * RECORD_BYTES + record));
      bytes -= record;
      const data = Math.min(bytes, PAGE_SIZE);
      const start = (page + touched) * PAGE_SIZE;
      if (data > 0) {
        pieces.push(block.bytes.subarray(start, start + data));
        touched += 1;
      }
      bytes -= data;
    }
    this.#reader.pushBack(pieces);
    if (touched > 0) block.scrub(page, touched);
  }
}
