/**
 * Puts the device-state packets of one device in order (spec/vfio.md §2.6): they arrive over several channels in any order,
 * and the device takes them by index. What a peer can make us keep is bounded in bytes, in holes and in indexes. Pure.
 */

import { HarnessError } from '../../base/errors.ts';
import { LIMITS } from '../../wire/limits.ts';
import type { StatePacket } from '../multifd/state-packet-reader.ts';

/** One device's packets. */
export class StateQueue {
  readonly #device: string;
  readonly #maximumBytes: number;
  readonly #waiting = new Map<number, StatePacket>();
  #next = 0;
  #highest = -1;
  #lastIndex = Number.POSITIVE_INFINITY;
  #bytes = 0;

  /** `device` names it in errors; `maximumBytes` is its x-migration-max-queued-buffers-size. */
  constructor(options: { device: string; maximumBytes: number }) {
    this.#device = options.device;
    this.#maximumBytes = options.maximumBytes;
  }

  /** The index that is next. */
  get next(): number {
    return this.#next;
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The packet that is next is here. */
  get hasNext(): boolean {
    return this.#waiting.has(this.#next);
  }

  /** Everything was taken, the last packet included. */
  get isComplete(): boolean {
    return this.#next > this.#lastIndex;
  }

  /** Keeps a packet. Throws `stream/bad-value` for an index that cannot be, `stream/limit` when too much waits. */
  add(packet: StatePacket): void {
    const { index } = packet;
    this.#checkIndex(packet);
    if (packet.isConfig) this.#lastIndex = index;
    this.#waiting.set(index, packet);
    this.#bytes += packet.bytes.length;
    this.#highest = Math.max(this.#highest, index);
    const holes = this.#highest + 1 - this.#next - this.#waiting.size;
    this.#atMost(packet, 'STATE_PACKET_HOLES', LIMITS.STATE_PACKET_HOLES, holes);
    // What is next is on its way to the device; as in QEMU only what waits behind a hole counts.
    if (!this.hasNext) {
      this.#atMost(packet, 'x-migration-max-queued-buffers-size', this.#maximumBytes, this.#bytes);
    }
  }

  /** The packet that is next; undefined when it is not here. */
  take(): StatePacket | undefined {
    const packet = this.#waiting.get(this.#next);
    if (packet === undefined) return undefined;
    this.#waiting.delete(this.#next);
    this.#next += 1;
    this.#bytes -= packet.bytes.length;
    return packet;
  }

  #checkIndex(packet: StatePacket): void {
    const { index } = packet;
    this.#atMost(packet, 'STATE_PACKET_INDEX', LIMITS.STATE_PACKET_INDEX, index);
    const bad = (expected: string, actual: string) =>
      new HarnessError('stream/bad-value', { ...this.#place(packet), expected, actual });
    if (index < this.#next || this.#waiting.has(index)) {
      throw bad('an index that has not come before', `${index} again`);
    }
    if (Number.isFinite(this.#lastIndex) && packet.isConfig) {
      throw bad(`one last packet, which was ${this.#lastIndex}`, `another, ${index}`);
    }
    if (index > this.#lastIndex) throw bad(`no index behind that of the last packet, ${this.#lastIndex}`, `${index}`);
    if (packet.isConfig && index < this.#highest) {
      throw bad(`a last packet behind all others, of which one was ${this.#highest}`, `${index}`);
    }
  }

  #atMost(packet: StatePacket, limit: string, maximum: number, actual: number): void {
    if (actual > maximum) throw new HarnessError('stream/limit', { ...this.#place(packet), limit, maximum, actual });
  }

  #place({ place: { at, section } }: StatePacket) {
    return { at: at + 4, section, field: `index of the state of '${this.#device}'` };
  }
}
