/**
 * The PC's real-time clock, a Motorola MC146818A with 128 bytes of CMOS RAM (registers.ts names its data sheet). Its time is
 * virtual: it stands while the machine is stopped. The state is that of QEMU's `mc146818rtc` with `-rtc clock=vm`.
 */

import { HarnessError } from '../../../base/errors.ts';
import {
  type Device,
  type DeviceContext,
  type DeviceTimer,
  defineDevice,
  type RegisterAccess,
  text,
} from '../../device.ts';
import { secondOfDay, secondsToAlarm, storeTime, timeOf } from './calendar.ts';
import { CONFORMANCE } from './conformance.ts';
import { A, B, BASE_FREQUENCY, C, CMOS_BYTES, PORT, REGISTER, VALID } from './registers.ts';
import { RTC_STATE, type RtcState } from './state.ts';

const PROPERTIES = {
  base: text('2026-01-01T00:00:00', 'the time at power-on (UTC)'),
};

const NS_PER_SECOND = 1_000_000_000n;
const NEVER = 2n ** 64n - 1n;
/** How long before an update the chip says that one is coming (ns). */
const UPDATE_WARNING_NS = 244_141n;
/** From the end of a divider reset to the first update (ns). */
const AFTER_RESET_NS = NS_PER_SECOND / 2n;
const NOTHING = 0xff;

const TIME_REGISTERS: readonly number[] = [
  REGISTER.SECONDS,
  REGISTER.MINUTES,
  REGISTER.HOURS,
  REGISTER.DAY_OF_WEEK,
  REGISTER.DAY,
  REGISTER.MONTH,
  REGISTER.YEAR,
  REGISTER.CENTURY,
];

class RealTimeClock implements Device<RtcState> {
  readonly #context: DeviceContext<typeof PROPERTIES>;
  readonly #updateTimer: DeviceTimer;
  readonly #periodicTimer: DeviceTimer;
  readonly #cmos = new Uint8Array(CMOS_BYTES);
  #index = 0;
  /** The time was `#baseSeconds` and `#offsetNs` at `#lastUpdateNs`. */
  #baseSeconds: bigint;
  #offsetNs = 0n;
  #lastUpdateNs: bigint;
  #nextAlarmNs = NEVER;
  /** Of the periodic interrupt, in cycles of 32768 Hz; 0 while it is off. */
  #period = 0;
  #nextPeriodicNs = 0n;
  /** QEMU's, of ticks that its guest has not taken; kept. */
  #irqCoalesced = 0;
  #reinjected: RtcState['reinjected'];

