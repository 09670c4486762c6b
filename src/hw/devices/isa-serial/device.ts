/**
 * A 16550A UART as PCs have it (registers.ts names its data sheet). What the guest sends leaves at once, to a file if one is
 * given; what it receives comes from loopback. The state is that of QEMU's `isa-serial`.
 */

import { closeSync, openSync, writeSync } from 'node:fs';
import {
  type Device,
  type DeviceContext,
  type DeviceTimer,
  defineDevice,
  type RegisterAccess,
  text,
} from '../../device.ts';
import { CONFORMANCE } from './conformance.ts';
import { Fifo } from './fifo.ts';
import {
  BASE_RATE,
  FCR,
  IER,
  IIR,
  LCR,
  LSR,
  MCR,
  MSR,
  REGISTER,
  TIMEOUT_CHARACTERS,
  TRIGGER_LEVELS,
} from './registers.ts';
import { SERIAL_STATE, type SerialState } from './state.ts';

const PROPERTIES = {
  file: text('', 'a file to whose end everything is written that the guest sends'),
};

/** Bits per second while the divisor is 0, as QEMU has it. */
const RATE_WITHOUT_DIVISOR = 3500;
const NS_PER_SECOND = 1_000_000_000;

/** 9600 bits per second, connected to a modem that is ready. */
const POWER_ON = {
  divisor: 12,
  rbr: 0,
  ier: 0,
  lcr: 0,
  mcr: MCR.OUT2 as number,
  lsr: LSR.HOLDING_EMPTY | LSR.TRANSMITTER_EMPTY,
  msr: MSR.DCD | MSR.DSR | MSR.CTS,
  scr: 0,
  fcr: 0,
};

class Serial implements Device<SerialState> {
  readonly #context: DeviceContext<typeof PROPERTIES>;
  readonly #timeout: DeviceTimer;
  readonly #output: number | undefined;
  readonly #received = new Fifo();
  readonly #toSend = new Fifo();
  #registers = { ...POWER_ON };
  /** Whether the transmitter's interrupt waits to be identified. */
  #thrPending = false;
  #timeoutPending = false;
  /** What the source could not get rid of; sent at the start. */
  #unsent: SerialState['uart']['unsent'];

  constructor(context: DeviceContext<typeof PROPERTIES>) {
    this.#context = context;
    this.#timeout = context.timer(() => this.#timeOut());
    const { file } = context.properties;
    this.#output = file === '' ? undefined : openSync(file, 'a');
  }

  read({ offset, size }: RegisterAccess): number {
    let value = 0;
    for (let byte = 0; byte < size; byte += 1) value += this.#readByte(offset + byte) * 2 ** (8 * byte);
    return value;
  }

  write({ offset, size }: RegisterAccess, value: number): void {
    for (let byte = 0; byte < size; byte += 1) this.#writeByte(offset + byte, (value >>> (8 * byte)) & 0xff);
  }

