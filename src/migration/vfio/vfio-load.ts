/**
 * The section of one VFIO device on the destination, flag by flag (spec/vfio.md §2.3). Data goes to the device's thread as it
 * arrives, a bounded amount ahead of it; INIT_DATA_SENT is answered once the device says that it is ready, not when the
 * bytes were written.
 */

import type { Clock } from '../../base/clock.ts';
import type { VfioLanding } from '../../hw/vfio/vfio-driver.ts';
import type { VfioWritten } from '../../hw/vfio/vfio-service.ts';
import { LIMITS } from '../../wire/limits.ts';
import { VFIO_DATA_BYTES, VFIO_FLAG } from '../../wire/vfio.ts';
import type { LedgerRecorder } from '../ledger.ts';
import type { StreamReader } from '../transport/stream-reader.ts';
import type { VfioPort } from './vfio-port.ts';
import { RateMeter } from './vfio-save.ts';

/** What the device is told of at once, of what was put where it wants it (bytes). */
const LANDED_BYTES = 4 << 20;

/** How far the stream may be ahead of the device (bytes). */
export const AHEAD_BYTES = 8 << 20;

const NAMES = new Map<bigint, keyof typeof VFIO_FLAG>(
  Object.entries(VFIO_FLAG).map(([name, value]) => [value, name as keyof typeof VFIO_FLAG]),
);

/** Loads one VFIO device. */
export class VfioLoad {
  readonly id: string;
  /** How fast the device takes its data (bytes per second), from the last chunks. */
  readonly loadRate = new RateMeter();
  readonly #port: VfioPort;
  readonly #clock: Clock;
  readonly #ledger: LedgerRecorder;
  readonly #onInitDataSent: (place: { reader: StreamReader; at: number }) => void;
  readonly #loadConfig: (reader: StreamReader) => Promise<void>;
  readonly #onFailure: (error: Error) => void;
  readonly #isOverChannels: boolean;
  #writing: Promise<void> = Promise.resolve();
  #aheadBytes = 0;
  /** Shared memory that the device has taken everything from. */
  readonly #spare: SharedArrayBuffer[] = [];
  /** Bytes of the device's data so far. */
  #position = 0;
  /** Where the device wants coming bytes. */
  #landing: VfioLanding | undefined;
  /** The last of those before `#position` that are there, and that the device has not been told of. */
  #landedBytes = 0;
  /** Resolves with the next chunk that the device has taken. */
  #progress = Promise.withResolvers<void>();
  #failure: Error | undefined;
  #firstWriteMs: number | undefined;
  #readyMs: number | undefined;
  #isSwitchover = false;
  /** What the source was told last of the device's rate; undefined before. */
  #toldRate: number | undefined;

  constructor(deps: {
    id: string;
    port: VfioPort;
    clock: Clock;
    ledger: LedgerRecorder;
    /** Throws when the record may not come. */
    onInitDataSent: (place: { reader: StreamReader; at: number }) => void;
    /** Cuts the device's ordinary state out of the stream and loads it. */
    loadConfig: (reader: StreamReader) => Promise<void>;
    /** What the device threw while it was written to: the stream may have nothing more for it. */
    onFailure: (error: Error) => void;
    /** Its last data and its ordinary state come over multifd channels: `take` and `config` get them. */
    isOverChannels: boolean;
  }) {
    this.id = deps.id;
    this.#port = deps.port;
    this.#clock = deps.clock;
    this.#ledger = deps.ledger;
    this.#onInitDataSent = deps.onInitDataSent;
    this.#loadConfig = deps.loadConfig;
    this.#onFailure = deps.onFailure;
    this.#isOverChannels = deps.isOverChannels;
  }

  /** Milliseconds from the first byte that reached the device until it was ready, or until now; 0 before. */
  get preparationMs(): number {
    return this.#firstWriteMs === undefined ? 0 : (this.#readyMs ?? this.#clock.nowMs()) - this.#firstWriteMs;
  }

  /** Bytes that have arrived for the device and that it has not taken. */
  get aheadBytes(): number {
    return this.#aheadBytes + this.#landedBytes;
  }

