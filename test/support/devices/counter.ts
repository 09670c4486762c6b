/**
 * A small device for tests of the machinery around devices: a counter with a tick on the virtual clock, DMA and an interrupt,
 * and a register that makes any handler misbehave.
 *
 *   0 COUNT   read, write: the counter
 *   4 PERIOD  write: ticks every so many milliseconds, 0 = never; each tick adds one and pulses the interrupt
 *   8 ADDRESS write: stores COUNT there in guest memory
 */

import { existsSync, writeFileSync } from 'node:fs';
import {
  choice,
  count,
  type Device,
  type DeviceContext,
  type DeviceTimer,
  defineDevice,
  field,
  type RegisterAccess,
  type StateOf,
  text,
  vmstate,
} from '../../../src/hw/device.ts';

const STATE = vmstate({
  name: 'counter',
  version: 1,
  fields: { count: field.u32, periodMs: field.u32, expiresNs: field.timer },
});
type CounterState = StateOf<typeof STATE>;

const PROPERTIES = {
  count: count(0, 'what it counts from'),
  fault: text('', 'the handler that misbehaves; several are joined with +'),
  how: choice(['throw', 'hang', 'spin', 'never', 'reject', 'exit'], 'throw', 'what it does then'),
  after: count(0, 'how many calls of each handler go well first'),
  once: text('', 'a path: it makes PATH-HANDLER when the handler misbehaves, which where that file is it does not'),
};

class Counter implements Device<CounterState> {
  readonly #context: DeviceContext<typeof PROPERTIES>;
  readonly #timer: DeviceTimer;
  #count: number;
  #periodMs = 0;
  readonly #calls = new Map<string, number>();

  constructor(context: DeviceContext<typeof PROPERTIES>) {
    this.#context = context;
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

  #maybe(handler: keyof Device | 'create' | 'timer'): Promise<never> | undefined {
    const { fault, how, after, once } = this.#context.properties;
    if (!fault.split('+').includes(handler)) return undefined;
    const calls = (this.#calls.get(handler) ?? 0) + 1;
    this.#calls.set(handler, calls);
    const mark = `${once}-${handler}`;
    if (calls <= after || (once !== '' && existsSync(mark))) return undefined;
    if (once !== '') writeFileSync(mark, '');
    if (how === 'throw') throw new Error(`told to fail in ${handler}`);
    if (how === 'exit') process.exit(3);
    if (how === 'never') return new Promise(() => {});
    if (how === 'reject') {
      void Promise.reject(new Error(`told to lose a promise in ${handler}`));
      return undefined;
    }
    // Hangs for good, without a processor's time or with.
    if (how === 'hang') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    for (;;);
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
