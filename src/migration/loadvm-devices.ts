/**
 * Devices' sections on the destination: cuts each state out of the stream and hands it to its device, which loads in its own
 * thread while the stream goes on. Devices of a lower priority wait for those above (spec/wire.md §9.7).
 */

import type { Clock } from '../base/clock.ts';
import { type DestinationDevice, readState } from './device-sections.ts';
import type { LedgerRecorder } from './ledger.ts';
import type { StreamReader } from './transport/stream-reader.ts';

/** Loads the devices of one machine. */
export class DeviceLoader {
  readonly #devices: readonly DestinationDevice[];
  readonly #seen = new Set<DestinationDevice>();
  #loading: Promise<void>[] = [];
  #priority = Number.POSITIVE_INFINITY;

  readonly #ledger: LedgerRecorder;
  readonly #clock: Clock;

  constructor(devices: readonly DestinationDevice[], ledger: LedgerRecorder, clock: Clock) {
    this.#devices = devices;
    this.#ledger = ledger;
    this.#clock = clock;
  }

  /** The device that owns a section. */
  find(idstr: string, instanceId: number): DestinationDevice | undefined {
    return this.#devices.find((device) => device.idstr === idstr && device.instanceId === instanceId);
  }

  /** Their sections, for errors. */
  names(): string[] {
    return this.#devices.map((device) => `'${device.idstr}' instance ${device.instanceId}`);
  }

  /** Reads the payload of a device's FULL section and starts its load. Throws for a second section of the same device. */
  async load(reader: StreamReader, device: DestinationDevice, version: number): Promise<void> {
    const { section, offset } = reader;
    if (this.#seen.has(device)) {
      const expected = `one section of device '${device.id}'`;
      throw reader.bad({ at: offset, field: 'section', expected, actual: 'a second' });
    }
    this.#seen.add(device);
    if (device.priority < this.#priority) await this.#settle();
    this.#priority = device.priority;
    const place = { version, offset, section };
    const bytes = await readState(reader, device, place);
    const arrivedMs = this.#clock.nowMs();
    const loading = device.load({ ...place, bytes }).then(() => {
      this.#ledger.add(device.id, 'load', arrivedMs, this.#clock.nowMs());
    });
    loading.catch(() => undefined); // reported by #settle
    this.#loading.push(loading);
  }

  /** After EOF: waits for every device. Throws the first one's error, or for a device that got no state. */
  async finish(reader: StreamReader): Promise<void> {
    await this.#settle();
    const missing = this.#devices.filter((device) => !this.#seen.has(device));
    if (missing.length === 0) return;
    throw reader.bad({
      at: reader.offset,
      field: 'sections of devices',
      expected: missing.map((device) => `'${device.idstr}' instance ${device.instanceId}`).join(', '),
      actual: 'EOF',
      hint: `this machine has ${missing.map((device) => `device '${device.id}'`).join(', ')}, which the source has not`,
    });
  }

  async #settle(): Promise<void> {
    const loading = this.#loading;
    this.#loading = [];
    await Promise.all(loading);
  }
}
