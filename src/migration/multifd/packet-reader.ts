/**
 * Takes the packets of one receiving channel apart (spec/wire.md §5.2, §12.2) and says where their bytes belong: the
 * pages of an uncompressed packet go from the socket straight into RAM, and with them comes the next header. How bytes are read
 * and how a channel waits for the others is the driver's (receive-channel.ts): each step is a wish, and its answer comes back.
 */

import { HarnessError, messageOf } from '../../base/errors.ts';
import type { RamWindow } from '../../hw/ram-window.ts';
import { type PinnedBytes, pinned, Segments } from '../../threads/segments.ts';
import { LIMITS } from '../../wire/limits.ts';
import {
  RAM_PACKET_OFFSET as AT,
  MULTIFD_FLAG,
  MULTIFD_HELLO,
  MULTIFD_MAGIC,
  MULTIFD_METHOD,
  MULTIFD_VERSION,
  PACKET_PAGES,
  PACKET_START,
  RAM_PACKET_BYTES,
  RAM_PACKET_REST,
} from '../../wire/multifd.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { MultifdMethod, PageDecompressor } from './compression.ts';
import { AHEAD_BYTES, PacketTable } from './packet-table.ts';
import { ReadAhead } from './read-ahead.ts';
import { type StatePacket, StatePacketReader, type StateTarget } from './state-packet-reader.ts';

const LOW = 2 ** 32;

/**
 * What a reader wants next: bytes (the answer is how many came; fewer than `atLeast` is the end), to wait for the other
 * channels, leave to read device state, or to hand it over.
 */
export type PacketStep =
  | { readonly kind: 'read'; readonly into: Segments; readonly atLeast: number }
  | { readonly kind: 'sync' }
  | { readonly kind: 'room' }
  | { readonly kind: 'state'; readonly packet: StatePacket };
/** The answer: bytes read, or for `sync` and `room` 1 to go on and 0 to end. */
export type PacketSteps = Generator<PacketStep, void, number>;

/** What the beginning of a packet says. `skip`: it has no pages, or was of another form and is behind us. */
type Begun = 'pages' | 'skip' | 'end';

