/**
 * Takes the packets of one receiving channel apart (spec/wire.md §5.2, §12.2) and says where their bytes belong: the
 * pages of an uncompressed packet go from the socket straight into RAM. How bytes are read and how a channel waits for
 * the others is the driver's (receive-channel.ts): each step is a wish, and its answer comes back.
 */

import { HarnessError, messageOf } from '../../base/errors.ts';
import type { RamWindow } from '../../hw/ram-window.ts';
import { type PinnedBytes, pinned, Segments } from '../../threads/segments.ts';
import { LIMITS } from '../../wire/limits.ts';
import {
  MULTIFD_FLAG,
  MULTIFD_HELLO,
  MULTIFD_MAGIC,
  MULTIFD_METHOD,
  MULTIFD_VERSION,
  PACKET_PAGES,
  PACKET_START,
  RAM_PACKET_BYTES,
  RAM_PACKET_OFFSET,
  RAM_PACKET_REST,
} from '../../wire/multifd.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import { type MultifdMethod, type PageDecompressor, pageDecompressor } from './compression.ts';
import { type StatePacket, StatePacketReader, type StateTarget } from './state-packet-reader.ts';

const LOW = 2 ** 32;

/**
 * What a reader wants next: bytes (the answer is how many came; fewer than asked for is the end), to wait for the other
 * channels, leave to read device state, or to hand it over.
 */
export type PacketStep =
  | { readonly kind: 'read'; readonly into: Segments }
  | { readonly kind: 'sync' }
  | { readonly kind: 'room' }
  | { readonly kind: 'state'; readonly packet: StatePacket };
/** The answer: bytes read, or for `sync` and `room` 1 to go on and 0 to end. */
export type PacketSteps = Generator<PacketStep, void, number>;

interface RamPacket {
  readonly window: RamWindow;
  readonly normalPages: number;
  readonly zeroPages: number;
  readonly dataBytes: number;
}

/** One channel's packets. */
export class PacketReader {
  readonly #section: string;
  readonly #windows: ReadonlyMap<string, RamWindow>;
  readonly #method: number;
  readonly #header: PinnedBytes = pinned(RAM_PACKET_BYTES);
  readonly #view = new DataView(this.#header.bytes.buffer);
  readonly #segments = new Segments(PACKET_PAGES);
  readonly #decompressor: PageDecompressor | undefined;
  readonly #state: StatePacketReader;
  /** Compressed data, from the first packet that has some. */
  #input: PinnedBytes | undefined;
  /** Of the next unread byte, from the connection's first. */
  #offset = MULTIFD_HELLO.size;
  #packet = 0;

  /** `name` is the channel's in errors. */
  constructor(options: {
    name: string;
    windows: readonly RamWindow[];
    method: MultifdMethod;
    targets: readonly StateTarget[];
  }) {
    this.#section = options.name;
    this.#windows = new Map(options.windows.map((window) => [window.name, window]));
    this.#method = MULTIFD_METHOD[options.method];
    this.#decompressor = pageDecompressor(options.method);
    this.#state = new StatePacketReader(options.targets);
  }

