/**
 * The source's cache of sent pages, and the deltas against it (spec/wire.md §4.4): direct mapped, one slot for each page of
 * its size. Pages are encoded from a private copy, which is also what the cache keeps: the guest may write meanwhile.
 */

import { loadKernel } from '../../threads/kernel.ts';
import type { XbzrleKernel } from '../../threads/kernel-exports.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';

const WASM_PAGE = 65_536;
/** Largest memory with 32-bit addresses (WebAssembly pages). */
const MAX_PAGES_32 = 65_536;
/** Bytes the kernel may touch behind a page. */
const SLACK = 64;
/** A slot that holds nothing. */
const EMPTY = -1;
/** A slot may be taken from another page once it was not used for so many syncs. */
const MIN_AGE = 2;

/** Where things are in front of the slots, which begin at a page: a slot that lay in two of the system's pages would cost a tenth more. */
const AT = {
  CURRENT: 0,
  DELTA: PAGE_SIZE + SLACK,
  SLOTS: 3 * PAGE_SIZE,
};

/** What one page became: not cached, equal to what was sent, too different, or a delta. */
export type CachedPage =
  | { readonly kind: 'miss' | 'identical' | 'overflow' }
  | { readonly kind: 'delta'; readonly delta: Uint8Array };

/** The cache. Pages are named by their address in all of RAM, counted in pages. */
export class XbzrleCache {
  /** The private copy of the page that `lookUp` was called for: what is to be sent in full. */
  readonly current: Uint8Array;
  readonly #delta: Uint8Array;
  readonly #kernel: XbzrleKernel;
  readonly #pages: Int32Array;
  readonly #ages: Int32Array;

  /** `bytes` is a power of two, at least a page; slots that `ramPages` pages could never use are left out. */
  constructor(options: { bytes: bigint; ramPages: number }) {
    const slots = Number(options.bytes / BigInt(PAGE_SIZE));
    let useful = 1;
    while (useful < options.ramPages && useful < slots) useful *= 2;
    const size = Math.ceil((AT.SLOTS + useful * PAGE_SIZE + SLACK) / WASM_PAGE);
    const address = size > MAX_PAGES_32 ? 'i64' : 'i32';
    const pages = address === 'i64' ? BigInt(size) : size;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true, address });
    this.current = new Uint8Array(memory.buffer, AT.CURRENT, PAGE_SIZE);
    this.#delta = new Uint8Array(memory.buffer, AT.DELTA, PAGE_SIZE);
    this.#kernel = loadKernel('xbzrle', memory, address);
    this.#pages = new Int32Array(useful).fill(EMPTY);
    this.#ages = new Int32Array(useful);
  }

  /**
   * Takes a copy of `bytes`, the content of `page`, and compares it with what was sent. `age` counts syncs. In the last
   * stage (`isLast`) nothing is kept for later.
   */
  lookUp(page: number, bytes: Uint8Array, { age, isLast }: { age: number; isLast: boolean }): CachedPage {
    this.current.set(bytes);
    const slot = this.#slot(page);
    if (this.#pages[slot] !== page) {
      if (!isLast) this.#insert(slot, page, age);
      return { kind: 'miss' };
    }
    this.#ages[slot] = age;
    const cached = AT.SLOTS + slot * PAGE_SIZE;
    const length = this.#kernel.encode(cached, AT.CURRENT, AT.DELTA);
    if (length === 0) return { kind: 'identical' };
    if (!isLast) this.#kernel.copyPage(cached, AT.CURRENT);
    return length < 0 ? { kind: 'overflow' } : { kind: 'delta', delta: this.#delta.subarray(0, length) };
  }

  /** A zero page was sent. */
  insertZero(page: number, age: number): void {
    this.current.fill(0);
    this.#insert(this.#slot(page), page, age);
  }

  #slot(page: number): number {
    return page % this.#pages.length;
  }

  /** Unless another page has the slot that was used not long ago. */
  #insert(slot: number, page: number, age: number): void {
    const there = this.#pages[slot];
    if (there !== EMPTY && there !== page && this.#ages[slot]! + MIN_AGE > age) return;
    this.#pages[slot] = page;
    this.#ages[slot] = age;
    this.#kernel.copyPage(AT.SLOTS + slot * PAGE_SIZE, AT.CURRENT);
  }
}
