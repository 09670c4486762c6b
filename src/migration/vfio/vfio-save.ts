/**
 * The section of one VFIO device on the source, record by record (spec/vfio.md §2.2): SETUP, precopy data with its one
 * INIT_DATA_SENT (again after REINIT in re-usable mode), the STOP_COPY data, and the CONFIG record. The next chunks are read
 * while the last one is being written, so that device and wire work at the same time.
 */

import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import { HarnessError, isHarnessError } from '../../base/errors.ts';
import { isPrecopy } from '../../hw/vfio/states.ts';
import type { VfioRead } from '../../hw/vfio/vfio-device.ts';
import type { PrecopyInfo } from '../../hw/vfio/vfio-driver.ts';
import { native } from '../../threads/native.ts';
import { pinned, Segments } from '../../threads/segments.ts';
import { VFIO_DATA_BYTES, VFIO_FLAG, VFIO_SECTION_VERSION } from '../../wire/vfio.ts';
import { ByteWriter } from '../../wire/writer.ts';
import type { LedgerRecorder } from '../ledger.ts';
import type { StreamFraming } from '../savevm.ts';
import type { ByteSink } from '../transport/channel.ts';
import type { SourceAck } from './switchover-ack.ts';
import { trustedBytes, type VfioPort } from './vfio-port.ts';
import { type StateChannels, VfioTransfer } from './vfio-transfer.ts';

/** How many reads a device is asked for at once, so that it need not wait for the wire after each (chunks). */
const READS_AHEAD = 4;
/** What a device is asked for at once in STOP_COPY that gives its own memory (bytes): each turn of its thread costs time. */
const IN_PLACE_BYTES = 4 << 20;
/** Smaller reads say nothing about where a device has its data. */
const TELLING_BYTES = 65_536;
/** Flag and length before a record's data. */
const RECORD_BYTES = 16;
/** How many of a device's last answers say how much STOP_COPY will have to carry. */
const SIZES = 8;
/** How many of a device's first answers say how long one takes: later ones, of code that has run often, are faster than those of a switchover. */
const ANSWERS = 16;
/** How many of the last chunks say how fast a device can be read or written. */
const RATE_CHUNKS = 16;
/** Smaller ones say more about the way to the device's thread. */
const RATE_MIN_BYTES = 16_384;

/** Saves one VFIO device. */
export class VfioSave {
  /** The device's id. */
  readonly id: string;
  readonly sectionId: number;
  /** How fast the device gives its data (bytes per second), from the last chunks. */
  readonly saveRate = new RateMeter();
  readonly idstr: string;
  readonly instanceId: number;
  readonly #port: VfioPort;
  readonly #sink: ByteSink;
  readonly #framing: StreamFraming;
  readonly #ack: SourceAck;
  readonly #ledger: LedgerRecorder;
  readonly #clock: Clock;
  /** Memory for a driver that has none of its own, used again and again. */
  readonly #spare: SharedArrayBuffer[] = [];
  readonly #chunk: ChunkWriter;
  /** The device gives its own memory. */
  #isInPlace = false;
  #isInPrecopy = false;
  #initialBytes = 0;
  #dirtyBytes = 0;
  /** What the device said last of STOP_COPY. */
  readonly #stopCopySizes: number[] = [];
  readonly #answersMs: number[] = [];
  #isInitSent = false;
  /** All of its last data was read already, which a guest that was stopped by hand makes possible. */
  #isDrained = false;
  #transferred = 0;
  #sendingMs = 0;
  readonly #transfer: VfioTransfer | undefined;
  /** The session's end, while other bytes are on their way. */
  #leaving: Promise<unknown> | undefined;

  constructor(deps: {
    id: string;
    idstr: string;
    instanceId: number;
    sectionId: number;
    port: VfioPort;
    sink: ByteSink;
    framing: StreamFraming;
    ack: SourceAck;
    ledger: LedgerRecorder;
    clock: Clock;
    /** Where its last data and its ordinary state go instead of the main channel, with its number there. */
    over?: { readonly channels: StateChannels; readonly device: number } | undefined;
  }) {
    this.id = deps.id;
    this.idstr = deps.idstr;
    this.instanceId = deps.instanceId;
    this.sectionId = deps.sectionId;
    this.#port = deps.port;
    this.#sink = deps.sink;
    this.#framing = deps.framing;
    this.#ack = deps.ack;
    this.#ledger = deps.ledger;
    this.#clock = deps.clock;
    this.#chunk = new ChunkWriter(deps.sink);
    const onRead = (bytes: number, tookMs: number) => this.saveRate.add(bytes, tookMs);
    this.#transfer = deps.over === undefined ? undefined : new VfioTransfer({ ...deps, ...deps.over, onRead });
  }