  /** Whether the source has been told of the device. */
  get isKnown(): boolean {
    return this.#toldRate !== undefined;
  }

  /** What the device's rate is now (bytes per second, 0 = not known), for the source. */
  tellRate(): number {
    this.#toldRate = this.loadRate.bytesPerSecond;
    return this.#toldRate;
  }

  /** Whether the source was told of a rate that is off by more than a share of it; never once its guest has stopped. */
  rateIsNews(share: number): boolean {
    if (this.#toldRate === undefined || this.#isSwitchover) return false;
    return Math.abs(this.loadRate.bytesPerSecond - this.#toldRate) > share * this.#toldRate;
  }

  /** Before the stream: the device takes state from now on. */
  async setup(): Promise<void> {
    await this.#port.setState('resuming');
  }

  /** The source has stopped its guest: what is loaded from here on is downtime. */
  switchover(): void {
    this.#isSwitchover = true;
  }

  /** Reads the records of one section's payload. Throws `stream/…` or what the device threw. */
  async load(reader: StreamReader): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const at = reader.offset;
      const value = await reader.u64('VFIO flag');
      const name = NAMES.get(value);
      switch (name) {
        case 'END_OF_STATE':
          this.#tellLanded();
          return;
        case 'DEV_SETUP_STATE':
          await this.#end(reader, 'END_OF_STATE after DEV_SETUP_STATE');
          return;
        case 'DEV_DATA_STATE':
          await this.#data(reader);
          break;
        case 'DEV_CONFIG_STATE':
          if (this.#isOverChannels) throw this.#configHere(reader, at);
          return this.#config(reader);
        case 'DEV_INIT_DATA_SENT':
          this.#onInitDataSent({ reader, at });
          return;
        case undefined:
          throw reader.bad({ at, field: 'VFIO flag', expected: [...NAMES.values()].join(', '), actual: hex(value) });
        default:
          name satisfies never;
      }
    }
  }

  /** Hands over data that came over a multifd channel; resolves once the device has taken it. Throws what the device threw. */
  async take(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#position += bytes.length;
    this.#hand(bytes.length, this.#port.write(bytes));
    await this.#written();
  }

  /** Reads the CONFIG record that is a multifd packet; the device has taken its data. Throws `stream/…`. */
  async config(reader: StreamReader): Promise<void> {
    const at = reader.offset;
    const value = await reader.u64('VFIO flag');
    if (value !== VFIO_FLAG.DEV_CONFIG_STATE) {
      throw reader.bad({ at, field: 'VFIO flag', expected: 'DEV_CONFIG_STATE', actual: hex(value) });
    }
    await this.#config(reader);
    if (reader.available === 0 && !(await reader.fill())) return;
    const expected = 'the end of the packet';
    throw reader.bad({ at: reader.offset, field: 'device state', expected, actual: 'more bytes' });
  }

  /** Resolves once the device has everything and has prepared what it announced. Throws what the device threw. */
  async ready(): Promise<void> {
    await this.#written();
    await this.#port.ready();
    this.#readyMs = this.#clock.nowMs();
  }

  /** The device has all of its data: it checks it. Throws what it found. */
  async finish(): Promise<void> {
    await this.#written();
    const startMs = this.#clock.nowMs();
    await this.#port.setState('stop');
    this.#landing = undefined; // it is the device's memory
    this.#ledger.add(this.id, 'load', startMs, this.#clock.nowMs());
  }

  /** A load that failed: only a reset ends a resuming session, or ERROR, into which incomplete state leads. */
  async cleanup(): Promise<void> {
    this.#landing = undefined;
    await this.#writing;
    if (['resuming', 'error'].includes(await this.#port.state())) await this.#port.reset();
    await this.#port.setState('stop');
  }

  async #written(): Promise<void> {
    this.#tellLanded();
    await this.#writing;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #config(reader: StreamReader): Promise<void> {
    await this.#loadConfig(reader);
    await this.#end(reader, 'END_OF_STATE after DEV_CONFIG_STATE');
  }

  #configHere(reader: StreamReader, at: number): Error {
    const expected = 'no DEV_CONFIG_STATE: it comes over a multifd channel';
    const hint = 'set x-migration-multifd-transfer the same on both sides';
    return reader.bad({ at, field: 'VFIO flag', expected, actual: 'one', hint });
  }

  async #end(reader: StreamReader, field: string): Promise<void> {
    const at = reader.offset;
    const value = await reader.u64(field);
    if (value !== VFIO_FLAG.END_OF_STATE) {
      throw reader.bad({ at, field, expected: hex(VFIO_FLAG.END_OF_STATE), actual: hex(value) });
    }
  }

