/**
 * The interval timer of PCs, an Intel 8254 at 1.193182 MHz of virtual time (registers.ts names its data sheet). The output of
 * counter 0 is the interrupt; gates and outputs are pins. The state is that of QEMU's `isa-pit`.
 */

import { type Device, type DeviceContext, type DeviceTimer, defineDevice, type RegisterAccess } from '../../device.ts';
import { Channel } from './channel.ts';
import { CONFORMANCE } from './conformance.ts';
import { CHANNELS, CONTROL, PORT, READ_BACK } from './registers.ts';
import { I8254_STATE, type I8254State } from './state.ts';

/** Changes of the output that are made up for one by one after a delay; of more, one edge remains. */
const MAX_LATE_CHANGES = 64;

class IntervalTimer implements Device<I8254State> {
  readonly #context: DeviceContext;
  readonly #timer: DeviceTimer;
  #channels: readonly Channel[];
  /** Of counter 0; −1 when none will come. */
  #nextTransitionNs = -1n;
  #irqDisabled = 0;

  constructor(context: DeviceContext) {
    this.#context = context;
    this.#timer = context.timer(() => this.#catchUp());
    this.#channels = powerOn(context.nowNs());
    this.#update();
  }

  read({ region, offset, size }: RegisterAccess): number {
    if (region === 'pins') return this.#outputs();
    let value = 0;
    for (let byte = 0; byte < size; byte += 1) value += this.#readByte(offset + byte) * 2 ** (8 * byte);
    return value;
  }

  write({ region, offset, size }: RegisterAccess, value: number): void {
    const nowNs = this.#context.nowNs();
    if (region === 'pins') {
      for (const [nth, channel] of this.#channels.entries()) channel.setGate(((value >> nth) & 1) !== 0, nowNs);
    } else {
      for (let byte = 0; byte < size; byte += 1) this.#writeByte(offset + byte, (value >>> (8 * byte)) & 0xff, nowNs);
    }
    this.#update();
  }

  save(): I8254State {
    const channels = this.#channels.map((channel, nth) => channel.save(nth === 0 ? this.#nextTransitionNs : 0n));
    return { irqDisabled: this.#irqDisabled, channels, nextTransitionNs: channels[0]!.nextTransitionNs }; // three of them
  }

  load({ irqDisabled, channels, nextTransitionNs }: I8254State): void {
    this.#irqDisabled = irqDisabled;
    for (const [nth, channel] of this.#channels.entries()) channel.load(channels[nth]!); // as many
    this.#setIrq(this.#context.nowNs());
    this.#arm(this.#channels[0]!.isHeld ? -1n : nextTransitionNs);
  }

  start(): void {
    // QEMU's transitions in modes 2, 4 and 5 are a clock later than the data sheet's: with them the first would be missed.
    if (this.#nextTransitionNs > this.#context.nowNs()) this.#update();
  }

  reset(): void {
    this.#channels = powerOn(this.#context.nowNs());
    this.#irqDisabled = 0;
    this.#update();
  }

  #readByte(offset: number): number {
    // The control word cannot be read.
    return this.#channels[offset]?.read(this.#context.nowNs()) ?? 0;
  }

  #writeByte(offset: number, value: number, nowNs: bigint): void {
    const counter = value >> CONTROL.COUNTER_SHIFT;
    if (offset !== PORT.CONTROL) this.#channels[offset]?.write(value, nowNs);
    else if (counter === CONTROL.READ_BACK) this.#readBack(value, nowNs);
    else this.#channels[counter]?.control(value, nowNs);
  }

  #readBack(command: number, nowNs: bigint): void {
    for (const [nth, channel] of this.#channels.entries()) {
      if ((command & (READ_BACK.COUNTER0 << nth)) === 0) continue;
      if ((command & READ_BACK.NO_COUNT) === 0) channel.latchCount(nowNs);
      if ((command & READ_BACK.NO_STATUS) === 0) channel.latchStatus(nowNs);
    }
  }

  #outputs(): number {
    const nowNs = this.#context.nowNs();
    return this.#channels.reduce((bits, channel, nth) => bits | (Number(channel.output(nowNs)) << nth), 0);
  }

  /** After a change of a counter. */
  #update(): void {
    const nowNs = this.#context.nowNs();
    this.#setIrq(nowNs);
    this.#arm(this.#channels[0]!.nextTransitionNs(nowNs)); // three of them
  }

  /** Makes the changes of OUT that are due, one by one: a pulse may be shorter than timers are exact. */
  #catchUp(): void {
    const nowNs = this.#context.nowNs();
    const channel = this.#channels[0]!; // three of them
    let atNs = this.#nextTransitionNs;
    for (let changes = 0; atNs >= 0n && atNs <= nowNs && changes < MAX_LATE_CHANGES; changes += 1) {
      this.#setIrq(atNs);
      atNs = channel.nextTransitionNs(atNs);
    }
    if (atNs >= 0n && atNs <= nowNs) this.#update();
    else this.#arm(atNs);
  }

  #setIrq(atNs: bigint): void {
    this.#context.irq().set(this.#irqDisabled === 0 && this.#channels[0]!.output(atNs)); // three of them
  }

  #arm(atNs: bigint): void {
    this.#nextTransitionNs = atNs;
    if (atNs < 0n) this.#timer.cancel();
    else this.#timer.arm(atNs);
  }
}

/** Counters 0 and 1 have their gates tied high, that of counter 2 is the speaker's. */
function powerOn(nowNs: bigint): readonly Channel[] {
  return Array.from({ length: CHANNELS }, (_, nth) => new Channel(nth !== 2, nowNs));
}

export default defineDevice({
  name: 'i8254',
  qemuType: 'isa-pit',
  summary: "the PC's interval timer, an Intel 8254",
  properties: {},
  state: I8254_STATE,
  regions: { registers: { size: 4, bus: 'io' }, pins: { size: 1, bus: 'io' } },
  conformance: CONFORMANCE,
  create: (context) => new IntervalTimer(context),
});