  constructor(context: DeviceContext<typeof PROPERTIES>) {
    this.#context = context;
    this.#updateTimer = context.timer(() => this.#catchUp());
    this.#periodicTimer = context.timer(() => this.#tick());
    this.#baseSeconds = secondsOf(context.properties.base);
    this.#lastUpdateNs = context.nowNs();
    this.#cmos[REGISTER.A] = A.PRESET;
    this.#cmos[REGISTER.B] = B.HOURS_24;
    this.#cmos[REGISTER.D] = VALID;
    storeTime(this.#cmos, this.#baseSeconds);
    this.#timeChanged();
  }

  read({ offset, size }: RegisterAccess): number {
    // Wider accesses reach the data port as their second byte.
    let value = 0;
    for (let byte = 0; byte < size; byte += 1) {
      value += (offset + byte === PORT.DATA ? this.#readRegister(this.#index) : NOTHING) * 2 ** (8 * byte);
    }
    return value;
  }

  write({ offset, size }: RegisterAccess, value: number): void {
    for (let byte = 0; byte < size; byte += 1) {
      const stored = (value >>> (8 * byte)) & 0xff;
      if (offset + byte === PORT.DATA) this.#writeRegister(this.#index, stored);
      else this.#index = stored & (CMOS_BYTES - 1);
    }
  }

  save(): RtcState {
    if (this.#isRunning && this.#context.nowNs() >= this.#lastUpdateNs) this.#showTime();
    return {
      cmos: this.#cmos.slice(),
      index: this.#index,
      periodicTimer: this.#periodicTimer.expiresNs,
      nextPeriodicNs: this.#nextPeriodicNs,
      irqCoalesced: this.#irqCoalesced,
      period: this.#period,
      baseSeconds: BigInt.asUintN(64, this.#baseSeconds),
      lastUpdateNs: this.#lastUpdateNs,
      offsetNs: this.#offsetNs,
      updateTimer: this.#updateTimer.expiresNs,
      nextAlarmNs: this.#nextAlarmNs,
      reinjected: this.#reinjected,
    };
  }

  load(state: RtcState): void {
    this.#cmos.set(state.cmos);
    this.#index = state.index;
    this.#irqCoalesced = state.irqCoalesced;
    this.#period = state.period;
    this.#nextPeriodicNs = state.nextPeriodicNs;
    this.#baseSeconds = BigInt.asIntN(64, state.baseSeconds);
    this.#lastUpdateNs = state.lastUpdateNs;
    this.#offsetNs = state.offsetNs;
    this.#nextAlarmNs = state.nextAlarmNs;
    this.#reinjected = state.reinjected;
    arm(this.#updateTimer, state.updateTimer);
    arm(this.#periodicTimer, state.periodicTimer);
    this.#updateIrq();
  }

  /** The chip's reset pin: interrupts are off; the time goes on and RAM keeps what it has. */
  reset(): void {
    const cmos = this.#cmos;
    cmos[REGISTER.B]! &= ~(B.PERIODIC | B.ALARM | B.UPDATE | B.SQUARE_WAVE); // in range
    cmos[REGISTER.C] = 0;
    this.#setPeriod();
    this.#updateIrq();
  }

  start(): void {
    // A clock that followed its host's time, or an old state without a base: it goes on from the time it shows.
    const nowNs = this.#context.nowNs();
    if (this.#lastUpdateNs > nowNs) this.#setTime(0n);
    // QEMU has no event for a second whose flag is set already, ours come with every second. One that is due is let come.
    else if ((this.#updateTimer.expiresNs ?? nowNs + 1n) > nowNs) this.#timeChanged();
  }

  #readRegister(register: number): number {
    const cmos = this.#cmos;
    if (TIME_REGISTERS.includes(register) && this.#isRunning) this.#showTime();
    const value = cmos[register]!; // below 128
    if (register === REGISTER.A) return value | (this.#isUpdating ? A.UPDATE_IN_PROGRESS : 0);
    if (register === REGISTER.C) {
      cmos[REGISTER.C] = 0;
      this.#updateIrq();
    }
    return value;
  }

  #writeRegister(register: number, value: number): void {
    const cmos = this.#cmos;
    switch (register) {
      case REGISTER.A:
        this.#control(REGISTER.A, value & ~A.UPDATE_IN_PROGRESS);
        break;
      case REGISTER.B:
        // Setting the time switches the update's interrupt off.
        this.#control(REGISTER.B, value & B.SET ? value & ~B.UPDATE : value);
        break;
      case REGISTER.C:
      case REGISTER.D:
        break; // read only
      default:
        if (TIME_REGISTERS.includes(register)) this.#writeTime(register, value);
        else cmos[register] = value;
        this.#findAlarm();
    }
  }

  /** Stores to A or B, either of which may stop the time or let it go on. */
  #control(register: number, value: number): void {
    const [wasRunning, wasReset] = [this.#isRunning, this.#isReset];
    const [seconds, fractionNs] = [this.#seconds(), wasRunning ? this.#fractionNs() : this.#offsetNs];
    this.#cmos[register] = value;
    // Perhaps in another format.
    if (wasRunning) storeTime(this.#cmos, seconds);
    const isSetFree = wasReset && !this.#isReset;
    if (wasRunning || this.#isRunning) this.#setTime(isSetFree ? AFTER_RESET_NS : fractionNs);
    this.#setPeriod();
    this.#updateIrq();
  }

  #writeTime(register: number, value: number): void {
    if (!this.#isRunning) {
      this.#cmos[register] = value;
      return;
    }
    this.#showTime();
    const fraction = this.#fractionNs();
    this.#cmos[register] = value;
    this.#setTime(fraction);
  }

  get #isReset(): boolean {
    return (this.#cmos[REGISTER.A]! & A.DIVIDER) === A.DIVIDER_RESET; // in range
  }

  /** Whether the time goes on. */
  get #isRunning(): boolean {
    return (this.#cmos[REGISTER.B]! & B.SET) === 0 && !this.#isReset; // in range
  }

  get #isUpdating(): boolean {
    return this.#isRunning && this.#fractionNs() >= NS_PER_SECOND - UPDATE_WARNING_NS;
  }

  /** Time since 1970 (ns). */
  #timeNs(): bigint {
    return this.#baseSeconds * NS_PER_SECOND + this.#offsetNs + this.#context.nowNs() - this.#lastUpdateNs;
  }

  #fractionNs(): bigint {
    return ((this.#timeNs() % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  }

  #seconds(): bigint {
    return (this.#timeNs() - this.#fractionNs()) / NS_PER_SECOND;
  }

  #showTime(): void {
    storeTime(this.#cmos, this.#seconds());
  }

  /** The time is what the registers show, and so much more. */
  #setTime(fractionNs: bigint): void {
    this.#baseSeconds = timeOf(this.#cmos);
    this.#offsetNs = fractionNs;
    this.#lastUpdateNs = this.#context.nowNs();
    this.#timeChanged();
  }

  #timeChanged(): void {
    if (this.#isRunning) this.#armUpdate();
    else this.#updateTimer.cancel();
    this.#findAlarm();
  }

  #armUpdate(): void {
    this.#updateTimer.arm(this.#context.nowNs() + NS_PER_SECOND - this.#fractionNs());
  }

  /** When the alarm goes off next. */
  #findAlarm(): void {
    const seconds = secondsToAlarm(this.#cmos, secondOfDay(this.#seconds()));
    const nowNs = this.#context.nowNs();
    this.#nextAlarmNs = seconds === undefined ? NEVER : nowNs + BigInt(seconds) * NS_PER_SECOND - this.#fractionNs();
  }

  /** A second has passed, or several if the timer is late. */
  #catchUp(): void {
    const nowNs = this.#context.nowNs();
    this.#cmos[REGISTER.C]! |= C.UPDATED; // in range
    if (this.#nextAlarmNs <= nowNs) {
      this.#cmos[REGISTER.C]! |= C.ALARM; // in range
      this.#findAlarm();
    }
    this.#armUpdate();
    this.#updateIrq();
  }

  #setPeriod(): void {
    const rate = this.#cmos[REGISTER.A]! & A.RATE; // in range
    const isOn = rate !== 0 && (this.#cmos[REGISTER.B]! & B.PERIODIC) !== 0; // in range
    // The two fastest rates of this base are those of 8 and 9.
    const period = isOn ? 2 ** ((rate < 3 ? rate + 7 : rate) - 1) : 0;
    if (period === this.#period) return;
    this.#period = period;
    if (period === 0) {
      this.#nextPeriodicNs = 0n;
      this.#periodicTimer.cancel();
    } else this.#armPeriodic(this.#context.nowNs());
  }

  #armPeriodic(fromNs: bigint): void {
    this.#nextPeriodicNs = fromNs + (BigInt(this.#period) * NS_PER_SECOND + BASE_FREQUENCY - 1n) / BASE_FREQUENCY;
    this.#periodicTimer.arm(this.#nextPeriodicNs);
  }

  #tick(): void {
    const nowNs = this.#context.nowNs();
    this.#cmos[REGISTER.C]! |= C.PERIODIC; // in range
    this.#armPeriodic(this.#nextPeriodicNs);
    // Those that were missed are one.
    if (this.#nextPeriodicNs <= nowNs) this.#armPeriodic(nowNs);
    this.#updateIrq();
  }

  #updateIrq(): void {
    const cmos = this.#cmos;
    const isRaised = (cmos[REGISTER.B]! & cmos[REGISTER.C]! & C.CAUSES) !== 0; // in range
    cmos[REGISTER.C] = (cmos[REGISTER.C]! & ~C.INTERRUPT) | (isRaised ? C.INTERRUPT : 0);
    this.#context.irq().set(isRaised);
  }
}

function secondsOf(base: string): bigint {
  const ms = Date.parse(`${base}Z`);
  if (Number.isNaN(ms)) {
    throw new HarnessError('option/bad-value', {
      option: 'base',
      expected: 'a time like 2026-01-31T12:00:00',
      actual: base,
    });
  }
  return BigInt(Math.floor(ms / 1000));
}

function arm(timer: DeviceTimer, expiresNs: bigint | undefined): void {
  if (expiresNs === undefined) timer.cancel();
  else timer.arm(expiresNs);
}

export default defineDevice({
  name: 'mc146818rtc',
  summary: "the PC's real-time clock, a Motorola MC146818A",
  properties: PROPERTIES,
  state: RTC_STATE,
  regions: { registers: { size: 2, bus: 'io' } },
  conformance: CONFORMANCE,
  create: (context) => new RealTimeClock(context),
});
