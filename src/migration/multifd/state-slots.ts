/**
 * Buffers in shared memory that device state waits in between its device, whose thread fills them, and the channel that sends
 * them as they are: nobody copies it. Each device has slots of its own, so that a slow one does not take another's.
 */

import { pinnedShare, type Segments } from '../../threads/segments.ts';
import {
  MULTIFD_FLAG,
  MULTIFD_MAGIC,
  MULTIFD_VERSION,
  PACKET_START,
  STATE_PACKET_BYTES,
  STATE_PACKET_REST,
} from '../../wire/multifd.ts';
import { VFIO_DATA_BYTES, VFIO_PACKET, VFIO_PACKET_FLAG, VFIO_PACKET_VERSION } from '../../wire/vfio.ts';

/** Of one device: those that it fills, and those that are on their way. */
const SLOTS_PER_DEVICE = 6;
/** Everything before the state. */
const HEAD_BYTES = STATE_PACKET_BYTES + VFIO_PACKET.size;

/** What a channel's thread needs. */
export interface StateSlotsShare {
  readonly busy: SharedArrayBuffer;
  readonly heads: SharedArrayBuffer;
  readonly data: readonly SharedArrayBuffer[];
}

/** A packet's identity. */
export interface StatePacketHead {
  readonly idstr: string;
  readonly instanceId: number;
  readonly index: number;
  readonly isConfig: boolean;
  /** Of the state. */
  readonly byteLength: number;
}

/** Both ends. */
export class StateSlots {
  readonly share: StateSlotsShare;
  readonly #busy: Int32Array;
  readonly #pinned = new Map<SharedArrayBuffer, ReturnType<typeof pinnedShare>>();

  /** For so many devices, or one thread's end of another's. */
  constructor(devices: number | StateSlotsShare) {
    this.share = typeof devices === 'number' ? shareFor(devices * SLOTS_PER_DEVICE) : devices;
    this.#busy = new Int32Array(this.share.busy);
  }

  /** A slot of this device that nobody uses, which is taken with this; undefined when there is none. */
  claim(device: number): number | undefined {
    const first = device * SLOTS_PER_DEVICE;
    for (let slot = first; slot < first + SLOTS_PER_DEVICE; slot++) {
      if (Atomics.compareExchange(this.#busy, slot, 0, 1) === 0) return slot;
    }
    return undefined;
  }

  /** VFIO_DATA_BYTES to be filled. */
  data(slot: number): SharedArrayBuffer {
    return this.share.data[slot]!;
  }

  /** The slot may be used for something else. */
  release(slot: number): void {
    Atomics.store(this.#busy, slot, 0);
  }

  /** Writes what comes before the state. */
  begin(slot: number, head: StatePacketHead): void {
    const bytes = new Uint8Array(this.share.heads, slot * HEAD_BYTES, HEAD_BYTES);
    const idstr = new Uint8Array(256);
    idstr.set(Buffer.from(head.idstr, 'latin1').subarray(0, 255));
    const flags = head.isConfig ? VFIO_PACKET_FLAG.CONFIG_STATE : 0;
    bytes.set(
      PACKET_START.encode({ magic: MULTIFD_MAGIC, version: MULTIFD_VERSION, flags: MULTIFD_FLAG.DEVICE_STATE }),
    );
    const dataBytes = VFIO_PACKET.size + head.byteLength;
    bytes.set(STATE_PACKET_REST.encode({ idstr, instanceId: head.instanceId, dataBytes }), PACKET_START.size);
    bytes.set(VFIO_PACKET.encode({ version: VFIO_PACKET_VERSION, index: head.index, flags }), STATE_PACKET_BYTES);
  }

  /** The packet, as it is to be written. */
  packet(slot: number, byteLength: number, segments: Segments): Segments {
    segments.reset();
    segments.add(this.#pin(this.share.heads), slot * HEAD_BYTES, HEAD_BYTES);
    segments.add(this.#pin(this.data(slot)), 0, byteLength);
    return segments;
  }

  #pin(share: SharedArrayBuffer): ReturnType<typeof pinnedShare> {
    const pinned = this.#pinned.get(share) ?? pinnedShare(share);
    this.#pinned.set(share, pinned);
    return pinned;
  }
}

function shareFor(slots: number): StateSlotsShare {
  return {
    busy: new SharedArrayBuffer(Math.max(1, slots) * 4),
    heads: new SharedArrayBuffer(slots * HEAD_BYTES),
    data: Array.from({ length: slots }, () => new SharedArrayBuffer(VFIO_DATA_BYTES)),
  };
}
