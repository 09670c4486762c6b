/** Fields of raw bytes: buffers, unused space, bitmaps (spec/wire.md §9.2). */

import { LAYOUTS } from '../../wire/struct.ts';
import { badValue } from './scalars.ts';
import type { Allowance } from './state-bytes.ts';
import { copyOf, fixedField, type Siblings, type StateField, type StateValue, take, unsavable } from './state-field.ts';

/** A number, the name of an earlier field that has it, or that field's value times a constant. */
export type Count = number | string | { readonly field: string; readonly times: number };

const BITS_OF_WORD = 64;
const BYTES_OF_WORD = 8;

/** Raw bytes. A decoded buffer is a view of the state it was decoded from. */
export function buffer(length: number): StateValue<Uint8Array>;
/** Raw bytes as many as another field says. */
export function buffer(length: Count): StateField<Uint8Array>;
/** Raw bytes; those of a fixed number can also be elements of arrays. */
export function buffer(length: Count): StateField<Uint8Array> {
  return typeof length === 'number' ? fixedBuffer(length) : variableBuffer(length);
}

function fixedBuffer(length: number): StateValue<Uint8Array> {
  return {
    ...fixedField('buffer', length),
    zero: () => new Uint8Array(length),
    write(to, value) {
      if (!(value instanceof Uint8Array) || value.length !== length) throw unsavable(`${length} bytes`, sizeOf(value));
      to.bytes.set(value, to.take(length));
    },
    read(from) {
      const start = from.take(length);
      return from.bytes.subarray(start, start + length);
    },
  };
}

function variableBuffer(length: Exclude<Count, number>): StateField<Uint8Array> {
  const bytesOf = (siblings: Siblings, at: number, allowance: Allowance) => {
    const bytes = announced(length, siblings, at);
    allowance.bytes(bytes, at);
    return bytes;
  };
  return {
    countedBy: nameOf(length),
    uniform: true,
    size: undefined,
    zero: () => new Uint8Array(0),
    measure(value, siblings) {
      const expected = counted(length, siblings);
      if (!(value instanceof Uint8Array) || value.length !== expected) {
        throw unsavable(`${expected} bytes, as ${nameOf(length)} says`, sizeOf(value));
      }
      return expected;
    },
    write: (to, value) => to.bytes.set(value, to.take(value.length)),
    read(from, siblings) {
      const bytes = bytesOf(siblings, from.offset, from.allowance);
      const start = from.take(bytes);
      return from.bytes.subarray(start, start + bytes);
    },
    *extent(cursor, siblings, isWanted) {
      const bytes = yield* take({ count: bytesOf(siblings, cursor.offset, cursor.allowance), cursor });
      // It may be most of the state.
      return isWanted ? copyOf(bytes) : undefined;
    },
    describe: (name, value) => (value.length === 0 ? [] : [{ name, type: 'buffer', size: value.length }]),
    dump: () => ({ size: 0 }),
  };
}

/** Space that nothing is in any more: zeros written, anything skipped. */
export function unused(length: number): StateField<undefined> {
  return {
    ...fixedField('unused_buffer', length),
    wireName: 'unused',
    hidden: true,
    zero: () => undefined,
    write(to) {
      const start = to.take(length);
      to.bytes.fill(0, start, start + length);
    },
    read: (from) => void from.take(length),
  };
}

/** One bit each: bit b of word w is bit 64·w + b. `bits` is a number or the name of an earlier field. */
export function bitmap(bits: Count): StateField<BigUint64Array> {
  const wordsOf = (siblings: Siblings, at: number, allowance: Allowance) => {
    const words = Math.ceil(announced(bits, siblings, at) / BITS_OF_WORD);
    allowance.bytes(words * BYTES_OF_WORD, at);
    return words;
  };
  return {
    ...(typeof bits === 'number' ? {} : { countedBy: nameOf(bits) }),
    uniform: true,
    size: typeof bits === 'number' ? Math.ceil(bits / BITS_OF_WORD) * BYTES_OF_WORD : undefined,
    zero: () => new BigUint64Array(typeof bits === 'number' ? Math.ceil(bits / BITS_OF_WORD) : 0),
    measure: (_, siblings) => Math.ceil(counted(bits, siblings) / BITS_OF_WORD) * BYTES_OF_WORD,
    write(to, value, siblings) {
      const words = Math.ceil(counted(bits, siblings) / BITS_OF_WORD);
      if (!(value instanceof BigUint64Array) || value.length !== words)
        throw unsavable(`${words} words`, sizeOf(value));
      for (const word of value) to.put(LAYOUTS.u64, word);
    },
    read(from, siblings) {
      const words = wordsOf(siblings, from.offset, from.allowance);
      return BigUint64Array.from({ length: words }, () => from.next(LAYOUTS.u64));
    },
    *extent(cursor, siblings) {
      const count = wordsOf(siblings, cursor.offset, cursor.allowance) * BYTES_OF_WORD;
      const { buffer: words } = copyOf(yield* take({ count, cursor }));
      const view = new DataView(words);
      return BigUint64Array.from({ length: count / BYTES_OF_WORD }, (_, word) =>
        view.getBigUint64(word * BYTES_OF_WORD),
      );
    },
    describe: (name, value) =>
      value.length === 0 ? [] : [{ name, type: 'bitmap', size: value.length * BYTES_OF_WORD }],
    dump: () => ({ size: 0 }),
  };
}

/** The field that a count names. */
export function nameOf(count: Exclude<Count, number>): string {
  return typeof count === 'string' ? count : count.field;
}

/** A count as the state has it, which the device is answerable for. */
export function counted(count: Count, siblings: Siblings): number {
  if (typeof count === 'number') return count;
  const number = Number(siblings[nameOf(count)]);
  return typeof count === 'string' ? number : number * count.times;
}

/** A count as the peer sent it. Throws when it is negative. */
export function announced(count: Count, siblings: Siblings, at: number): number {
  const number = counted(count, siblings);
  if (typeof count === 'number' || number >= 0) return number;
  throw badValue(at, `${nameOf(count)} to be 0 or more`, number);
}

function sizeOf(value: unknown): unknown {
  return value instanceof Uint8Array || value instanceof BigUint64Array ? value.length : value;
}