/** One channel's packets. */
export class PacketReader {
  readonly #section: string;
  readonly #windows: ReadonlyMap<string, RamWindow>;
  readonly #method: number;
  /** Headers and tables, and what else was read ahead. */
  readonly #table = new PacketTable();
  readonly #ahead = new ReadAhead(this.#table);
  readonly #segments = new Segments(PACKET_PAGES + 1);
  readonly #take = (target: Uint8Array) => this.#ahead.moveTo(target);
  readonly #decompressor: PageDecompressor | undefined;
  readonly #state: StatePacketReader;
  /** Compressed data, from the first packet that has some. */
  #input: PinnedBytes | undefined;
  /** Of the packet's first byte, from the connection's. */
  #offset = MULTIFD_HELLO.size;
  #packet = 0;
  /** The last packet had data: those of the next must not be read ahead. */
  #hasData = false;

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
    this.#state = new StatePacketReader(options.targets, this.#ahead);
  }

  /** All packets up to the end of the connection between two. Throws `stream/…` naming channel, packet and field. */
  *steps(): PacketSteps {
    const table = this.#table;
    const ahead = this.#ahead;
    const { view } = table;
    for (;;) {
      let isSync = false;
      // Most packets are like the one before; what follows is all that is done for them.
      if (ahead.length < RAM_PACKET_BYTES || !table.isUsual(ahead.start, this.#method)) {
        if (ahead.length < PACKET_START.size) ahead.arrived(yield this.#more(PACKET_START.size));
        if (ahead.length === 0) return;
        if (ahead.length < RAM_PACKET_BYTES || !table.isUsual(ahead.start, this.#method)) {
          const flags = this.#checkStart();
          const begun = yield* this.#begin(flags);
          if (begun === 'end') return;
          isSync = (flags & MULTIFD_FLAG.SYNC) !== 0;
          if (begun === 'skip') {
            this.#packet += 1;
            if (isSync && (yield { kind: 'sync' }) === 0) return;
            continue;
          }
        }
      }
      const normalPages = view.getUint32(ahead.start + AT.NORMAL_PAGES);
      const zeroPages = view.getUint32(ahead.start + AT.ZERO_PAGES);
      const dataBytes = view.getUint32(ahead.start + AT.DATA_BYTES);
      if (zeroPages > 0) {
        this.#readTable(normalPages, zeroPages);
        table.storeZero();
      }
      if (normalPages > 0) {
        this.#readTable(0, normalPages);
        table.markLoaded();
      }
      ahead.consume(RAM_PACKET_BYTES);
      this.#hasData = dataBytes > 0;
      // Not `dataBytes`: compressed pages without data are the decompressor's to refuse.
      if (normalPages > 0) {
        const wanted = this.#placeData(dataBytes);
        if (wanted > 0) {
          ahead.addTo(this.#segments, RAM_PACKET_BYTES);
          const got = yield { kind: 'read', into: this.#segments, atLeast: wanted };
          if (got < wanted)
            throw this.#truncated('page data', RAM_PACKET_BYTES + dataBytes - wanted + got, wanted - got);
          ahead.arrived(got - wanted);
        }
        if (this.#decompressor !== undefined) this.#expand(this.#decompressor, dataBytes, normalPages);
      }
      this.#offset += RAM_PACKET_BYTES + dataBytes;
      this.#packet += 1;
      if (isSync && (yield { kind: 'sync' }) === 0) return;
    }
  }

  /** The rest of a header that is not like the one before; field by field. */
  *#begin(flags: number): Generator<PacketStep, Begun, number> {
    const ahead = this.#ahead;
    if ((flags & MULTIFD_FLAG.DEVICE_STATE) !== 0) return (yield* this.#deviceState(flags)) ? 'skip' : 'end';
    if (ahead.length < RAM_PACKET_BYTES) ahead.arrived(yield this.#more(RAM_PACKET_BYTES));
    const have = ahead.length;
    if (have < RAM_PACKET_BYTES) {
      const rest = have - PACKET_START.size;
      const field = rest < RAM_PACKET_REST.size ? RAM_PACKET_REST.fieldAt(rest) : 'table of offsets';
      throw this.#truncated(field, have, RAM_PACKET_BYTES - have);
    }
    if (this.#check(flags)) return 'pages';
    ahead.consume(RAM_PACKET_BYTES);
    this.#offset += RAM_PACKET_BYTES;
    this.#hasData = false;
    return 'skip';
  }

  /** The flags of a packet that begins as one does. */
  #checkStart(): number {
    const { start, length } = this.#ahead;
    if (length < PACKET_START.size) {
      throw this.#truncated(PACKET_START.fieldAt(length), length, PACKET_START.size - length);
    }
    const { view } = this.#table;
    this.#expect('magic', AT.MAGIC, MULTIFD_MAGIC, view.getUint32(start + AT.MAGIC));
    this.#expect('version', AT.VERSION, MULTIFD_VERSION, view.getUint32(start + AT.VERSION));
    return view.getUint32(start + AT.FLAGS);
  }

  /** The wish for so many bytes of headers at least. Where no data come between, as many as there is room for. */
  #more(length: number): PacketStep {
    const missing = length - this.#ahead.length;
    this.#ahead.makeRoom(this.#segments, this.#hasData ? RAM_PACKET_BYTES : AHEAD_BYTES);
    return { kind: 'read', into: this.#segments, atLeast: missing };
  }

  /** Makes the segments the places of a packet's data, less what is here already; returns how many bytes are missing. */
  #placeData(dataBytes: number): number {
    const segments = this.#segments;
    segments.reset();
    if (this.#decompressor === undefined) {
      this.#table.addTo(segments, this.#take);
      return segments.byteLength;
    }
    this.#input ??= pinned(LIMITS.MULTIFD_PACKET_BYTES);
    const taken = this.#ahead.moveTo(this.#input.bytes.subarray(0, dataBytes));
    if (taken < dataBytes) segments.add(this.#input, taken, dataBytes - taken);
    return dataBytes - taken;
  }

  /** Stores the pages that the data become. */
  #expand(decompressor: PageDecompressor, dataBytes: number, normalPages: number): void {
    try {
      decompressor.expand(this.#input!, dataBytes, this.#table.block!, this.#table);
    } catch (cause) {
      const at = this.#offset + RAM_PACKET_BYTES;
      const section = `${this.#section}, packet ${this.#packet}`;
      const expected = `${dataBytes} bytes that expand to ${normalPages} pages`;
      const details = { at, section, field: 'page data', expected, actual: messageOf(cause) };
      throw new HarnessError('stream/bad-value', details, { cause });
    }
  }

  /** Looks at the fields of a header; false when the packet has no pages. */
  #check(flags: number): boolean {
    const { view } = this.#table;
    const { start } = this.#ahead;
    const pagesAlloc = view.getUint32(start + AT.PAGES_ALLOC);
    const normalPages = view.getUint32(start + AT.NORMAL_PAGES);
    const zeroPages = view.getUint32(start + AT.ZERO_PAGES);
    const dataBytes = view.getUint32(start + AT.DATA_BYTES);
    this.#atMost('pagesAlloc', AT.PAGES_ALLOC, PACKET_PAGES, pagesAlloc);
    this.#atMost('normalPages', AT.NORMAL_PAGES, pagesAlloc, normalPages);
    this.#atMost('zeroPages', AT.ZERO_PAGES, pagesAlloc - normalPages, zeroPages);
    if (dataBytes > LIMITS.MULTIFD_PACKET_BYTES) {
      const place = this.#place('dataBytes', AT.DATA_BYTES);
      const limit = { limit: 'MULTIFD_PACKET_BYTES', maximum: LIMITS.MULTIFD_PACKET_BYTES, actual: dataBytes };
      throw new HarnessError('stream/limit', { ...place, ...limit });
    }
    const hasPages = normalPages + zeroPages > 0;
    if (hasPages && (flags & MULTIFD_FLAG.METHOD_MASK) !== this.#method) throw this.#otherMethod(flags);
    if (this.#method === MULTIFD_METHOD.none || normalPages === 0)
      this.#expect('dataBytes', AT.DATA_BYTES, normalPages * PAGE_SIZE, dataBytes);
    if (hasPages) this.#setBlock();
    return hasPages;
  }

  #setBlock(): void {
    const { start } = this.#ahead;
    const field = this.#table.bytes.subarray(start + AT.RAM_BLOCK, start + AT.TABLE);
    const end = field.indexOf(0);
    const name = Buffer.from(field.subarray(0, Math.max(0, end))).toString('latin1');
    const window = end < 0 ? undefined : this.#windows.get(name);
    if (window !== undefined) {
      this.#table.setBlock(window, field);
      return;
    }
    const known = [...this.#windows.keys()].map((one) => `'${one}'`).join(', ');
    const actual = end < 0 ? '256 bytes without an end' : `'${name}'`;
    throw this.#bad('ramBlock', AT.RAM_BLOCK, `one of ${known}`, actual);
  }

  /** `count` offsets from entry `first` of the table on, as runs. */
  #readTable(first: number, count: number): void {
    const header = this.#ahead.start;
    const bad = this.#table.read(header, first, count);
    if (bad === undefined) return;
    const at = AT.TABLE + bad * 8;
    const { view } = this.#table;
    const offset = view.getUint32(header + at) * LOW + view.getUint32(header + at + 4);
    const { length, name } = this.#table.block!;
    const expected = `a multiple of ${PAGE_SIZE} below the length ${length} of block '${name}'`;
    throw this.#bad(`offset of page ${bad}`, at, expected, `${offset}`);
  }

  #otherMethod(flags: number): HarnessError {
    const named = (method: number) =>
      Object.entries(MULTIFD_METHOD).find(([, bits]) => bits === method)?.[0] ?? `0x${method.toString(16)}`;
    return this.#bad(
      'flags',
      AT.FLAGS,
      `pages in method ${named(this.#method)}`,
      `method ${named(flags & MULTIFD_FLAG.METHOD_MASK)}`,
      'set multifd-compression the same on both sides',
    );
  }

  /** A packet of another form; false when the channel has been ended meanwhile. */
  *#deviceState(flags: number): Generator<PacketStep, boolean, number> {
    this.#ahead.consume(PACKET_START.size);
    this.#hasData = true;
    const section = `${this.#section}, packet ${this.#packet}`;
    const read = yield* this.#state.steps({ flags, at: this.#offset, section });
    this.#offset += PACKET_START.size + (read ?? 0);
    return read !== undefined;
  }

  // ── errors ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** `at` counts from the packet's first byte. */
  #place(field: string, at: number): { at: number; section: string; field: string } {
    return { at: this.#offset + at, section: `${this.#section}, packet ${this.#packet}`, field };
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

  /** The connection ended `at` bytes behind the packet's first. */
  #truncated(field: string, at: number, needed: number): HarnessError {
    const hint = 'the sender closed this connection; look for its own error';
    return new HarnessError('stream/truncated', { ...this.#place(field, at), needed, available: 0, hint });
  }
}
