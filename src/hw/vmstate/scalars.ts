/** Fields of one value and a fixed size: integers, bool, double, timer, and integers that are checked (spec/wire.md §9.2). */

import { type FieldLayout, LAYOUTS } from '../../wire/struct.ts';
import type { StateReader } from './state-bytes.ts';
import { fixedField, type StateValue, unsavable } from './state-field.ts';
import { trouble } from './trouble.ts';

const NOT_ARMED = 0xffff_ffff_ffff_ffffn;

/** A whole number of 1, 2 or 4 bytes. */
export interface NumberField extends StateValue<number> {
  readonly type: string;
}

/** A whole number of 8 bytes. */
export interface BigintField extends StateValue<bigint> {
  readonly type: string;
}

/** One byte, 0…255. */
export const u8: NumberField = integer('uint8', LAYOUTS.u8, 0);
/** Two bytes, unsigned. */
export const u16: NumberField = integer('uint16', LAYOUTS.u16, 0);
/** Four bytes, unsigned. */
export const u32: NumberField = integer('uint32', LAYOUTS.u32, 0);
/** Eight bytes, unsigned, as bigint. */
export const u64: BigintField = bigInteger('uint64', LAYOUTS.u64, BigInt.asUintN);
/** One byte, −128…127. */
export const i8: NumberField = integer('int8', LAYOUTS.i8, -0x80);
/** Two bytes, signed. */
export const i16: NumberField = integer('int16', LAYOUTS.i16, -0x8000);
/** Four bytes, signed. */
export const i32: NumberField = integer('int32', LAYOUTS.i32, -0x8000_0000);
/** Eight bytes, signed, as bigint. */
export const i64: BigintField = bigInteger('int64', LAYOUTS.i64, BigInt.asIntN);

/** One byte; anything but 0 reads as true. */
export const bool: StateValue<boolean> = {
  ...fixedField('bool', 1),
  zero: () => false,
  write(to, value) {
    if (typeof value !== 'boolean') throw unsavable('true or false', value);
    to.put(LAYOUTS.u8, value ? 1 : 0);
  },
  read: (from) => from.next(LAYOUTS.u8) !== 0,
};

/** Eight bytes: a double (CPU_Double_U). The bits of a NaN may change. */
export const double: StateValue<number> = {
  ...fixedField('CPU_Double_U', 8),
  zero: () => 0,
  write(to, value) {
    if (typeof value !== 'number') throw unsavable('a number', value);
    to.put(LAYOUTS.double, value);
  },
  read: (from) => from.next(LAYOUTS.double),
};

/** Eight bytes: virtual time (ns) at which a timer fires, undefined while it is not armed: `DeviceTimer.expiresNs`. */
export const timer: StateValue<bigint | undefined> = {
  ...fixedField('timer', 8),
  zero: () => undefined,
  write(to, value) {
    const expires = value === undefined ? NOT_ARMED : value;
    if (typeof expires !== 'bigint' || BigInt.asUintN(64, expires) !== expires) throw unsavable('a time', value);
    to.put(LAYOUTS.u64, expires);
  },
  read(from) {
    const expires = from.next(LAYOUTS.u64);
    return expires === NOT_ARMED ? undefined : expires;
  },
};

/** An integer that must be what this machine has: written from the schema, compared when read, not shown in the state. */
export function equal<T extends number | bigint>(
  value: StateValue<T> & { readonly type: string },
  expected: T,
): StateValue<undefined> {
  const type = value.type === 'uint64' ? 'int64 equal' : `${value.type} equal`;
  return {
    ...fixedField(type, value.size ?? 0),
    hidden: true,
    zero: () => undefined,
    write: (to) => value.write(to, expected, {}),
    read(from) {
      const at = from.offset;
      const actual = value.read(from, {});
      if (actual !== expected) throw badValue(at, `${expected}, as here`, actual);
      return undefined;
    },
  };
}

/** Four bytes, signed, from 0 to what this machine has room for (`int32 le`). */
export function atMost(maximum: number): NumberField {
  return {
    ...i32,
    ...fixedField('int32 le', 4),
    type: 'int32 le',
    write(to, value, siblings) {
      if (!(value >= 0 && value <= maximum)) throw unsavable(`0 to ${maximum}`, value);
      i32.write(to, value, siblings);
    },
    read(from, siblings) {
      const at = from.offset;
      const actual = i32.read(from, siblings);
      if (actual < 0 || actual > maximum) throw badValue(at, `0 to ${maximum}`, actual);
      return actual;
    },
  };
}

/** A value on the stream that cannot be. */
export function badValue(at: number, expected: string, actual: unknown): Error {
  return trouble('vmstate/bad-value', { at, expected, actual: String(actual) });
}

function integer(type: string, layout: FieldLayout<number>, minimum: number): NumberField {
  const size = layout.span;
  const maximum = minimum + 2 ** (8 * size) - 1;
  return {
    ...fixedField(type, size),
    type,
    counts: true,
    zero: () => 0,
    write(to, value) {
      if (!(Number.isInteger(value) && value >= minimum && value <= maximum)) {
        throw unsavable(`a whole number from ${minimum} to ${maximum}`, value);
      }
      to.put(layout, value);
    },
    read: (from: StateReader) => from.next(layout),
  };
}

function bigInteger(
  type: string,
  layout: FieldLayout<bigint>,
  wrap: (bits: number, value: bigint) => bigint,
): BigintField {
  return {
    ...fixedField(type, 8),
    type,
    zero: () => 0n,
    write(to, value) {
      if (typeof value !== 'bigint' || wrap(64, value) !== value) throw unsavable(`a bigint that is an ${type}`, value);
      to.put(layout, value);
    },
    read: (from) => from.next(layout),
  };
}
