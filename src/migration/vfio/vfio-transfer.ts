/**
 * Sends the last data of one VFIO device, and then its ordinary state, as packets over multifd channels (spec/vfio.md §2.6),
 * at the same time as RAM and other devices. What the device reads goes from its thread to a channel's without a copy.
 */

import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import { HarnessError } from '../../base/errors.ts';
import { VFIO_DATA_BYTES, VFIO_FLAG, VFIO_PACKET } from '../../wire/vfio.ts';
import { ByteWriter } from '../../wire/writer.ts';
import type { LedgerRecorder } from '../ledger.ts';
import type { VfioPort } from './vfio-port.ts';

/** Reads that the device is asked for at once, so that it need not wait for a channel after each. */
const READS_AHEAD = 4;

/** Multifd channels as devices use them. Slots are buffers of VFIO_DATA_BYTES; each device has its own. */
export interface StateChannels {
  /** A free slot of this device, with its memory; waits until there is one. */
  claimSlot(device: number): Promise<{ slot: number; data: SharedArrayBuffer }>;
  /** Sends a slot on the next channel with room; waits until there is one. */
  sendState(
    slot: number,
    packet: { idstr: string; instanceId: number; index: number; isConfig: boolean; byteLength: number },
  ): Promise<void>;
  /** Gives back a slot that was not sent. */
  releaseSlot(slot: number): void;
}

interface Reading {
  readonly slot: number;
  /** Bytes in the slot; -1 at the end. */
  readonly filled: Promise<number>;
}

/** One device's transfer. */
export class VfioTransfer {
  readonly #options: {
    readonly id: string;
    readonly idstr: string;
    readonly instanceId: number;
    readonly port: VfioPort;
    readonly device: number;
    readonly channels: StateChannels;
    readonly ledger: LedgerRecorder;
    readonly clock: Clock;
    readonly onRead: (bytes: number, tookMs: number) => void;
  };
  #index = 0;
  #transferred = 0;

  constructor(options: {
    id: string;
    idstr: string;
    instanceId: number;
    port: VfioPort;
    /** Its number among the devices that have slots. */
    device: number;
    channels: StateChannels;
    ledger: LedgerRecorder;
    clock: Clock;
    /** Told of each read, for the rate. */
    onRead: (bytes: number, tookMs: number) => void;
  }) {
    this.#options = options;
  }

  /** Bytes sent so far, the header of each packet's state included, as QEMU counts them. */
  get transferred(): number {
    return this.#transferred;
  }

  /** Sends everything; the guest stands still. `config` is the device's ordinary state. Throws what the device or a channel threw. */
  async send(config: Promise<Uint8Array>): Promise<void> {
    const { id, port, ledger, clock } = this.#options;
    const startMs = clock.nowMs();
    if ((await port.state()) !== 'stop-copy') await port.setState('stop-copy', 'stop');
    ledger.add(id, 'save', startMs, clock.nowMs());
    const readings: Reading[] = [];
    try {
      await this.#sendData(readings);
    } finally {
      // Past the end there is nothing, but the answers are to come before the next request.
      await Promise.allSettled(readings.map(({ filled }) => filled));
    }
    await this.#sendConfig(await config);
    await port.setState('stop', 'stop');
  }

  async #sendData(readings: Reading[]): Promise<void> {
    for (;;) {
      while (readings.length < READS_AHEAD) readings.push(await this.#ask());
      const { slot, filled } = readings.shift()!;
      const byteLength = await filled;
      if (byteLength < 0) {
        this.#options.channels.releaseSlot(slot);
        return;
      }
      await this.#sendSlot(slot, byteLength, false);
    }
  }

  async #ask(): Promise<Reading> {
    const { slot, data } = await this.#options.channels.claimSlot(this.#options.device);
    const filled = this.#fill(data);
    filled.catch(() => undefined); // looked at in its turn, unless something fails before
    return { slot, filled };
  }

  async #fill(data: SharedArrayBuffer): Promise<number> {
    const { id, port, ledger, clock, onRead } = this.#options;
    const { bytes, status, tookMs } = await port.read(VFIO_DATA_BYTES, { into: data });
    assert(bytes.length <= VFIO_DATA_BYTES, 'a device gives no more than it is asked for');
    const endMs = clock.nowMs();
    onRead(bytes.length, tookMs);
    ledger.add(id, 'save', endMs - tookMs, endMs);
    return status === 'end' ? -1 : bytes.length;
  }

  async #sendConfig(config: Uint8Array): Promise<void> {
    const record = new ByteWriter().u64(VFIO_FLAG.DEV_CONFIG_STATE).bytes(config).u64(VFIO_FLAG.END_OF_STATE).take();
    const { id: device, channels } = this.#options;
    if (record.length > VFIO_DATA_BYTES) {
      const why = `its ordinary state has ${config.length} bytes, and a packet takes ${VFIO_DATA_BYTES}`;
      throw new HarnessError('vfio/transfer', { device, why });
    }
    const { slot, data } = await channels.claimSlot(this.#options.device);
    new Uint8Array(data).set(record);
    await this.#sendSlot(slot, record.length, true);
  }

  async #sendSlot(slot: number, byteLength: number, isConfig: boolean): Promise<void> {
    const { id, idstr, instanceId, channels, ledger, clock } = this.#options;
    const startMs = clock.nowMs();
    await channels.sendState(slot, { idstr, instanceId, index: this.#index, isConfig, byteLength });
    ledger.add(id, 'queue', startMs, clock.nowMs());
    this.#index += 1;
    this.#transferred += VFIO_PACKET.size + byteLength;
  }
}
