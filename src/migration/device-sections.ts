/**
 * Device state on the stream: the FULL sections of a machine's devices, as source and destination see them. The devices run
 * in their own threads; here are their sections' identities, and the cutting of a section out of the stream, whose format
 * has no lengths (spec/wire.md §9).
 */

import { isHarnessError } from '../base/errors.ts';
import type { TransferWishes } from '../hw/vfio/vfio-properties.ts';
import type { DescribedState, ExtentStep, StatePlace } from '../hw/vmstate/schema.ts';
import type { StreamReader } from './transport/stream-reader.ts';
import type { DmaPort } from './vfio/dma-tracking.ts';
import type { VfioPort } from './vfio/vfio-port.ts';

/** What both sides know of a device's section. */
interface DeviceSection {
  /** The device's id in its machine, for errors. */
  readonly id: string;
  readonly idstr: string;
  readonly instanceId: number;
  readonly version: number;
  readonly minimumVersion: number;
  /** Higher goes first (spec/wire.md §9.7). */
  readonly priority: number;
  /** A VFIO device's; undefined counts as their presets. */
  readonly transfer?: TransferWishes;
}

/** A device of a source. */
export interface SourceDevice extends DeviceSection {
  /** Its section is a VFIO one, around the state that `save` gives. */
  readonly vfio?: VfioPort;
  /** How a VFIO device tells what it writes into guest memory. */
  readonly dma?: DmaPort;
  /** The field of its state that nothing can carry, if there is one. */
  readonly descriptorField?: string | undefined;
  /** A migration begins: `save` is to be fast when its time comes. */
  prepare(): Promise<void>;
  /** Its state; the machine is stopped. */
  save(): Promise<{ readonly bytes: Uint8Array; readonly described: DescribedState }>;
}

/** A device of a destination. */
export interface DestinationDevice extends DeviceSection {
  readonly vfio?: VfioPort;
  /** Version of its own state inside of a VFIO section, whose CONFIG record carries none. */
  readonly stateVersion: number;
  extent(version: number, place?: Omit<StatePlace, 'version'>): Generator<ExtentStep, void, Uint8Array>;
  /** For errors of a cut stream: decodes on this thread what there is. */
  decode(bytes: Uint8Array, place: StatePlace): unknown;
  /** Hands the state to the device; `bytes` move. */
  load(state: StatePlace & { readonly bytes: Uint8Array<ArrayBuffer> }): Promise<void>;
}

/** In the order of the stream: by priority, then as the machine lists them. */
export function inStreamOrder<D extends DeviceSection>(devices: readonly D[]): readonly D[] {
  return devices.toSorted((a, b) => b.priority - a.priority);
}

const FIRST_BYTES = 65_536;

/** Reads one device's state, all of it and nothing more. Throws `vmstate/…` naming the field where the stream ends. */
export async function readState(
  reader: StreamReader,
  device: DestinationDevice,
  place: StatePlace,
): Promise<Uint8Array<ArrayBuffer>> {
  const state = new GrowingBytes();
  try {
    const extent = device.extent(place.version, place);
    for (let step = extent.next(); step.done !== true; ) {
      const asked = step.value;
      step = extent.next(
        'peek' in asked ? await reader.peek(asked.peek, 'subsection') : await state.read(reader, asked.take),
      );
    }
  } catch (error) {
    // The reader knows the offset, the schema knows the field.
    if (isHarnessError(error, 'stream/truncated')) device.decode(state.all(), place);
    throw error;
  }
  return state.all();
}

/** Bytes that arrive piece by piece, in one buffer that grows with what is there, not with what was announced. */
class GrowingBytes {
  #buffer = new Uint8Array(FIRST_BYTES);
  #length = 0;

  /** Reads `count` more; returns a view of them, valid until the next read. */
  async read(reader: StreamReader, count: number): Promise<Uint8Array> {
    const start = this.#length;
    for (let left = count; left > 0; ) {
      if (reader.available === 0) await reader.need(1, 'device state');
      const step = Math.min(left, reader.available);
      this.#reserve(step);
      reader.take({ bytes: this.#buffer, address: 0 }, this.#length, step);
      this.#length += step;
      left -= step;
    }
    return this.#buffer.subarray(start, this.#length);
  }

  /** A copy of exactly what was read. */
  all(): Uint8Array<ArrayBuffer> {
    return this.#buffer.slice(0, this.#length);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#buffer.length) return;
    const larger = new Uint8Array(Math.max(this.#buffer.length * 2, this.#length + count));
    larger.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = larger;
  }
}
