/** The clock's registers as a time and back: binary or BCD, 12 or 24 hours, and whether an alarm matches. */

import { ANY, B, PM, REGISTER } from './registers.ts';

/** Seconds that a Date can have, either way from 1970. */
const MAX_SECONDS = 8_640_000_000_000n;
const SECONDS_PER_DAY = 86_400;

/** Stores the time (seconds since 1970) in its registers, in the format that register B says. */
export function storeTime(cmos: Uint8Array, seconds: bigint): void {
  const limited = seconds > MAX_SECONDS ? MAX_SECONDS : seconds < -MAX_SECONDS ? -MAX_SECONDS : seconds;
  const date = new Date(Number(limited) * 1000);
  const control = cmos[REGISTER.B]!; // in range, as all registers
  const year = date.getUTCFullYear();
  const store = (register: number, value: number) => {
    cmos[register] = toRegister(value, control);
  };
  store(REGISTER.SECONDS, date.getUTCSeconds());
  store(REGISTER.MINUTES, date.getUTCMinutes());
  cmos[REGISTER.HOURS] = toHours(date.getUTCHours(), control);
  store(REGISTER.DAY_OF_WEEK, date.getUTCDay() + 1);
  store(REGISTER.DAY, date.getUTCDate());
  store(REGISTER.MONTH, date.getUTCMonth() + 1);
  store(REGISTER.YEAR, year % 100);
  store(REGISTER.CENTURY, Math.floor(year / 100) % 100);
}

/** The time that the registers show (seconds since 1970). Values that no clock has count on: second 60 is the next minute. */
export function timeOf(cmos: Uint8Array): bigint {
  const control = cmos[REGISTER.B]!; // in range, as all registers
  const load = (register: number) => fromRegister(cmos[register]!, control);
  const hours = cmos[REGISTER.HOURS]!;
  const isTwelve = (control & B.HOURS_24) === 0;
  const hour = isTwelve ? (fromRegister(hours & ~PM, control) % 12) + (hours & PM ? 12 : 0) : load(REGISTER.HOURS);
  const date = new Date(0);
  date.setUTCFullYear(load(REGISTER.CENTURY) * 100 + load(REGISTER.YEAR), load(REGISTER.MONTH) - 1, load(REGISTER.DAY));
  date.setUTCHours(hour, load(REGISTER.MINUTES), load(REGISTER.SECONDS));
  return BigInt(date.getTime() / 1000);
}

/** Seconds from this second of a day to the next one at which the alarm goes off: 1 to a day's; undefined if it never does. */
export function secondsToAlarm(cmos: Uint8Array, now: number): number | undefined {
  const control = cmos[REGISTER.B]!; // in range, as all registers
  const matching = (register: number, count: number, shownAs: (value: number, control: number) => number) => {
    const alarm = cmos[register]!;
    return Array.from({ length: count }, (_, value) => alarm >= ANY || alarm === shownAs(value, control));
  };
  const seconds = matching(REGISTER.SECONDS_ALARM, 60, toRegister);
  const minutes = matching(REGISTER.MINUTES_ALARM, 60, toRegister);
  const hours = matching(REGISTER.HOURS_ALARM, 24, toHours);
  if (![seconds, minutes, hours].every((values) => values.includes(true))) return undefined;
  // By hours, then by minutes, then by seconds; it ends, for each has a match.
  for (let passed = 1; ; ) {
    const second = (now + passed) % SECONDS_PER_DAY;
    if (hours[Math.floor(second / 3600)] !== true) passed += 3600 - (second % 3600);
    else if (minutes[Math.floor(second / 60) % 60] !== true) passed += 60 - (second % 60);
    else if (seconds[second % 60] !== true) passed += 1;
    else return passed;
  }
}

/** The second of its day. */
export function secondOfDay(seconds: bigint): number {
  const day = BigInt(SECONDS_PER_DAY);
  return Number(((seconds % day) + day) % day);
}

function toHours(hour: number, control: number): number {
  if (control & B.HOURS_24) return toRegister(hour, control);
  return toRegister(hour % 12 === 0 ? 12 : hour % 12, control) | (hour >= 12 ? PM : 0);
}

function toRegister(value: number, control: number): number {
  return control & B.BINARY ? value : (Math.floor(value / 10) << 4) | (value % 10);
}

function fromRegister(value: number, control: number): number {
  return control & B.BINARY ? value : (value >> 4) * 10 + (value & 15);
}
