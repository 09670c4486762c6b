/**
 * The resuming session of an emulated VFIO device: parses records as their bytes arrive, checks every byte, allocates when the
 * size is announced (in the device's thread, or behind `write` when preparation is asynchronous), and knows whether the
 * state is complete.
 */

import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { HarnessError } from '../../base/errors.ts';
import { copyBytes } from '../../threads/copy.ts';
import { native } from '../../threads/native.ts';
import type { DeviceResources } from '../device.ts';
import { Pace, waitUntil } from './pace.ts';
import type { VfioLanding } from './vfio-driver.ts';
import { type BulkPattern, RECORD_HEADER_BYTES, type RecordHeader, readHeader, type TagName } from './vfio-records.ts';

const MIB = 2 ** 20;
/** Records that are no bulk data are small. */
const SMALL_BYTES = 8192;
const BULK: ReadonlySet<TagName> = new Set(['IMAGE', 'INCREMENT', 'FINAL']);

/** What a session works with. */
export interface LoaderOptions {
  readonly device: string;
  /** The most that this device's state can be (bytes). */
  readonly stateBytes: number;
  /** Cost of allocation (ms per MiB). */
  readonly allocMsPerMiB: number;
  /** Whether allocation goes on behind `write`. */
  readonly isAsync: boolean;
  readonly loadBytesPerSecond: number;
  readonly pattern: BulkPattern;
  readonly resources: DeviceResources;
}

/** The device's memory on this side, shared so that data can be put there by whoever has it; lives longer than a session. */
export class DeviceMemory {
  bytes: Uint8Array<SharedArrayBuffer> = new Uint8Array(new SharedArrayBuffer(0));
  /** What the machine's pool was charged for it. */
  takenBytes = 0;
}

/** See the header. */
export class EmulatedLoader {
  readonly #options: LoaderOptions;
  readonly #memory: DeviceMemory;
  readonly #pace: Pace;
  readonly #header = new Uint8Array(RECORD_HEADER_BYTES);
  #headerBytes = 0;
  #record: RecordHeader | undefined;
  #recordOffset = 0;
  #recordCount = 0;
  #small = new Uint8Array(0);
  #at = 0;
  #isComplete = false;
  #allocation: Promise<void> | undefined;
  #isAborted = false;
  #landing: VfioLanding | undefined;

  constructor(options: LoaderOptions, memory: DeviceMemory) {
    this.#options = options;
    this.#memory = memory;
    this.#pace = new Pace(options.loadBytesPerSecond);
  }

