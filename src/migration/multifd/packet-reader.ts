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
import type { MultifdMethod, PageDecompressor } from './compression.ts';
import { PacketTable } from './packet-table.ts';
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
  /** Header and table. */
  readonly #table = new PacketTable();
  readonly #segments = new Segments(PACKET_PAGES);
  /** Of the last packet with pages: what is the same again need not be looked up. */
  #lastBlock: { readonly field: Uint8Array; readonly window: RamWindow } | undefined;
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
    /** Of the method; undefined when pages come as they are. */
    decompressor: PageDecompressor | undefined;
    targets: readonly StateTarget[];
  }) {
    this.#section = options.name;
    this.#windows = new Map(options.windows.map((window) => [window.name, window]));
    this.#method = MULTIFD_METHOD[options.method];
    this.#decompressor = options.decompressor;
    this.#state = new StatePacketReader(options.targets);
  }

  /** All packets up to the end of the connection between two. Throws `stream/…` naming channel, packet and field. */
  *steps(): PacketSteps {
    for (;;) {
      const start = yield* this.#fill(0, PACKET_START.size);
      if (start === 0) return;
      if (start < PACKET_START.size) throw this.#truncated(PACKET_START.fieldAt(start), PACKET_START.size - start);
      const { view } = this.#table;
      this.#expect('magic', RAM_PACKET_OFFSET.MAGIC, MULTIFD_MAGIC, view.getUint32(RAM_PACKET_OFFSET.MAGIC));
      this.#expect('version', RAM_PACKET_OFFSET.VERSION, MULTIFD_VERSION, view.getUint32(RAM_PACKET_OFFSET.VERSION));
      const flags = view.getUint32(RAM_PACKET_OFFSET.FLAGS);
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
    const table = this.#table;
    this.#readTable(window, normalPages, zeroPages);
    for (let run = 0; run < table.runCount; run++) window.loadZeroPages(table.firstPage(run), table.pageCount(run));
    if (normalPages === 0) return;
    this.#readTable(window, 0, normalPages);
    for (let run = 0; run < table.runCount; run++) window.markLoaded(table.firstPage(run), table.pageCount(run));
    table.addTo(segments, window);
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
    try {
      decompressor.expand(this.#input, dataBytes, window, this.#table);
    } catch (cause) {
      const section = `${this.#section}, packet ${this.#packet}`;
      const expected = `${dataBytes} bytes that expand to ${normalPages} pages`;
      const details = { at, section, field: 'page data', expected, actual: messageOf(cause) };
      throw new HarnessError('stream/bad-value', details, { cause });
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
    const { view } = this.#table;
    const pagesAlloc = view.getUint32(RAM_PACKET_OFFSET.PAGES_ALLOC);
    const normalPages = view.getUint32(RAM_PACKET_OFFSET.NORMAL_PAGES);
    const zeroPages = view.getUint32(RAM_PACKET_OFFSET.ZERO_PAGES);
    const dataBytes = view.getUint32(RAM_PACKET_OFFSET.DATA_BYTES);
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
    return { window: this.#block(), normalPages, zeroPages, dataBytes };
  }

  #block(): RamWindow {
    const field = this.#table.bytes.subarray(RAM_PACKET_OFFSET.RAM_BLOCK, RAM_PACKET_OFFSET.TABLE);
    if (this.#lastBlock !== undefined && Buffer.compare(field, this.#lastBlock.field) === 0) {
      return this.#lastBlock.window;
    }
    const end = field.indexOf(0);
    const name = Buffer.from(field.subarray(0, Math.max(0, end))).toString('latin1');
    const window = end < 0 ? undefined : this.#windows.get(name);
    if (window !== undefined) {
      this.#lastBlock = { field: field.slice(), window };
      return window;
    }
    const known = [...this.#windows.keys()].map((one) => `'${one}'`).join(', ');
    const actual = end < 0 ? '256 bytes without an end' : `'${name}'`;
    throw this.#bad('ramBlock', RAM_PACKET_OFFSET.RAM_BLOCK, `one of ${known}`, actual);
  }

  /** `count` offsets from entry `first` of the table on, as runs. */
  #readTable(window: RamWindow, first: number, count: number): void {
    const bad = this.#table.read(window, first, count);
    if (bad === undefined) return;
    const at = RAM_PACKET_OFFSET.TABLE + bad * 8;
    const { view } = this.#table;
    const offset = view.getUint32(at) * LOW + view.getUint32(at + 4);
    const expected = `a multiple of ${PAGE_SIZE} below the length ${window.length} of block '${window.name}'`;
    throw this.#bad(`offset of page ${bad}`, at, expected, `${offset}`);
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
    this.#segments.add(this.#table, at, length);
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
