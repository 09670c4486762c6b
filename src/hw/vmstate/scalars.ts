/** Fields of one value and a fixed size: integers, bool, double, timer, and integers that are checked (spec/wire.md §9.2). */

import type { StateReader } from './state-bytes.ts';
import { fixedField, type StateValue, unsavable } from './state-field.ts';
import { trouble } from './trouble.ts';

const NOT_ARMED = 0xffff_ffff_ffff_ffffn;

type NumberSetter = 'setUint8' | 'setUint16' | 'setUint32' | 'setInt8' | 'setInt16' | 'setInt32';
type NumberGetter = 'getUint8' | 'getUint16' | 'getUint32' | 'getInt8' | 'getInt16' | 'getInt32';

/** A whole number of 1, 2 or 4 bytes. */
export interface NumberField extends StateValue<number> {
  readonly type: string;
}

/** A whole number of 8 bytes. */
export interface BigintField extends StateValue<bigint> {
  readonly type: string;
}

/** One byte, 0…255. */
export const u8: NumberField = integer({ type: 'uint8', size: 1, get: 'getUint8', set: 'setUint8', minimum: 0 });
/** Two bytes, unsigned. */
export const u16: NumberField = integer({ type: 'uint16', size: 2, get: 'getUint16', set: 'setUint16', minimum: 0 });
/** Four bytes, unsigned. */
export const u32: NumberField = integer({ type: 'uint32', size: 4, get: 'getUint32', set: 'setUint32', minimum: 0 });
/** Eight bytes, unsigned, as bigint. */
export const u64: BigintField = bigInteger('uint64', false);
/** One byte, −128…127. */
export const i8: NumberField = integer({ type: 'int8', size: 1, get: 'getInt8', set: 'setInt8', minimum: -0x80 });
/** Two bytes, signed. */
export const i16: NumberField = integer({ type: 'int16', size: 2, get: 'getInt16', set: 'setInt16', minimum: -0x8000 });
/** Four bytes, signed. */
export const i32: NumberField = integer({
  type: 'int32',
  size: 4,
  get: 'getInt32',
  set: 'setInt32',
  minimum: -0x8000_0000,
});
/** Eight bytes, signed, as bigint. */
export const i64: BigintField = bigInteger('int64', true);

/** One byte; anything but 0 reads as true. */
export const bool: StateValue<boolean> = {
  ...fixedField('bool', 1),
  zero: () => false,
  write(to, value) {
    if (typeof value !== 'boolean') throw unsavable('true or false', value);
    to.u8(value ? 1 : 0);
  },
  read: (from) => from.view.getUint8(from.take(1)) !== 0,
};

/** Eight bytes: a double (CPU_Double_U). The bits of a NaN may change. */
export const double: StateValue<number> = {
  ...fixedField('CPU_Double_U', 8),
  zero: () => 0,
  write(to, value) {
    if (typeof value !== 'number') throw unsavable('a number', value);
    to.view.setFloat64(to.take(8), value);
  },
  read: (from) => from.view.getFloat64(from.take(8)),
};

/** Eight bytes: virtual time (ns) at which a timer fires, undefined while it is not armed: `DeviceTimer.expiresNs`. */
export const timer: StateValue<bigint | undefined> = {
  ...fixedField('timer', 8),
  zero: () => undefined,
  write(to, value) {
    const expires = value === undefined ? NOT_ARMED : value;
    if (typeof expires !== 'bigint' || BigInt.asUintN(64, expires) !== expires) throw unsavable('a time', value);
    to.view.setBigUint64(to.take(8), expires);
  },
  read(from) {
    const expires = from.view.getBigUint64(from.take(8));
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

function integer(options: {
  type: string;
  size: 1 | 2 | 4;
  get: NumberGetter;
  set: NumberSetter;
  minimum: number;
}): NumberField {
  const { type, size, minimum } = options;
  const maximum = minimum + 2 ** (8 * size) - 1;
  const [setter, getter] = [DataView.prototype[options.set], DataView.prototype[options.get]];
  return {
    ...fixedField(type, size),
    type,
    counts: true,
    zero: () => 0,
    write(to, value) {
      if (!(Number.isInteger(value) && value >= minimum && value <= maximum)) {
        throw unsavable(`a whole number from ${minimum} to ${maximum}`, value);
      }
      setter.call(to.view, to.take(size), value);
    },
    read: (from: StateReader) => getter.call(from.view, from.take(size)),
  };
}

function bigInteger(type: string, signed: boolean): BigintField {
  const wrap = signed ? BigInt.asIntN : BigInt.asUintN;
  return {
    ...fixedField(type, 8),
    type,
    zero: () => 0n,
    write(to, value) {
      if (typeof value !== 'bigint' || wrap(64, value) !== value) throw unsavable(`a bigint that is an ${type}`, value);
      to.view.setBigInt64(to.take(8), value);
    },
    read: signed ? (from) => from.view.getBigInt64(from.take(8)) : (from) => from.view.getBigUint64(from.take(8)),
  };
}