  async #data(reader: StreamReader): Promise<void> {
    const at = reader.offset;
    const announced = await reader.u64('length of DEV_DATA_STATE');
    const maximum = LIMITS.VFIO_DATA_BYTES;
    if (announced > BigInt(maximum)) {
      const field = 'length of DEV_DATA_STATE';
      throw reader.overLimit({ at, field, limit: 'VFIO_DATA_BYTES', maximum, actual: Number(announced) });
    }
    const count = Number(announced);
    this.#firstWriteMs ??= this.#clock.nowMs();
    const place = this.#placeFor(count);
    const spare = place === undefined ? this.#spareFor(count) : undefined;
    const bytes = place ?? new Uint8Array(spare!, 0, count); // one of the two there is
    const startMs = this.#clock.nowMs();
    await reader.readInto(bytes, 'data of DEV_DATA_STATE');
    if (this.#isSwitchover) this.#ledger.add(this.id, 'wire', startMs, this.#clock.nowMs());
    this.#arrived(bytes, spare);
    // Not further ahead than this: a slow device slows the source down instead of filling our memory.
    while (this.#aheadBytes > AHEAD_BYTES && this.#failure === undefined) await this.#progress.promise;
  }

  /** Where the device wants the next `count` bytes; undefined when they do not all go there. */
  #placeFor(count: number): Uint8Array | undefined {
    if (this.#landing === undefined) return undefined;
    const { at, memory } = this.#landing;
    const start = this.#position - at;
    return start >= 0 && start + count <= memory.length ? memory.subarray(start, start + count) : undefined;
  }

  #spareFor(count: number): SharedArrayBuffer {
    const spare = this.#spare.pop();
    return spare !== undefined && spare.byteLength >= count
      ? spare
      : new SharedArrayBuffer(Math.max(count, VFIO_DATA_BYTES));
  }

  /** The device is told at once of bytes in a spare, and of what is in its landing once that is worth a message. */
  #arrived(bytes: Uint8Array, spare: SharedArrayBuffer | undefined): void {
    if (spare !== undefined) this.#tellLanded();
    this.#position += bytes.length;
    if (spare !== undefined) {
      this.#hand(bytes.length, this.#port.write(bytes), () => this.#spare.push(spare));
      return;
    }
    this.#landedBytes += bytes.length;
    if (this.#landedBytes >= LANDED_BYTES) this.#tellLanded();
  }

  #tellLanded(): void {
    const count = this.#landedBytes;
    if (count === 0) return;
    this.#landedBytes = 0;
    this.#hand(count, this.#port.landed(this.#position - count, count));
  }

  /** Follows what was handed over: the device's thread keeps the order, and need not wait for ours. */
  #hand(count: number, written: Promise<VfioWritten>, onTaken: () => void = () => undefined): void {
    this.#aheadBytes += count;
    const taken = written.then(
      ({ tookMs, landing }) => {
        onTaken();
        if (landing !== undefined) this.#landing = landing;
        const endMs = this.#clock.nowMs();
        this.loadRate.add(count, tookMs);
        if (this.#isSwitchover) this.#ledger.add(this.id, 'load', endMs - tookMs, endMs);
      },
      (error: unknown) => {
        if (this.#failure !== undefined) return; // the first one is the cause of the others
        this.#failure = error instanceof Error ? error : new Error(String(error));
        this.#onFailure(this.#failure);
      },
    );
    this.#writing = taken.then(() => {
      this.#aheadBytes -= count;
      this.#progress.resolve();
      this.#progress = Promise.withResolvers();
    });
  }
}

function hex(value: bigint): string {
  return `0x${value.toString(16).padStart(16, '0')}`;
}
