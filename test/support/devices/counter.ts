/**
 * A small device for tests of the machinery around devices: a counter with a tick on the virtual clock, DMA and an interrupt,
 * and a register that makes any handler misbehave.
 *
 *   0 COUNT   read, write: the counter
 *   4 PERIOD  write: ticks every so many milliseconds, 0 = never; each tick adds one and pulses the interrupt
 *   8 ADDRESS write: stores COUNT there in guest memory
 */

import {
  count,
  type Device,
  type DeviceContext,
  type DeviceTimer,
  defineDevice,
  field,
  type RegisterAccess,
  type StateOf,
  vmstate,
} from '../../../src/hw/device.ts';
import { FAULTS, misbehaving } from './misbehave.ts';

const STATE = vmstate({
  name: 'counter',
  version: 1,
  fields: { count: field.u32, periodMs: field.u32, expiresNs: field.timer },
});
type CounterState = StateOf<typeof STATE>;

const PROPERTIES = {
  count: count(0, 'what it counts from'),
  ...FAULTS,
};

class Counter implements Device<CounterState> {
  readonly #context: DeviceContext<typeof PROPERTIES>;
  readonly #timer: DeviceTimer;
  readonly #maybe: (call: string) => Promise<never> | undefined;
  #count: number;
  #periodMs = 0;

  constructor(context: DeviceContext<typeof PROPERTIES>) {
    this.#context = context;
    this.#maybe = misbehaving(context.properties);
    this.#count = context.properties.count;
    this.#timer = context.timer(() => this.#tick());
    this.#maybe('create');
  }

  async read({ offset }: RegisterAccess): Promise<number> {
    await this.#maybe('read');
    return offset === 0 ? this.#count : 0;
  }

  write({ offset }: RegisterAccess, value: number): void {
    this.#maybe('write');
    if (offset === 0) this.#count = value;
    else if (offset === 4) this.#setPeriod(value);
    else this.#context.ram.write(value, new Uint8Array(new Uint32Array([this.#count]).buffer));
  }

  async save(): Promise<CounterState> {
    await this.#maybe('save');
    return { count: this.#count, periodMs: this.#periodMs, expiresNs: this.#timer.expiresNs };
  }

  load(state: CounterState): void {
    this.#maybe('load');
    this.#count = state.count;
    this.#periodMs = state.periodMs;
    if (state.expiresNs === undefined) this.#timer.cancel();
    else this.#timer.arm(state.expiresNs);
  }

  reset(): void {
    this.#maybe('reset');
    this.#count = this.#context.properties.count;
    this.#periodMs = 0;
  }

  start(): void {
    this.#maybe('start');
  }

  stop(): void {
    this.#maybe('stop');
  }

  close(): void {
    this.#maybe('close');
  }

  #setPeriod(periodMs: number): void {
    this.#periodMs = periodMs;
    if (periodMs === 0) this.#timer.cancel();
    else this.#timer.arm(this.#context.nowNs() + BigInt(periodMs) * 1_000_000n);
  }

  #tick(): void {
    this.#maybe('timer');
    this.#count += 1;
    this.#context.irq().pulse();
    this.#setPeriod(this.#periodMs);
  }
}

const at = (offset: number): RegisterAccess => ({ region: 'registers', offset, size: 4 });
const [COUNT, PERIOD, ADDRESS] = [at(0), at(4), at(8)] as const;

export default defineDevice({
  name: 'counter',
  summary: 'counts, for tests',
  properties: PROPERTIES,
  state: STATE,
  regions: { registers: { size: 12, bus: 'memory' } },
  conformance: {
    registers: [
      { name: 'COUNT', ...COUNT },
      { name: 'PERIOD', ...PERIOD },
      { name: 'ADDRESS', ...ADDRESS, poke: 0x1000, stateless: 'stores at once' },
    ],
    trace: [
      { write: COUNT, value: 7 },
      { write: PERIOD, value: 10 },
      { waitNs: 4_000_000n },
      { waitNs: 21_000_000n },
      { read: COUNT },
      { write: ADDRESS, value: 0x1ffe },
      { reset: true },
      { read: COUNT },
    ],
  },
  create: (context) => new Counter(context),
});
