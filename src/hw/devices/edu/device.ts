/**
 * The teaching device: a register block with a bit of everything that a migration must carry (README.md beside this
 * file). It follows QEMU's published description of `edu`; the state is our own, as that device has none.
 */

import {
  count,
  type Device,
  type DeviceContext,
  type DeviceTimer,
  defineDevice,
  type RegisterAccess,
  time,
} from '../../device.ts';
import { CONFORMANCE } from './conformance.ts';
import {
  BUFFER_BYTES,
  BUFFER_START,
  DMA,
  IDENTIFICATION,
  INTERRUPT,
  REGISTER,
  REGISTERS_BYTES,
  STATUS,
} from './registers.ts';
import { EDU_STATE, type EduState } from './state.ts';

const NS_PER_MS = 1_000_000;
const LOW_HALF = 0xffff_ffffn;

const PROPERTIES = {
  'dma-mask': count(0x0fff_ffff, 'bits of a guest address that the DMA engine has'),
  'factorial-time': time(1, 'virtual time that a factorial takes'),
  'dma-time': time(10, 'virtual time that a transfer takes'),
};

/** The registers that are 64 bits wide, by offset. */
const WIDE = {
  [REGISTER.DMA_SOURCE]: 'dmaSource',
  [REGISTER.DMA_DESTINATION]: 'dmaDestination',
  [REGISTER.DMA_COUNT]: 'dmaCount',
  [REGISTER.DMA_COMMAND]: 'dmaCommand',
} as const;

const POWER_ON = {
  liveness: 0,
  factorial: 0,
  status: 0,
  interruptStatus: 0,
  dmaSource: 0n,
  dmaDestination: 0n,
  dmaCount: 0n,
  dmaCommand: 0n,
};

class Edu implements Device<EduState> {
  readonly #context: DeviceContext<typeof PROPERTIES>;
  readonly #factorialDone: DeviceTimer;
  readonly #dmaDone: DeviceTimer;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #registers = { ...POWER_ON };

  constructor(context: DeviceContext<typeof PROPERTIES>) {
    this.#context = context;
    this.#factorialDone = context.timer(() => this.#finishFactorial());
    this.#dmaDone = context.timer(() => this.#finishDma());
  }

  read({ offset, size }: RegisterAccess): number {
    const nothing = 2 ** (8 * size) - 1;
    if (size !== 4) return nothing;
    const wide = wideRegister(offset);
    if (wide !== undefined) return Number((this.#registers[wide.name] >> wide.shift) & LOW_HALF);
    switch (offset) {
      case REGISTER.IDENTIFICATION:
        return IDENTIFICATION;
      case REGISTER.LIVENESS:
        return ~this.#registers.liveness >>> 0;
      case REGISTER.FACTORIAL:
        return this.#registers.factorial;
      case REGISTER.STATUS:
        return this.#registers.status;
      case REGISTER.INTERRUPT_STATUS:
        return this.#registers.interruptStatus;
      default:
        return nothing;
    }
  }

  write({ offset, size }: RegisterAccess, value: number): void {
    if (size !== 4) return;
    const wide = wideRegister(offset);
    if (wide !== undefined) this.#writeWide(wide, BigInt(value));
    const registers = this.#registers;
    switch (offset) {
      case REGISTER.LIVENESS:
        registers.liveness = value;
        break;
      case REGISTER.FACTORIAL:
        if ((registers.status & STATUS.COMPUTING) === 0) this.#beginFactorial(value);
        break;
      case REGISTER.STATUS:
        registers.status = (registers.status & STATUS.COMPUTING) | (value & STATUS.INTERRUPT_WHEN_DONE);
        break;
      case REGISTER.INTERRUPT_RAISE:
        this.#setInterrupts(registers.interruptStatus | value);
        break;
      case REGISTER.INTERRUPT_ACKNOWLEDGE:
        this.#setInterrupts(registers.interruptStatus & ~value);
        break;
      default: // read only, or nothing there
    }
  }

  save(): EduState {
    return {
      ...this.#registers,
      buffer: this.#buffer.slice(),
      factorialDone: this.#factorialDone.expiresNs,
      dmaDone: this.#dmaDone.expiresNs,
    };
  }

  load({ buffer, factorialDone, dmaDone, ...registers }: EduState): void {
    this.#buffer.set(buffer);
    arm(this.#factorialDone, factorialDone);
    arm(this.#dmaDone, dmaDone);
    this.#registers = registers;
    this.#setInterrupts(registers.interruptStatus);
  }

  reset(): void {
    this.#factorialDone.cancel();
    this.#dmaDone.cancel();
    this.#buffer.fill(0);
    this.#registers = { ...POWER_ON };
    this.#setInterrupts(0);
  }

  #beginFactorial(value: number): void {
    this.#registers.factorial = value;
    this.#registers.status |= STATUS.COMPUTING;
    this.#factorialDone.arm(this.#after(this.#context.properties['factorial-time']));
  }

  #finishFactorial(): void {
    const registers = this.#registers;
    registers.factorial = factorial(registers.factorial);
    registers.status &= ~STATUS.COMPUTING;
    if ((registers.status & STATUS.INTERRUPT_WHEN_DONE) === 0) return;
    this.#setInterrupts(registers.interruptStatus | INTERRUPT.FACTORIAL);
  }

  /** While a transfer runs, its registers keep their values. */
  #writeWide({ name, shift }: WideRegister, half: bigint): void {
    const registers = this.#registers;
    if ((Number(registers.dmaCommand) & DMA.RUN) !== 0) return;
    registers[name] = (registers[name] & ~(LOW_HALF << shift)) | (half << shift);
    if ((Number(registers.dmaCommand) & DMA.RUN) === 0) return;
    this.#dmaDone.arm(this.#after(this.#context.properties['dma-time']));
  }

  #finishDma(): void {
    const registers = this.#registers;
    const command = Number(registers.dmaCommand);
    this.#transfer((command & DMA.FROM_DEVICE) !== 0);
    registers.dmaCommand = BigInt(command & ~DMA.RUN);
    if ((command & DMA.INTERRUPT_WHEN_DONE) === 0) return;
    this.#setInterrupts(registers.interruptStatus | INTERRUPT.DMA);
  }

