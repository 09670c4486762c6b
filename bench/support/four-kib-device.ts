/** A device that is nothing but 4 KiB of state, for measuring what a device costs without doing anything. */

import { type Device, defineDevice, field, type StateOf, vmstate } from '../../src/hw/device.ts';

const STATE_BYTES = 4096;
const STATE = vmstate({ name: 'four-kib', version: 1, fields: { bytes: field.buffer(STATE_BYTES) } });
type State = StateOf<typeof STATE>;

class FourKibDevice implements Device<State> {
  #bytes: Uint8Array = new Uint8Array(STATE_BYTES).fill(1);

  read(): number {
    return this.#bytes[0] ?? 0;
  }

  write(_access: object, value: number): void {
    this.#bytes[0] = value;
  }

  save(): State {
    return { bytes: this.#bytes };
  }

  load({ bytes }: State): void {
    this.#bytes = bytes.slice();
  }

  reset(): void {
    this.#bytes = new Uint8Array(STATE_BYTES);
  }
}

export default defineDevice({
  name: 'four-kib',
  summary: '4 KiB of state and no behaviour, for benchmarks',
  properties: {},
  state: STATE,
  regions: { registers: { size: 1, bus: 'memory' } },
  create: () => new FourKibDevice(),
});