  /** All packets up to the end of the connection between two. Throws `stream/…` naming channel, packet and field. */
  *steps(): PacketSteps {
    for (;;) {
      const start = yield* this.#fill(0, PACKET_START.size);
      if (start === 0) return;
      if (start < PACKET_START.size) throw this.#truncated(PACKET_START.fieldAt(start), PACKET_START.size - start);
      const { magic, version, flags } = PACKET_START.decode(this.#header.bytes);
      this.#expect('magic', 0, MULTIFD_MAGIC, magic);
      this.#expect('version', 4, MULTIFD_VERSION, version);
      const isState = (flags & MULTIFD_FLAG.DEVICE_STATE) !== 0;
      if (isState && !(yield* this.#deviceState(flags))) return;
      if (!isState) yield* this.#ram(flags);
      this.#packet += 1;
      if ((flags & MULTIFD_FLAG.SYNC) !== 0 && (yield { kind: 'sync' }) === 0) return;
    }
  }

  *#ram(flags: number): PacketSteps {
    const wanted = RAM_PACKET_BYTES - PACKET_START.size;
    const have = yield* this.#fill(PACKET_START.size, wanted);
    if (have < wanted) {
      const field = have < RAM_PACKET_REST.size ? RAM_PACKET_REST.fieldAt(have) : 'table of offsets';
      throw this.#truncated(field, wanted - have);
    }
    const packet = this.#check(flags);
    if (packet === undefined) return;
    const { window, normalPages, zeroPages } = packet;
    const segments = this.#segments;
    segments.reset();
    for (let index = 0; index < normalPages; index++) {
      const offset = this.#pageOffset(window, index);
      window.markLoaded(offset / PAGE_SIZE);
      segments.add(window, offset, PAGE_SIZE);
    }
    for (let index = normalPages; index < normalPages + zeroPages; index++) {
      window.loadZeroPage(this.#pageOffset(window, index) / PAGE_SIZE);
    }
    if (normalPages === 0) return;
    if (this.#decompressor === undefined) yield* this.#data(segments);
    else yield* this.#compressed(packet, this.#decompressor);
  }

  /** Reads `dataBytes` and stores the pages they become. */
  *#compressed({ window, normalPages, dataBytes }: RamPacket, decompressor: PageDecompressor): PacketSteps {
    const at = this.#offset;
    this.#input ??= pinned(LIMITS.MULTIFD_PACKET_BYTES);
    this.#segments.reset();
    this.#segments.add(this.#input, 0, dataBytes);
    yield* this.#data(this.#segments);
    let pages: Uint8Array;
    try {
      pages = decompressor.expand(this.#input.bytes.subarray(0, dataBytes), normalPages * PAGE_SIZE);
    } catch (cause) {
      const section = `${this.#section}, packet ${this.#packet}`;
      const expected = `${dataBytes} bytes that expand to ${normalPages} pages`;
      const details = { at, section, field: 'page data', expected, actual: messageOf(cause) };
      throw new HarnessError('stream/bad-value', details, { cause });
    }
    for (let index = 0; index < normalPages; index++) {
      const start = index * PAGE_SIZE;
      window.bytes.set(pages.subarray(start, start + PAGE_SIZE), this.#pageOffset(window, index));
    }
  }

  *#data(segments: Segments): PacketSteps {
    const { byteLength } = segments;
    const got = yield { kind: 'read', into: segments };
    this.#offset += got;
    if (got < byteLength) throw this.#truncated('page data', byteLength - got);
  }

  /** The checked header; undefined when the packet has no pages. */
  #check(flags: number): RamPacket | undefined {
    const rest = RAM_PACKET_REST.decode(this.#header.bytes.subarray(PACKET_START.size));
    const { pagesAlloc, normalPages, zeroPages, dataBytes } = rest;
    this.#atMost('pagesAlloc', RAM_PACKET_OFFSET.PAGES_ALLOC, PACKET_PAGES, pagesAlloc);
    this.#atMost('normalPages', RAM_PACKET_OFFSET.NORMAL_PAGES, pagesAlloc, normalPages);
    this.#atMost('zeroPages', RAM_PACKET_OFFSET.ZERO_PAGES, pagesAlloc - normalPages, zeroPages);
    if (dataBytes > LIMITS.MULTIFD_PACKET_BYTES) {
      const place = this.#place('dataBytes', RAM_PACKET_OFFSET.DATA_BYTES);
      const limit = { limit: 'MULTIFD_PACKET_BYTES', maximum: LIMITS.MULTIFD_PACKET_BYTES, actual: dataBytes };
      throw new HarnessError('stream/limit', { ...place, ...limit });
    }
    const hasPages = normalPages + zeroPages > 0;
    if (hasPages && (flags & MULTIFD_FLAG.METHOD_MASK) !== this.#method) throw this.#otherMethod(flags);
    if (this.#method === MULTIFD_METHOD.none || normalPages === 0)
      this.#expect('dataBytes', RAM_PACKET_OFFSET.DATA_BYTES, normalPages * PAGE_SIZE, dataBytes);
    if (!hasPages) return undefined;
    return { window: this.#block(rest.ramBlock), normalPages, zeroPages, dataBytes };
  }

  #block(field: Uint8Array): RamWindow {
    const end = field.indexOf(0);
    const name = Buffer.from(field.subarray(0, Math.max(0, end))).toString('latin1');
    const window = end < 0 ? undefined : this.#windows.get(name);
    if (window !== undefined) return window;
    const known = [...this.#windows.keys()].map((one) => `'${one}'`).join(', ');
    const actual = end < 0 ? '256 bytes without an end' : `'${name}'`;
    throw this.#bad('ramBlock', RAM_PACKET_OFFSET.RAM_BLOCK, `one of ${known}`, actual);
  }

  #pageOffset(window: RamWindow, index: number): number {
    const at = RAM_PACKET_OFFSET.TABLE + index * 8;
    const offset = this.#view.getUint32(at) * LOW + this.#view.getUint32(at + 4);
    if (offset <= window.length - PAGE_SIZE && offset % PAGE_SIZE === 0) return offset;
    const expected = `a multiple of ${PAGE_SIZE} below the length ${window.length} of block '${window.name}'`;
    throw this.#bad(`offset of page ${index}`, at, expected, `${offset}`);
  }

  #otherMethod(flags: number): HarnessError {
    const named = (method: number) =>
      Object.entries(MULTIFD_METHOD).find(([, bits]) => bits === method)?.[0] ?? `0x${method.toString(16)}`;
    return this.#bad(
      'flags',
      RAM_PACKET_OFFSET.FLAGS,
      `pages in method ${named(this.#method)}`,
      `method ${named(flags & MULTIFD_FLAG.METHOD_MASK)}`,
      'set multifd-compression the same on both sides',
    );
  }

  /** A packet of another form; false when the channel has been ended meanwhile. */
  *#deviceState(flags: number): Generator<PacketStep, boolean, number> {
    const at = this.#offset - PACKET_START.size;
    const read = yield* this.#state.steps({ flags, at, section: `${this.#section}, packet ${this.#packet}` });
    this.#offset += read ?? 0;
    return read !== undefined;
  }

  *#fill(at: number, length: number): Generator<PacketStep, number, number> {
    this.#segments.reset();
    this.#segments.add(this.#header, at, length);
    const got = yield { kind: 'read', into: this.#segments };
    this.#offset += got;
    return got;
  }

  // ── errors ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** `at` counts from the packet's first byte; nothing of its data has been read when fields are judged. */
  #place(field: string, at: number): { at: number; section: string; field: string } {
    const read = at < PACKET_START.size ? PACKET_START.size : RAM_PACKET_BYTES;
    return { at: this.#offset - read + at, section: `${this.#section}, packet ${this.#packet}`, field };
  }

  #expect(field: string, at: number, expected: number, actual: number): void {
    if (actual !== expected) throw this.#bad(field, at, `0x${expected.toString(16)}`, `0x${actual.toString(16)}`);
  }

  #atMost(field: string, at: number, maximum: number, actual: number): void {
    if (actual > maximum) throw this.#bad(field, at, `at most ${maximum}`, `${actual}`);
  }

  #bad(field: string, at: number, expected: string, actual: string, hint?: string): HarnessError {
    const details = { ...this.#place(field, at), expected, actual, ...(hint === undefined ? {} : { hint }) };
    return new HarnessError('stream/bad-value', details);
  }

  #truncated(field: string, needed: number): HarnessError {
    const section = `${this.#section}, packet ${this.#packet}`;
    const hint = 'the sender closed this connection; look for its own error';
    return new HarnessError('stream/truncated', { at: this.#offset, section, field, needed, available: 0, hint });
  }
}