  /** Whether its last data and its ordinary state go over multifd channels. */
  get isOverChannels(): boolean {
    return this.#transfer !== undefined;
  }

  /** Payload bytes sent so far, for query-migrate's `vfio.transferred`. */
  get transferred(): number {
    return this.#transferred + (this.#transfer?.transferred ?? 0);
  }

  /** How long the wire took for them (ms). */
  get sendingMs(): number {
    return this.#sendingMs;
  }

  /** Known bytes that could be read now; no question to the device. */
  get pendingBytes(): number {
    return this.#isInPrecopy ? this.#initialBytes + this.#dirtyBytes : 0;
  }

  /** What STOP_COPY will have to carry: the mean of what the device said last, as such statistics are noisy. */
  get stopCopyBytes(): number {
    return mean(this.#stopCopySizes);
  }

  /** How long an answer of the device's thread takes on average (ms); 0 = not known. */
  get answerMs(): number {
    return mean(this.#answersMs);
  }

  /** True while initial data has not all been sent. */
  get isInitialPending(): boolean {
    return this.#isInPrecopy && !this.#isInitSent;
  }

  /** SECTION_START; with a running guest and a device that can, saving begins now. */
  async setup(isRunning: boolean): Promise<void> {
    await this.#askSize();
    if (isRunning && this.#port.features.precopy) {
      await this.#port.setState('pre-copy', 'running');
      this.#isInPrecopy = true;
      this.#ack.request(this.id);
      await this.#refresh();
    }
    const section = { id: this.sectionId, idstr: this.idstr, instanceId: this.instanceId };
    await this.#sink.write(this.#framing.sectionHeader('SECTION_START', { ...section, version: VFIO_SECTION_VERSION }));
    await this.#sink.write(flags('DEV_SETUP_STATE', 'END_OF_STATE'));
    await this.#footer();
  }

  /** SECTION_PART: one read of at most VFIO_DATA_BYTES, in precopy. Resolves with the payload bytes sent. */
  async iterate(): Promise<number> {
    if (!this.#isInPrecopy) return 0;
    const { bytes, status, spare } = await this.#read();
    this.#account(bytes.length, status);
    const isInitialEnd = this.#ack.isOn && this.#initialBytes === 0 && !this.#isInitSent;
    if (bytes.length === 0 && !isInitialEnd) {
      if (spare !== undefined) this.#spare.push(spare);
      return 0;
    }
    await this.#sink.write(this.#framing.partHeader('SECTION_PART', this.sectionId));
    await this.#data(bytes, spare);
    if (isInitialEnd) {
      this.#isInitSent = true;
      this.#ack.sent(this.id);
    }
    await this.#sink.write(flags(isInitialEnd ? 'DEV_INIT_DATA_SENT' : 'END_OF_STATE'));
    await this.#footer();
    return bytes.length;
  }

  /**
   * Asks the device; resolves with the bytes of STOP_COPY. New initial data (REINIT) asks for another ack, which throws
   * `vfio/ack` once switchover has been decided.
   */
  async pendingExact(): Promise<number> {
    const size = await this.#askSize();
    if (this.#isInPrecopy) await this.#refresh();
    return size;
  }

  /** The guest stands still: sends what goes over multifd channels, `config` last. */
  async transfer(config: Promise<Uint8Array>): Promise<void> {
    this.#isInPrecopy = false;
    await this.#transfer?.send(config);
  }

  /** SECTION_END, the guest stands still: everything the device still has. */
  async complete(): Promise<void> {
    if (this.#transfer !== undefined) {
      await this.#sink.write(this.#framing.partHeader('SECTION_END', this.sectionId));
      return this.#nothing();
    }
    this.#isInPrecopy = false;
    const askedMs = this.#clock.nowMs();
    const entering = this.#port.setState('stop-copy', 'stop');
    const asked: Promise<Chunk>[] = [];
    const ask = () => {
      const read = this.#timedRead();
      read.catch(() => undefined); // looked at in its turn, unless something fails before
      asked.push(read);
    };
    for (let n = 0; n < READS_AHEAD; n += 1) ask();
    await entering;
    this.#ledger.add(this.id, 'save', askedMs, this.#clock.nowMs());
    await this.#sink.write(this.#framing.partHeader('SECTION_END', this.sectionId));
    for (;;) {
      const { bytes, status, spare } = await asked.shift()!; // one is asked for whenever one is taken
      if (status === 'end') break;
      ask();
      const startMs = this.#clock.nowMs();
      await this.#data(bytes, spare);
      this.#ledger.add(this.id, 'wire', startMs, this.#clock.nowMs());
    }
    this.#leaving = this.#port.setState('stop', 'stop');
    this.#leaving.catch(() => undefined); // reported by ended
    await this.#sink.write(flags('END_OF_STATE'));
    await this.#footer();
  }

  /** SECTION_FULL: the CONFIG record around the device's ordinary state. */
  async saveState(config: Uint8Array): Promise<void> {
    const section = { id: this.sectionId, idstr: this.idstr, instanceId: this.instanceId };
    await this.#sink.write(this.#framing.sectionHeader('SECTION_FULL', { ...section, version: VFIO_SECTION_VERSION }));
    if (this.#transfer !== undefined) return this.#nothing();
    await this.#sink.write(flags('DEV_CONFIG_STATE'));
    await this.#sink.write(config);
    await this.#sink.write(flags('END_OF_STATE'));
    await this.#footer();
  }

  /** Resolves once the device has left its saving session. Throws what the device threw. */
  async ended(): Promise<void> {
    await this.#leaving;
  }

  /** However it ended: no saving session stays open. A device that fails here is of no concern to the migration's end. */
  async cleanup(): Promise<void> {
    this.#isInPrecopy = false;
    const state = await this.#port.state();
    // With where it goes as what to recover to, a device that cannot go there is reset: a session that stayed would spoil the next.
    if (state === 'stop-copy') await this.#port.setState('stop', 'stop');
    else if (isPrecopy(state)) await this.#port.setState('running', 'running');
  }

  async #read(maxBytes = VFIO_DATA_BYTES): Promise<Chunk> {
    const isLarge = maxBytes > VFIO_DATA_BYTES;
    const spare = isLarge ? undefined : (this.#spare.pop() ?? new SharedArrayBuffer(VFIO_DATA_BYTES));
    const read = await this.#port.read(maxBytes, spare === undefined ? {} : { spare });
    assert(read.bytes.length <= maxBytes, 'a device gives no more than it is asked for');
    if (read.bytes.length >= TELLING_BYTES) this.#isInPlace = read.isInPlace === true;
    this.saveRate.add(read.bytes.length, read.tookMs);
    return { ...read, spare };
  }

  async #timedRead(): Promise<Chunk> {
    const read = await this.#read(this.#isInPlace ? IN_PLACE_BYTES : VFIO_DATA_BYTES);
    const endMs = this.#clock.nowMs();
    this.#ledger.add(this.id, 'save', endMs - read.tookMs, endMs);
    return read;
  }

  /** Reading lowers the estimates, the initial one first; an end means that there is nothing, for now or for good. */
  #account(bytes: number, status: VfioRead['status']): void {
    if (status !== 'data') {
      this.#isDrained = status === 'end';
      this.#initialBytes = 0;
      this.#dirtyBytes = 0;
      return;
    }
    const initial = Math.min(this.#initialBytes, bytes);
    this.#initialBytes -= initial;
    this.#dirtyBytes = Math.max(0, this.#dirtyBytes - (bytes - initial));
  }

  async #askSize(): Promise<number> {
    if (this.#isDrained) this.#stopCopySizes.length = 0;
    const size = this.#isDrained ? 0 : trustedBytes(await this.#timed(this.#port.stopCopyBytes()));
    this.#stopCopySizes.push(size);
    if (this.#stopCopySizes.length > SIZES) this.#stopCopySizes.shift();
    return size;
  }

  async #refresh(): Promise<void> {
    const info = await this.#precopyInfo();
    if (info === undefined) return;
    this.#initialBytes = trustedBytes(info.initialBytes);
    this.#dirtyBytes = trustedBytes(info.dirtyBytes);
    if (!info.reinit || !this.#isInitSent || this.#ack.mode !== 'reusable') return;
    this.#ack.request(this.id);
    this.#isInitSent = false;
  }

  /**
   * Undefined once the guest was stopped by hand, which takes the device on to its last data (spec/vfio.md §2.2, run state
   * paused). Throws when the guest was started again: that ended the session.
   */
  async #precopyInfo(): Promise<PrecopyInfo | undefined> {
    try {
      return await this.#timed(this.#port.precopyInfo());
    } catch (error) {
      if (!isHarnessError(error, 'vfio/refused')) throw error;
      const actual = await this.#port.state();
      if (actual === 'stop-copy') return undefined;
      const expected = 'the session that the migration began, which ends when a stopped guest is started again';
      const details = { device: this.id, what: 'saving', errno: 'ENODEV', expected, actual } as const;
      throw new HarnessError('vfio/refused', details, { cause: error });
    }
  }

  /** Answers that need no work of the device tell how fast threads are on this host. */
  async #timed<T>(answer: Promise<T>): Promise<T> {
    const startMs = this.#clock.nowMs();
    const value = await answer;
    if (this.#answersMs.length < ANSWERS) this.#answersMs.push(this.#clock.nowMs() - startMs);
    return value;
  }

  /** A section whose contents went elsewhere. */
  async #nothing(): Promise<void> {
    await this.#sink.write(flags('END_OF_STATE'));
    await this.#footer();
  }

  async #data(bytes: Uint8Array, spare: SharedArrayBuffer | undefined): Promise<void> {
    if (bytes.length > 0) {
      const startMs = this.#clock.nowMs();
      await this.#chunk.write(bytes);
      this.#sendingMs += this.#clock.nowMs() - startMs;
      this.#transferred += bytes.length;
    }
    // Used again: fresh memory for every chunk would cost page faults, and the garbage collector more than all else.
    if (spare !== undefined) this.#spare.push(spare);
  }

  async #footer(): Promise<void> {
    await this.#sink.write(this.#framing.footer(this.sectionId));
  }
}

/** What a device gave, and the memory that it was lent for it. */
interface Chunk extends VfioRead {
  readonly spare: SharedArrayBuffer | undefined;
}

/** Writes DATA records of at most VFIO_DATA_BYTES, from shared memory without a copy. */
class ChunkWriter {
  readonly #sink: ByteSink;
  /** For a full record, and for what is left. */
  readonly #headers = pinned(2 * RECORD_BYTES);
  readonly #view = new DataView(this.#headers.bytes.buffer);
  readonly #segments = new Segments(2 * Math.ceil(IN_PLACE_BYTES / VFIO_DATA_BYTES));