  save(): SerialState {
    const iir = this.#identification();
    const isIdentified = (iir & IIR.ID) === IIR.TRANSMITTER_EMPTY;
    const isEnabled = (this.#registers.ier & IER.TRANSMITTER_EMPTY) !== 0;
    const { expiresNs } = this.#timeout;
    return {
      uart: {
        ...this.#registers,
        iir,
        // Otherwise it follows from the registers.
        thrPending: isEnabled && this.#thrPending !== isIdentified ? { pending: Number(this.#thrPending) } : undefined,
        unsent: this.#unsent,
        received: this.#received.count > 0 ? { fifo: this.#received.save() } : undefined,
        toSend: this.#toSend.count > 0 ? { fifo: this.#toSend.save() } : undefined,
        timeoutTimer: expiresNs === undefined ? undefined : { expiresNs },
        timeoutPending: this.#timeoutPending ? { pending: 1 } : undefined,
      },
    };
  }

  load({ uart }: SerialState): void {
    const { iir, thrPending, unsent, received, toSend, timeoutTimer, timeoutPending, poll: _, ...registers } = uart;
    this.#registers = registers;
    this.#thrPending = thrPending === undefined ? (iir & IIR.ID) === IIR.TRANSMITTER_EMPTY : thrPending.pending !== 0;
    this.#unsent = unsent;
    this.#received.clear();
    this.#toSend.clear();
    if (received !== undefined) this.#received.load(received.fifo);
    if (toSend !== undefined) this.#toSend.load(toSend.fifo);
    this.#timeoutPending = timeoutPending !== undefined && timeoutPending.pending !== 0;
    if (timeoutTimer?.expiresNs === undefined) this.#timeout.cancel();
    else this.#timeout.arm(timeoutTimer.expiresNs);
    this.#updateIrq();
  }

  reset(): void {
    this.#registers = { ...POWER_ON };
    this.#thrPending = false;
    this.#timeoutPending = false;
    this.#unsent = undefined;
    this.#received.clear();
    this.#toSend.clear();
    this.#timeout.cancel();
    this.#updateIrq();
  }

  start(): void {
    const unsent = this.#unsent;
    this.#unsent = undefined;
    if (unsent !== undefined) {
      this.#send(unsent.tsr);
      if (!this.#hasFifos && (this.#registers.lsr & LSR.HOLDING_EMPTY) === 0) this.#send(unsent.thr);
    }
    if (unsent !== undefined || this.#toSend.count > 0) this.#drain();
  }

  close(): void {
    if (this.#output !== undefined) closeSync(this.#output);
  }

  #readByte(offset: number): number {
    const registers = this.#registers;
    const { lcr, divisor } = registers;
    switch (offset) {
      case REGISTER.DATA:
        return lcr & LCR.DLAB ? divisor & 0xff : this.#receive();
      case REGISTER.IER:
        return lcr & LCR.DLAB ? divisor >> 8 : registers.ier;
      case REGISTER.IIR:
        return this.#identify();
      case REGISTER.LCR:
        return lcr;
      case REGISTER.MCR:
        return registers.mcr;
      case REGISTER.LSR: {
        const { lsr } = registers;
        registers.lsr &= ~LSR.ERRORS;
        this.#updateIrq();
        return lsr;
      }
      case REGISTER.MSR:
        return this.#readModemStatus();
      default:
        return registers.scr;
    }
  }

  #writeByte(offset: number, value: number): void {
    const registers = this.#registers;
    const isLatch = (registers.lcr & LCR.DLAB) !== 0;
    switch (offset) {
      case REGISTER.DATA:
        if (isLatch) registers.divisor = (registers.divisor & 0xff00) | value;
        else this.#transmit(value);
        break;
      case REGISTER.IER:
        if (isLatch) registers.divisor = (registers.divisor & 0xff) | (value << 8);
        else this.#enable(value & IER.ALL);
        break;
      case REGISTER.FCR:
        this.#controlFifos(value);
        break;
      case REGISTER.LCR:
        registers.lcr = value;
        break;
      case REGISTER.MCR:
        registers.mcr = value & MCR.ALL;
        break;
      case REGISTER.SCR:
        registers.scr = value;
        break;
      default: // line and modem status are read only
    }
  }

  get #hasFifos(): boolean {
    return (this.#registers.fcr & FCR.ENABLE) !== 0;
  }

  /** The guest takes a character. */
  #receive(): number {
    const registers = this.#registers;
    const byte = this.#hasFifos ? this.#received.pop() : registers.rbr;
    if (this.#received.count === 0) registers.lsr &= ~(LSR.DATA_READY | LSR.BREAK);
    else this.#armTimeout();
    this.#timeoutPending = false;
    this.#updateIrq();
    return byte;
  }

  /** A character comes in. */
  #accept(byte: number): void {
    const registers = this.#registers;
    if (!this.#hasFifos) {
      if (registers.lsr & LSR.DATA_READY) registers.lsr |= LSR.OVERRUN;
      registers.rbr = byte;
    } else if (this.#received.isFull) registers.lsr |= LSR.OVERRUN;
    else this.#received.push(byte);
    registers.lsr |= LSR.DATA_READY;
    if (this.#hasFifos) this.#armTimeout();
    this.#updateIrq();
  }

  #transmit(byte: number): void {
    const registers = this.#registers;
    registers.lsr &= ~(LSR.HOLDING_EMPTY | LSR.TRANSMITTER_EMPTY);
    this.#thrPending = false;
    this.#updateIrq();
    if (!this.#hasFifos) this.#send(byte);
    else if (this.#toSend.isFull) this.#toSend.replaceNewest(byte);
    else this.#toSend.push(byte);
    this.#drain();
  }

  /** Sends what waits: nothing is left. */
  #drain(): void {
    while (this.#toSend.count > 0) this.#send(this.#toSend.pop());
    this.#registers.lsr |= LSR.HOLDING_EMPTY | LSR.TRANSMITTER_EMPTY;
    this.#thrPending = true;
    this.#updateIrq();
  }

  #send(byte: number): void {
    if (this.#registers.mcr & MCR.LOOPBACK) this.#accept(byte);
    else if (this.#output !== undefined) writeSync(this.#output, Uint8Array.of(byte));
  }

  #enable(ier: number): void {
    const registers = this.#registers;
    const isNew = (ier & ~registers.ier & IER.TRANSMITTER_EMPTY) !== 0;
    registers.ier = ier;
    if (isNew) this.#thrPending = (registers.lsr & LSR.HOLDING_EMPTY) !== 0;
    this.#updateIrq();
  }

  #controlFifos(value: number): void {
    const registers = this.#registers;
    // Switching them on or off empties both.
    const both = ((value ^ registers.fcr) & FCR.ENABLE) !== 0;
    if (both || value & FCR.RESET_RECEIVER) {
      registers.lsr &= ~(LSR.DATA_READY | LSR.BREAK);
      this.#timeoutPending = false;
      this.#timeout.cancel();
      this.#received.clear();
    }
    if (both || value & FCR.RESET_TRANSMITTER) {
      registers.lsr |= LSR.HOLDING_EMPTY;
      this.#thrPending = true;
      this.#toSend.clear();
    }
    registers.fcr = value & FCR.KEPT;
    this.#updateIrq();
  }

  #readModemStatus(): number {
    const registers = this.#registers;
    const { msr, mcr } = registers;
    if (mcr & MCR.LOOPBACK) {
      // The outputs are the inputs.
      const cts = mcr & MCR.RTS ? MSR.CTS : 0;
      const dsr = mcr & MCR.DTR ? MSR.DSR : 0;
      return cts | dsr | (mcr & MCR.OUT1 ? MSR.RI : 0) | (mcr & MCR.OUT2 ? MSR.DCD : 0);
    }
    registers.msr &= ~MSR.CHANGES;
    this.#updateIrq();
    return msr;
  }

  #identify(): number {
    const iir = this.#identification();
    if ((iir & IIR.ID) === IIR.TRANSMITTER_EMPTY) this.#thrPending = false;
    this.#updateIrq();
    return iir;
  }

  #identification(): number {
    return this.#cause() | (this.#hasFifos ? IIR.FIFOS_ENABLED : 0);
  }

