/**
 * A split virtqueue in guest RAM, device side (virtio 1.2, §2.7): takes chains of buffers from the available ring, gives
 * them back through the used ring. No indirect descriptors, no event indexes. What the guest may have got wrong is a
 * `BrokenQueue`.
 */

import type { DeviceRam } from '../../device.ts';

const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR = { NEXT: 1, WRITE: 2 } as const;
const NO_INTERRUPT = 1;
const INDEX_MASK = 0xffff;

/** Where a queue is and how far it has got. */
export interface QueueState {
  /** Number of descriptors, a power of two. */
  readonly size: number;
  readonly ready: boolean;
  /** Guest addresses of the descriptor table, the available ring and the used ring. */
  readonly descriptors: bigint;
  readonly driver: bigint;
  readonly device: bigint;
  /** Indexes as the rings count, modulo 2¹⁶: what was taken so far, what was given back. */
  readonly nextAvailable: number;
  readonly nextUsed: number;
}

/** A part of guest RAM. */
export interface Buffer {
  readonly address: number;
  readonly length: number;
}

/** One request's buffers, in order. */
export interface Chain {
  /** Its first descriptor, which names it. */
  readonly head: number;
  /** What the device reads, then what it writes. */
  readonly readable: readonly Buffer[];
  readonly writable: readonly Buffer[];
}

/** The guest's rings make no sense; the device needs a reset. */
export class BrokenQueue extends Error {
  override readonly name = 'BrokenQueue';
}

/** Takes the next chain's head from the available ring; undefined when there is none. */
export function takeAvailable(ram: DeviceRam, queue: QueueState): number | undefined {
  const available = u16(ram, queue.driver + 2n);
  const waiting = (available - queue.nextAvailable) & INDEX_MASK;
  if (waiting === 0) return undefined;
  if (waiting > queue.size) throw new BrokenQueue(`${waiting} chains are available in a queue of ${queue.size}`);
  const slot = queue.nextAvailable & (queue.size - 1);
  const head = u16(ram, queue.driver + 4n + BigInt(2 * slot));
  if (head >= queue.size) throw new BrokenQueue(`chain ${head} of a queue of ${queue.size}`);
  return head;
}

/** Follows the chain that begins at `head`. */
export function readChain(ram: DeviceRam, queue: QueueState, head: number): Chain {
  const readable: Buffer[] = [];
  const writable: Buffer[] = [];
  for (let index = head, count = 0; ; count += 1) {
    if (index >= queue.size || count >= queue.size)
      throw new BrokenQueue(`chain ${head} leaves its table or is endless`);
    const bytes = read(ram, queue.descriptors + BigInt(index * DESCRIPTOR_BYTES), DESCRIPTOR_BYTES);
    const length = bytes.getUint32(8, true);
    const flags = bytes.getUint16(12, true);
    if ((flags & ~(DESCRIPTOR.NEXT | DESCRIPTOR.WRITE)) !== 0)
      throw new BrokenQueue(`descriptor ${index} has flags ${flags}`);
    const buffer = { address: inRam(ram, bytes.getBigUint64(0, true), length), length };
    if ((flags & DESCRIPTOR.WRITE) !== 0) writable.push(buffer);
    else if (writable.length > 0) throw new BrokenQueue(`chain ${head} has a readable buffer behind a writable one`);
    else readable.push(buffer);
    if ((flags & DESCRIPTOR.NEXT) === 0) return { head, readable, writable };
    index = bytes.getUint16(14, true);
  }
}

/** Gives a chain back: `written` bytes of its writable buffers are filled. Says whether the guest wants an interrupt. */
export function giveBack(ram: DeviceRam, queue: QueueState, used: { head: number; written: number }): boolean {
  const slot = queue.nextUsed & (queue.size - 1);
  const element = new Uint8Array(8);
  const view = new DataView(element.buffer);
  view.setUint32(0, used.head, true);
  view.setUint32(4, used.written, true);
  ram.write(inRam(ram, queue.device + 4n + BigInt(8 * slot), 8), element);
  const index = Uint8Array.of((queue.nextUsed + 1) & 0xff, ((queue.nextUsed + 1) >>> 8) & 0xff);
  ram.write(inRam(ram, queue.device + 2n, 2), index); // last: from here on the guest looks at the element
  return (u16(ram, queue.driver) & NO_INTERRUPT) === 0;
}

/** The index after this one. */
export function nextIndex(index: number): number {
  return (index + 1) & INDEX_MASK;
}

function u16(ram: DeviceRam, address: bigint): number {
  return read(ram, address, 2).getUint16(0, true);
}

function read(ram: DeviceRam, address: bigint, length: number): DataView {
  return new DataView(ram.read(inRam(ram, address, length), length).buffer);
}

function inRam(ram: DeviceRam, address: bigint, length: number): number {
  if (address + BigInt(length) <= BigInt(ram.length)) return Number(address);
  throw new BrokenQueue(`${length} bytes at guest address 0x${address.toString(16)} are not in RAM`);
}
