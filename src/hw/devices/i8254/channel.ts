/**
 * One counter of the timer: what its count and its output are at a moment, computed from when it was loaded. Nothing here
 * happens by itself.
 */

import { ACCESS, CONTROL, FREQUENCY, STATUS } from './registers.ts';
import type { ChannelState } from './state.ts';

const NS_PER_SECOND = 1_000_000_000n;
/** As a load time: no count since the control word, or none triggered. As a transition: none will come. */
const NEVER = -1n;
const BINARY_COUNTS = 0x1_0000;
const BCD_COUNTS = 10_000;
/** Modes that count only while the gate is high; in 1 and 5 its rising edge starts. */
const GATED: readonly number[] = [0, 2, 3, 4];

/** See the header; times are virtual (ns). */
export class Channel {
  #state: { -readonly [K in keyof ChannelState]: ChannelState[K] };

  /** At power-on: a square wave of the longest period, which PC firmware relies on. */
  constructor(gate: boolean, nowNs: bigint) {
    this.#state = {
      count: BINARY_COUNTS,
      latchedCount: 0,
      countLatched: 0,
      statusLatched: 0,
      status: 0,
      readState: 0,
      writeState: 0,
      writeLatch: 0,
      access: 0,
      mode: 3,
      bcd: 0,
      gate: gate ? 1 : 0,
      countLoadNs: nowNs,
      nextTransitionNs: 0n,
    };
  }

  /** The state; `nextTransitionNs` is the owner's, but that a counter that is held keeps the time of that there. */
  save(nextTransitionNs: bigint): ChannelState {
    return { ...this.#state, nextTransitionNs: this.isHeld ? this.#state.nextTransitionNs : nextTransitionNs };
  }

  load(state: ChannelState): void {
    this.#state = { ...state };
  }

  /** Whether the gate keeps it from counting. */
  get isHeld(): boolean {
    return this.#state.gate === 0 && GATED.includes(this.#mode);
  }

  /** A control word for this counter. */
  control(word: number, nowNs: bigint): void {
    const state = this.#state;
    const access = (word >> CONTROL.ACCESS_SHIFT) & CONTROL.ACCESS;
    if (access === ACCESS.LATCH) {
      this.latchCount(nowNs);
      return;
    }
    Object.assign(state, { access, readState: access, writeState: access });
    state.mode = (word >> CONTROL.MODE_SHIFT) & CONTROL.MODE;
    state.bcd = word & CONTROL.BCD;
    state.countLoadNs = NEVER;
  }

  /** Keeps the count for the next read; one that is kept already stays. */
  latchCount(nowNs: bigint): void {
    const state = this.#state;
    if (state.countLatched !== 0) return;
    state.latchedCount = this.#value(nowNs);
    // Nothing to a counter that has never had a control word, as in QEMU.
    state.countLatched = state.access;
  }

  /** Keeps the status for the next read. */
  latchStatus(nowNs: bigint): void {
    const state = this.#state;
    if (state.statusLatched !== 0) return;
    const { access, mode, bcd } = state;
    const control = (access << CONTROL.ACCESS_SHIFT) | (mode << CONTROL.MODE_SHIFT) | bcd;
    const isNull = state.countLoadNs === NEVER;
    state.status = (this.output(nowNs) ? STATUS.OUT : 0) | (isNull ? STATUS.NULL_COUNT : 0) | control;
    state.statusLatched = 1;
  }

  /** A byte as the guest reads it. */
  read(nowNs: bigint): number {
    const state = this.#state;
    if (state.statusLatched !== 0) {
      state.statusLatched = 0;
      return state.status;
    }
    if (state.countLatched !== 0) {
      const { latchedCount, countLatched } = state;
      state.countLatched = countLatched === ACCESS.BOTH ? ACCESS.HIGH : 0;
      return countLatched === ACCESS.HIGH ? latchedCount >> 8 : latchedCount & 0xff;
    }
    const value = this.#value(nowNs);
    const { readState } = state;
    if (readState === ACCESS.BOTH) state.readState = ACCESS.BOTH_HIGH;
    if (readState === ACCESS.BOTH_HIGH) state.readState = ACCESS.BOTH;
    return readState === ACCESS.HIGH || readState === ACCESS.BOTH_HIGH ? value >> 8 : value & 0xff;
  }

  /** A byte of a count. */
  write(byte: number, nowNs: bigint): void {
    const state = this.#state;
    switch (state.writeState) {
      case ACCESS.HIGH:
        this.#start(byte << 8, nowNs);
        break;
      case ACCESS.BOTH:
        state.writeLatch = byte;
        state.writeState = ACCESS.BOTH_HIGH;
        // Half a count stops mode 0.
        if (this.#mode === 0) state.countLoadNs = NEVER;
        break;
      case ACCESS.BOTH_HIGH:
        state.writeState = ACCESS.BOTH;
        this.#start(state.writeLatch | (byte << 8), nowNs);
        break;
      default:
        this.#start(byte, nowNs);
    }
  }

  /** The gate's level. */
  setGate(gate: boolean, nowNs: bigint): void {
    const state = this.#state;
    if ((state.gate !== 0) === gate) return;
    const heldNs = this.#heldNs();
    state.gate = gate ? 1 : 0;
    if (!gate) {
      if (this.isHeld) state.nextTransitionNs = nowNs;
      return;
    }
    const isCounting = state.countLoadNs !== NEVER;
    if (this.#mode === 1 || this.#mode === 5) state.countLoadNs = nowNs;
    else if (isCounting && (this.#mode === 2 || this.#mode === 3)) state.countLoadNs = nowNs;
    else if (isCounting) state.countLoadNs += nowNs - heldNs;
    state.nextTransitionNs = 0n;
  }

  /** The level of OUT. */
  output(nowNs: bigint): boolean {
    const clocks = this.#clocks(nowNs);
    if (clocks === undefined) return this.#mode !== 0;
    const count = this.#counts;
    switch (this.#mode) {
      case 0:
      case 1:
        return clocks >= count;
      case 2:
        return this.isHeld || clocks % count !== count - 1;
      case 3:
        return this.isHeld || clocks % count < Math.ceil(count / 2);
      default:
        return clocks !== count;
    }
  }

  /** When OUT changes next; −1 if it stays as it is. */
  nextTransitionNs(nowNs: bigint): bigint {
    const clocks = this.#clocks(nowNs);
    const next = clocks === undefined || this.isHeld ? undefined : this.#nextClock(clocks);
    if (next === undefined) return NEVER;
    // Rounded up: at that time the clock has come.
    return this.#state.countLoadNs + (BigInt(next) * NS_PER_SECOND + FREQUENCY - 1n) / FREQUENCY;
  }

  /** The third bit of modes 2 and 3 is not looked at. */
  get #mode(): number {
    const { mode } = this.#state;
    return mode > 5 ? mode - 4 : mode;
  }

  /** Clocks of the count that was written. */
  get #counts(): number {
    const { bcd, count } = this.#state;
    if (bcd === 0) return count;
    return count === BINARY_COUNTS ? BCD_COUNTS : fromBcd(count);
  }

  #nextClock(clocks: number): number | undefined {
    const count = this.#counts;
    const place = clocks % count;
    const base = clocks - place;
    switch (this.#mode) {
      case 0:
      case 1:
        return clocks < count ? count : undefined;
      case 2:
      case 3: {
        // The data sheet allows no count of 1.
        if (count < 2) return undefined;
        const half = this.#mode === 2 ? count - 1 : Math.ceil(count / 2);
        return base + (place < half ? half : count);
      }
      default:
        if (clocks < count) return count;
        return clocks === count ? count + 1 : undefined;
    }
  }

  #start(value: number, nowNs: bigint): void {
    const state = this.#state;
    state.count = value === 0 ? BINARY_COUNTS : value;
    if (this.#mode === 1 || this.#mode === 5) return; // the gate starts them
    state.countLoadNs = nowNs;
    if (this.isHeld) state.nextTransitionNs = nowNs;
  }

  /** Clocks since it began to count; undefined when it did not. */
  #clocks(nowNs: bigint): number | undefined {
    const { countLoadNs } = this.#state;
    if (countLoadNs === NEVER) return undefined;
    const untilNs = this.isHeld ? this.#heldNs() : nowNs;
    return untilNs <= countLoadNs ? 0 : Number(((untilNs - countLoadNs) * FREQUENCY) / NS_PER_SECOND);
  }

  /** When the gate fell, of a counter that is held. */
  #heldNs(): bigint {
    const { nextTransitionNs, countLoadNs } = this.#state;
    return nextTransitionNs > countLoadNs ? nextTransitionNs : countLoadNs;
  }

  /** The counting element as it reads. */
  #value(nowNs: bigint): number {
    const { count: written, bcd } = this.#state;
    const clocks = this.#clocks(nowNs);
    if (clocks === undefined || clocks === 0) return written & 0xffff;
    const all = bcd === 0 ? BINARY_COUNTS : BCD_COUNTS;
    const left = this.#left(clocks);
    const value = ((left % all) + all) % all;
    return bcd === 0 ? value : toBcd(value);
  }

  #left(clocks: number): number {
    const count = this.#counts;
    const place = clocks % count;
    switch (this.#mode) {
      case 2:
        return count - place;
      case 3: {
        // Down by two, twice in a period; an odd count is made even when it is loaded.
        const half = Math.ceil(count / 2);
        return count - (count % 2) - 2 * (place < half ? place : place - half);
      }
      default:
        return count - clocks;
    }
  }
}

function fromBcd(digits: number): number {
  return (digits >> 12) * 1000 + ((digits >> 8) & 15) * 100 + ((digits >> 4) & 15) * 10 + (digits & 15);
}

function toBcd(value: number): number {
  const digit = (of: number) => Math.floor(value / of) % 10;
  return (digit(1000) << 12) | (digit(100) << 8) | (digit(10) << 4) | digit(1);
}