  #cause(): number {
    const { ier, lsr, msr, fcr } = this.#registers;
    const level = TRIGGER_LEVELS[fcr >> FCR.TRIGGER_SHIFT] ?? 1;
    if (ier & IER.LINE_STATUS && lsr & LSR.ERRORS) return IIR.LINE_STATUS;
    if (ier & IER.RECEIVED && this.#timeoutPending) return IIR.TIMEOUT;
    const isReady = this.#hasFifos ? this.#received.count >= level : (lsr & LSR.DATA_READY) !== 0;
    if (ier & IER.RECEIVED && isReady) return IIR.RECEIVED;
    if (ier & IER.TRANSMITTER_EMPTY && this.#thrPending) return IIR.TRANSMITTER_EMPTY;
    if (ier & IER.MODEM_STATUS && msr & MSR.CHANGES) return IIR.MODEM_STATUS;
    return IIR.NONE;
  }

  #updateIrq(): void {
    this.#context.irq().set(this.#cause() !== IIR.NONE);
  }

  #timeOut(): void {
    if (this.#received.count === 0) return;
    this.#timeoutPending = true;
    this.#updateIrq();
  }

  #armTimeout(): void {
    const { lcr, divisor } = this.#registers;
    const bits = 1 + 5 + (lcr & LCR.DATA_BITS) + (lcr & LCR.PARITY ? 1 : 0) + (lcr & LCR.TWO_STOP_BITS ? 2 : 1);
    const rate = divisor === 0 ? RATE_WITHOUT_DIVISOR : BASE_RATE / divisor;
    const characterNs = Math.trunc((NS_PER_SECOND / rate) * bits);
    this.#timeout.arm(this.#context.nowNs() + BigInt(TIMEOUT_CHARACTERS * characterNs));
  }
}

export default defineDevice({
  name: 'isa-serial',
  summary: 'a 16550A UART with FIFOs',
  properties: PROPERTIES,
  state: SERIAL_STATE,
  regions: { registers: { size: 8, bus: 'io' } },
  conformance: CONFORMANCE,
  create: (context) => new Serial(context),
});
