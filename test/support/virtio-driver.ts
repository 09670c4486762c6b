/**
 * A guest's driver of a virtio block device, for tests: sets the device up, puts requests into the queue in guest RAM, and
 * collects what the device gave back, each request once. It can be moved to another machine with the same RAM content.
 */

import { FEATURE, REGISTER, REQUEST, RESULT, STATUS } from '../../src/hw/devices/virtio-blk/registers.ts';

/** Where the driver runs. */
export interface DriverPlace {
  readonly ram: { readonly bytes: Uint8Array; write(offset: number, bytes: Uint8Array): void };
  read(offset: number): Promise<number>;
  write(offset: number, value: number): Promise<unknown>;
}

/** A request as the driver made it. */
export interface DriverRequest {
  readonly type: number;
  readonly sector?: number;
  /** What OUT writes. */
  readonly data?: Uint8Array;
  /** Bytes that IN or GET_ID wants. */
  readonly answerBytes?: number;
}

/** A request that the device gave back. */
export interface Completion extends DriverRequest {
  readonly result: number;
  readonly answer: Uint8Array;
  /** Bytes the device says it wrote. */
  readonly written: number;
}

const QUEUE_SIZE = 128;
const DESCRIPTORS = 0x1000;
const AVAILABLE = 0x2000;
const USED = 0x3000;
const SLOTS = 0x8000;
const SLOT_BYTES = 0x1000;
const CHAIN = 4; // descriptors of each chain: header, data in two parts, result
const NO_INTERRUPT = 1;

/** See the header. */
export class VirtioDriver {
  place: DriverPlace;
  readonly #inFlight = new Map<number, DriverRequest>();
  #free = Array.from({ length: QUEUE_SIZE / CHAIN }, (_, slot) => slot);
  #submitted = 0;
  #collected = 0;

  constructor(place: DriverPlace) {
    this.place = place;
  }

  /** Requests that the device has. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** How many requests the device says it has given back since the beginning (modulo 2¹⁶). */
  get usedIndex(): number {
    return this.#view().getUint16(USED + 2, true);
  }

  /** Sets the device up (virtio 1.2, §3.1.1). */
  async setUp(features: bigint = FEATURE.VERSION_1 | FEATURE.FLUSH): Promise<void> {
    const { place } = this;
    const { ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK } = STATUS;
    await place.write(REGISTER.STATUS, 0);
    await place.write(REGISTER.STATUS, ACKNOWLEDGE | DRIVER);
    for (const select of [0, 1]) {
      await place.write(REGISTER.DRIVER_FEATURES_SELECT, select);
      await place.write(REGISTER.DRIVER_FEATURES, Number((features >> BigInt(32 * select)) & 0xffff_ffffn));
    }
    await place.write(REGISTER.STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    await place.write(REGISTER.QUEUE_SIZE, QUEUE_SIZE);
    await place.write(REGISTER.QUEUE_DESCRIPTORS, DESCRIPTORS);
    await place.write(REGISTER.QUEUE_DRIVER, AVAILABLE);
    await place.write(REGISTER.QUEUE_DEVICE, USED);
    await place.write(REGISTER.QUEUE_READY, 1);
    await place.write(REGISTER.STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
  }

  /** Puts requests into the queue, 32 at most at a time, and notifies the device once. */
  async submit(requests: readonly DriverRequest[], options: { interrupt?: boolean } = {}): Promise<void> {
    for (const request of requests) {
      const slot = this.#free.shift();
      if (slot === undefined) throw new Error('the queue is full');
      this.#prepare(slot, request);
      this.#inFlight.set(slot * CHAIN, request);
      this.#store(AVAILABLE + 4 + 2 * (this.#submitted % QUEUE_SIZE), le(slot * CHAIN, 2));
      this.#submitted += 1;
    }
    this.#store(AVAILABLE, le(options.interrupt === false ? NO_INTERRUPT : 0, 2));
    this.#store(AVAILABLE + 2, le(this.#submitted, 2));
    await this.place.write(REGISTER.QUEUE_NOTIFY, 0);
  }

  /** What came back since the last time. Throws for a chain that is not in flight: one that came back twice. */
  collect(): Completion[] {
    const done: Completion[] = [];
    for (; this.#collected % 0x1_0000 !== this.usedIndex; this.#collected += 1) {
      const view = this.#view();
      const element = USED + 4 + 8 * (this.#collected % QUEUE_SIZE);
      const head = view.getUint32(element, true);
      const request = this.#inFlight.get(head);
      if (request === undefined) throw new Error(`chain ${head} came back and is not in flight`);
      this.#inFlight.delete(head);
      this.#free.push(head / CHAIN);
      const { header, data, result } = places(head / CHAIN);
      const answer = this.place.ram.bytes.slice(data, data + (request.answerBytes ?? 0));
      done.push({
        ...request,
        result: view.getUint8(header + result),
        answer,
        written: view.getUint32(element + 4, true),
      });
    }
    return done;
  }

  #prepare(slot: number, { type, sector = 0, data: given, answerBytes = 0 }: DriverRequest): void {
    const { header, data, result } = places(slot);
    const bytes = given?.length ?? answerBytes;
    const first = Math.floor(bytes / 3); // two parts of odd sizes, next to each other
    const writable = given === undefined ? 2 : 0;
    const chain = [
      { address: header, length: 16, flags: 0 },
      { address: data, length: first, flags: writable },
      { address: data + first, length: bytes - first, flags: writable },
      { address: header + result, length: 1, flags: 2 },
    ];
    const table = chain.flatMap(({ address, length, flags }, index) => [
      ...le(address, 8),
      ...le(length, 4),
      ...le(flags | (index + 1 < chain.length ? 1 : 0), 2),
      ...le(slot * CHAIN + index + 1, 2),
    ]);
    this.#store(header, [...le(type, 4), ...le(0, 4), ...le(sector, 8), 0xff]);
    if (given !== undefined) this.place.ram.write(data, given);
    this.#store(DESCRIPTORS + slot * CHAIN * 16, table);
  }

  #store(address: number, bytes: readonly number[]): void {
    this.place.ram.write(address, Uint8Array.from(bytes));
  }

  #view(): DataView {
    const { buffer, byteOffset, byteLength } = this.place.ram.bytes;
    return new DataView(buffer, byteOffset, byteLength);
  }
}

/** A request that reads. */
export function readRequest(sector: number, sectors: number): DriverRequest {
  return { type: REQUEST.IN, sector, answerBytes: sectors * 512 };
}

/** A request that writes. */
export function writeRequest(sector: number, data: Uint8Array): DriverRequest {
  return { type: REQUEST.OUT, sector, data };
}

/** The result of a request that went well. */
export const OK = RESULT.OK;

function places(slot: number): { header: number; data: number; result: number } {
  const header = SLOTS + slot * SLOT_BYTES;
  return { header, data: header + 0x20, result: 0x10 };
}

function le(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, index) => Math.floor(value / 256 ** index) & 0xff);
}