  /** Copies between guest RAM and the buffer. A transfer that does not fit into either copies nothing. */
  #transfer(fromDevice: boolean): void {
    const { ram, log, properties } = this.#context;
    const { dmaSource, dmaDestination, dmaCount } = this.#registers;
    const [inside, outside] = fromDevice ? [dmaSource, dmaDestination] : [dmaDestination, dmaSource];
    const start = inside - BigInt(BUFFER_START);
    const address = outside & BigInt(properties['dma-mask']);
    if (start < 0n || start + dmaCount > BigInt(BUFFER_BYTES) || address + dmaCount > BigInt(ram.length)) {
      log.warn({ dmaSource, dmaDestination, dmaCount }, 'a transfer outside buffer or RAM');
      return;
    }
    const [first, guest, bytes] = [Number(start), Number(address), Number(dmaCount)];
    if (fromDevice) ram.write(guest, this.#buffer.subarray(first, first + bytes));
    else this.#buffer.set(ram.read(guest, bytes), first);
  }

  #setInterrupts(bits: number): void {
    this.#registers.interruptStatus = bits >>> 0;
    this.#context.irq().set(bits !== 0);
  }

  #after(ms: number): bigint {
    return this.#context.nowNs() + BigInt(Math.round(ms * NS_PER_MS));
  }
}

interface WideRegister {
  readonly name: (typeof WIDE)[keyof typeof WIDE];
  readonly shift: bigint;
}

function wideRegister(offset: number): WideRegister | undefined {
  const name = (WIDE as Readonly<Record<number, WideRegister['name']>>)[offset & ~4];
  return name === undefined ? undefined : { name, shift: (offset & 4) === 0 ? 0n : 32n };
}

function arm(timer: DeviceTimer, expiresNs: bigint | undefined): void {
  if (expiresNs === undefined) timer.cancel();
  else timer.arm(expiresNs);
}

/** Modulo 2³²: from 34 on it is 0, because so many factors are even. */
function factorial(value: number): number {
  if (value >= 34) return 0;
  let product = 1;
  for (let factor = 2; factor <= value; factor += 1) product = Math.imul(product, factor) >>> 0;
  return product;
}

export default defineDevice({
  name: 'edu',
  summary: "a device to learn on: factorials, interrupts and DMA, as QEMU's edu describes them",
  properties: PROPERTIES,
  state: EDU_STATE,
  regions: { registers: { size: REGISTERS_BYTES, bus: 'memory' } },
  conformance: CONFORMANCE,
  create: (context) => new Edu(context),
});