  /** Takes the next bytes. Throws `vfio/data` for wrong ones, `vfio/resources` when there is nothing to allocate from. */
  async write(bytes: Uint8Array): Promise<void> {
    const startMs = performance.now();
    let bulkBytes = 0;
    for (let done = 0; done < bytes.length; ) {
      const rest = bytes.subarray(done);
      if (this.#record === undefined) {
        done += this.#takeHeader(rest);
        continue;
      }
      const piece = rest.subarray(0, this.#record.size - this.#recordOffset);
      if (BULK.has(this.#record.tag)) {
        await this.#takeBulk(this.#record, piece);
        bulkBytes += piece.length;
      } else this.#takeSmall(this.#record, piece);
      done += piece.length;
      this.#at += piece.length;
      this.#recordOffset += piece.length;
      if (this.#recordOffset === this.#record.size) this.#endRecord(this.#record);
    }
    if (bulkBytes > 0) this.#pace.spend(bulkBytes, startMs);
  }

  /** Where the payload of the record goes that is being written, once there is memory for it. */
  get landing(): VfioLanding | undefined {
    const record = this.#record;
    if (record === undefined || !BULK.has(record.tag) || this.#memory.bytes.length < record.size) return undefined;
    const at = this.#at - this.#recordOffset;
    if (this.#landing?.at !== at) this.#landing = { at, memory: this.#memory.bytes.subarray(0, record.size) };
    return this.#landing;
  }

  /** Resolves once what was announced is allocated. Throws why it cannot be. */
  async ready(): Promise<void> {
    await this.#allocation;
  }

  /** The session is over before its end: an allocation that still goes on is let go. */
  abort(): void {
    this.#isAborted = true;
  }

  /** Throws `vfio/data` when the stream ended too early. */
  async check(): Promise<void> {
    await this.#allocation;
    if (this.#isComplete && this.#record === undefined && this.#headerBytes === 0) return;
    const field = this.#record === undefined ? 'record header' : this.#record.tag;
    throw this.#bad(field, 'the last record, whole', `the end of the data after ${this.#at} bytes`);
  }

  #takeHeader(bytes: Uint8Array): number {
    const piece = bytes.subarray(0, RECORD_HEADER_BYTES - this.#headerBytes);
    this.#header.set(piece, this.#headerBytes);
    this.#headerBytes += piece.length;
    this.#at += piece.length;
    if (this.#headerBytes < RECORD_HEADER_BYTES) return piece.length;
    const { device, stateBytes } = this.#options;
    if (this.#isComplete)
      throw this.#bad('record header', 'the end of the data after the last record', 'another record');
    const at = this.#at - RECORD_HEADER_BYTES;
    const record = readHeader(this.#header, { device, at, maximumBytes: Math.max(stateBytes, SMALL_BYTES) });
    if (!BULK.has(record.tag) && record.size > SMALL_BYTES) {
      throw this.#bad(`size of ${record.tag}`, `at most ${SMALL_BYTES}`, `${record.size}`);
    }
    if (record.generation !== this.#recordCount) {
      // A record was lost on the way, or came twice.
      throw this.#bad(`flags of ${record.tag}`, `record ${this.#recordCount}`, `record ${record.generation}`);
    }
    this.#recordCount += 1;
    this.#headerBytes = 0;
    this.#record = record;
    this.#recordOffset = 0;
    this.#small = new Uint8Array(BULK.has(record.tag) ? 0 : record.size);
    if (record.size === 0) this.#endRecord(record);
    return piece.length;
  }

  #takeSmall(record: RecordHeader, piece: Uint8Array): void {
    this.#small.set(piece, this.#recordOffset);
    // What must match is looked at as soon as it is in, not when the record is whole.
    if (record.tag !== 'STOP_COPY_SIZE') this.#verify(record, piece);
  }

  async #takeBulk(record: RecordHeader, piece: Uint8Array): Promise<void> {
    this.#reserve(record.size);
    await this.#allocation;
    this.#verify(record, piece);
    const { bytes } = this.#memory;
    const isInPlace = piece.buffer === bytes.buffer && piece.byteOffset === bytes.byteOffset + this.#recordOffset;
    if (!isInPlace) copyBytes(bytes.subarray(this.#recordOffset), piece);
  }

  #verify(record: RecordHeader, piece: Uint8Array): void {
    const place = { record, offset: this.#recordOffset };
    const wrong = this.#options.pattern.mismatch(piece, place);
    if (wrong < 0) return;
    const right = new Uint8Array(1);
    this.#options.pattern.fill(right, { ...place, offset: place.offset + wrong });
    const offset = this.#recordOffset + wrong;
    throw this.#bad(`${record.tag} at ${offset}`, `0x${right[0]!.toString(16)}`, `0x${piece[wrong]!.toString(16)}`);
  }

  #endRecord(record: RecordHeader): void {
    this.#record = undefined;
    if (record.tag === 'FINAL') this.#isComplete = true;
    if (record.tag !== 'STOP_COPY_SIZE') return;
    if (record.size !== 8) throw this.#bad('size of STOP_COPY_SIZE', '8', `${record.size}`);
    const announced = new DataView(this.#small.buffer).getBigUint64(0, true);
    const { stateBytes } = this.#options;
    if (announced > BigInt(stateBytes)) {
      throw this.#bad('STOP_COPY_SIZE', `at most ${stateBytes}, this device's state`, `${announced}`);
    }
    this.#reserve(Number(announced));
  }

  /** Sees to it that the device has so much memory, now or once `#allocation` has resolved. */
  #reserve(bytes: number): void {
    const { resources, isAsync } = this.#options;
    if (bytes <= this.#memory.takenBytes) return;
    resources.take(bytes - this.#memory.takenBytes);
    this.#memory.takenBytes = bytes;
    if (!isAsync) {
      this.#memory.bytes = this.#allocate(bytes);
      return;
    }
    this.#allocation = this.#allocateBehind(bytes, this.#allocation);
    this.#allocation.catch(() => undefined); // thrown where it is awaited
  }

  /** Allocates and touches, a MiB at a time; each takes the time that it costs. */
  #allocate(bytes: number): Uint8Array<SharedArrayBuffer> {
    const memory = freshMemory(bytes);
    const dueMs = this.#allocationPlan();
    for (let from = 0; from < bytes; from += MIB) {
      memory.fill(1, from, from + MIB);
      waitUntil(dueMs(Math.min(bytes, from + MIB)));
    }
    return memory;
  }

  /** The same while the device's thread does other things, after an allocation that is going on. */
  async #allocateBehind(bytes: number, before: Promise<void> | undefined): Promise<void> {
    await before;
    await turn();
    if (this.#isAborted) return;
    const memory = freshMemory(bytes);
    const dueMs = this.#allocationPlan();
    for (let from = 0; from < bytes; from += MIB) {
      memory.fill(1, from, from + MIB);
      const leftMs = dueMs(Math.min(bytes, from + MIB)) - performance.now();
      await (leftMs >= 1 ? sleep(leftMs) : turn());
      if (this.#isAborted) return;
    }
    this.#memory.bytes = memory;
  }

  /** When so many bytes are due to be allocated (performance.now). */
  #allocationPlan(): (bytes: number) => number {
    const startMs = performance.now();
    return (bytes) => startMs + (bytes / MIB) * this.#options.allocMsPerMiB;
  }

  #bad(field: string, expected: string, actual: string): HarnessError {
    return new HarnessError('vfio/data', { device: this.#options.device, at: this.#at, field, expected, actual });
  }
}

function freshMemory(bytes: number): Uint8Array<SharedArrayBuffer> {
  const memory = new Uint8Array(new SharedArrayBuffer(bytes));
  native?.adviseHugePages(memory);
  return memory;
}