  constructor(sink: ByteSink) {
    this.#sink = sink;
    this.#setHeader(0, VFIO_DATA_BYTES);
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#setHeader(RECORD_BYTES, bytes.length % VFIO_DATA_BYTES);
    // Addresses of other memory do not stay.
    const isShared = !(bytes.buffer instanceof ArrayBuffer);
    const memory = { bytes, address: isShared ? (native?.addressOf(bytes) ?? 0) : 0 };
    this.#segments.reset();
    for (let at = 0; at < bytes.length; at += VFIO_DATA_BYTES) {
      const count = Math.min(VFIO_DATA_BYTES, bytes.length - at);
      const headerAt = count === VFIO_DATA_BYTES ? 0 : RECORD_BYTES;
      if (isShared) {
        this.#segments.add(this.#headers, headerAt, RECORD_BYTES);
        this.#segments.add(memory, at, count);
      } else {
        await this.#sink.write(this.#headers.bytes.subarray(headerAt, headerAt + RECORD_BYTES));
        await this.#sink.write(bytes.subarray(at, at + count));
      }
    }
    if (isShared) await this.#sink.writeBatch(this.#segments);
  }

  #setHeader(at: number, count: number): void {
    this.#view.setBigUint64(at, VFIO_FLAG.DEV_DATA_STATE);
    this.#view.setBigUint64(at + 8, BigInt(count));
  }
}

function flags(...names: readonly (keyof typeof VFIO_FLAG)[]): Uint8Array {
  const writer = new ByteWriter();
  for (const name of names) writer.u64(VFIO_FLAG[name]);
  return writer.take();
}

/** The rate of the last chunks: their median, so that one that had to wait for an allocation does not count. */
export class RateMeter {
  readonly #rates: number[] = [];

  add(bytes: number, ms: number): void {
    if (bytes < RATE_MIN_BYTES || ms <= 0) return;
    this.#rates.push((bytes * 1000) / ms);
    if (this.#rates.length > RATE_CHUNKS) this.#rates.shift();
  }

  /** Bytes per second; 0 = not known. */
  get bytesPerSecond(): number {
    return median(this.#rates);
  }
}

/** 0 of none. */
function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** 0 of none. */
function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >>> 1] ?? 0;
}
