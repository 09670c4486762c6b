/** Structs, arrays and pointers (spec/wire.md §9.3). */

import { LAYOUTS } from '../../wire/struct.ts';
import { announced, type Count, counted, nameOf } from './raw-bytes.ts';
import { badValue } from './scalars.ts';
import type { DumpedValue } from './schema.ts';
import { StateReader } from './state-bytes.ts';
import type { StateCodec } from './state-codec.ts';
import {
  copyOf,
  type Extent,
  type ExtentCursor,
  type LooksAt,
  type Siblings,
  type StateField,
  type StateValue,
  take,
  unsavable,
} from './state-field.ts';
import { within } from './trouble.ts';
import type { VmState } from './vmstate.ts';

/** What stands for a pointer to nothing. */
const NULL_MARK = 0x30;
/** Of an array of pointers QEMU's dump tells the pointers' size. */
const POINTER_BYTES = 8;

/** A state inside a state: the inner description's fields and subsections, in its own current version. */
export function struct<S>(schema: VmState<S>): StateValue<S> {
  const { codec } = schema;
  return structOf(codec, (value) => ({ type: 'struct', struct: codec.describe(value) }));
}

/** A state inside a state, in a version of its own: as the field says, not as new as its description is. */
export function vstruct<S>(schema: VmState<S>, version: number): StateValue<S> {
  const codec = schema.codec.inVersion(version);
  return {
    // QEMU writes the members into the field's own entry.
    ...structOf(codec, (value) => ({ type: 'vstruct', elements: [codec.describe(value)] })),
    // Its dump does not know which version a field is in.
    dump: () => ({ size: schema.codec.memoryBytes, Description: schema.codec.dump() }),
  };
}

function structOf<S>(codec: StateCodec, described: (value: S) => object): StateValue<S> {
  const describeOne = (value: S) => ({ ...described(value), size: codec.measure(value) });
  return {
    ...(codec.descriptorField === undefined ? {} : { isDescriptor: true }),
    uniform: codec.uniform,
    size: codec.size,
    // Codecs are typed where they are declared, by their schema.
    zero: () => codec.zero() as S,
    measure: (value) => codec.measure(value),
    write: (to, value) => codec.write(to, value),
    read: (from) => codec.read(from, codec.version) as S,
    extent: (cursor) => codec.extent(cursor, codec.version),
    describeOne,
    describe: (name, value) => [{ name, ...describeOne(value) }],
    dump: () => ({ size: codec.memoryBytes, Description: codec.dump() }),
  };
}

/**
 * Elements one after the other, without a count on the stream: a fixed number, or as many as an earlier field says.
 * Dimensions are multiplied: a table of 4 × 3 is an array of 12.
 */
export function array<T>(element: StateValue<T>, length: Count): StateField<readonly T[]> {
  const fixed = typeof length === 'number' ? length : undefined;
  const size = element.size === undefined || fixed === undefined ? undefined : element.size * fixed;
  const lengthAt = (siblings: Siblings, cursor: Pick<ExtentCursor, 'allowance' | 'offset'>) => {
    if (fixed !== undefined) return fixed;
    const count = announced(length, siblings, cursor.offset);
    cursor.allowance.elements(count, cursor.offset);
    cursor.allowance.bytes(count * (element.size ?? 1), cursor.offset);
    return count;
  };
  return {
    ...(typeof length === 'number' ? {} : { countedBy: nameOf(length) }),
    ...(element.isDescriptor === true && (fixed ?? 0) > 0 ? { isDescriptor: true } : {}),
    uniform: element.uniform,
    size,
    zero: () => Array.from({ length: fixed ?? 0 }, () => element.zero()),
    measure(value, siblings) {
      checkLength(value, length, siblings);
      if (element.size !== undefined) return element.size * value.length;
      return sum(value, (item) => element.measure(item, siblings));
    },
    write(to, value, siblings) {
      checkLength(value, length, siblings);
      forEach(value, (item) => element.write(to, item, siblings));
    },
    read: (from, siblings) => collect(lengthAt(siblings, from), from, () => element.read(from, siblings)),
    *extent(cursor, siblings, isWanted): Extent {
      const count = lengthAt(siblings, cursor);
      if (element.size !== undefined) {
        const { offset, allowance } = cursor;
        const bytes = yield* take({ count: count * element.size, cursor });
        if (!isWanted) return undefined;
        const from = new StateReader(copyOf(bytes), offset, allowance);
        return Array.from({ length: count }, () => element.read(from, siblings));
      }
      return yield* extentOfEach(count, cursor, () => element.extent(cursor, siblings, isWanted));
    },
    describe: (name, value) => describeElements(name, value, element),
    dump: () => dumpElements(element, fixed),
  };
}

/** What a pointer that is never null points to: on the stream the value itself. */
export function pointer<T>(target: StateValue<T>): StateValue<T> {
  return target;
}

/**
 * An array of pointers, some of them null. The stream does not say which: `isNull` knows it from earlier fields or from
 * the place, and what the stream has must agree.
 */
export function pointers<T, S = Siblings>(
  target: StateValue<T>,
  length: number,
  isNull: (state: S, index: number) => boolean,
): StateField<readonly (T | null)[]> & LooksAt<S> {
  // What the predicate is given is the state it was declared for, as far as it is loaded.
  const isNullAt = isNull as (state: unknown, index: number) => boolean;
  const bytesOf = (item: T | null, siblings: Siblings) => (item === null ? 1 : target.measure(item, siblings));
  return {
    uniform: false,
    looksAround: true,
    size: undefined,
    zero: () => Array.from({ length }, () => null),
    measure(value, siblings) {
      checkLength(value, length, siblings);
      return sum(value, (item, index) => {
        const expected = isNullAt(siblings, index);
        if ((item === null) !== expected) throw unsavable(expected ? 'null' : 'a value', item);
        return bytesOf(item, siblings);
      });
    },
    write(to, value, siblings) {
      forEach(value, (item) => (item === null ? to.put(LAYOUTS.u8, NULL_MARK) : target.write(to, item, siblings)));
    },
    read(from, siblings) {
      return collect(length, from, (index) => {
        if (!isNullAt(siblings, index)) return target.read(from, siblings);
        const at = from.offset;
        return nullAt(from.next(LAYOUTS.u8), at);
      });
    },
    extent: (cursor, siblings) =>
      extentOfEach(length, cursor, function* (index): Extent {
        const { offset, allowance } = cursor;
        if (isNullAt(siblings, index)) return nullAt((yield* take({ count: 1, cursor }))[0] ?? 0, offset);
        if (target.size === undefined) return yield* target.extent(cursor, siblings, true);
        const bytes = copyOf(yield* take({ count: target.size, cursor }));
        return target.read(new StateReader(bytes, offset, allowance), siblings);
      }),
    describe: (name, value) =>
      runsOf(value).flatMap((run) =>
        run[0] === null
          ? describeElements(name, run, nullElement)
          : describeElements(name, run as readonly T[], target),
      ),
    dump: () => ({ ...dumpElements(target, length), size: POINTER_BYTES }),
  };
}

const nullElement = { uniform: true, describeOne: () => ({ type: 'nullptr', size: 1 }) };

/** One entry for all elements where one speaks for all; else one each, of which QEMU gives the last no index. */
function describeElements<T>(
  name: string,
  values: readonly T[],
  element: Pick<StateValue<T>, 'uniform' | 'describeOne'>,
): object[] {
  const [first] = values;
  if (first === undefined && values.length === 0) return [];
  if (values.length > 1 && element.uniform) {
    return [{ name, array_len: values.length, ...element.describeOne(first as T) }]; // the list is not empty
  }
  return values.map((value, index) => ({
    name,
    ...(index === values.length - 1 ? {} : { index }),
    ...element.describeOne(value),
  }));
}

/** As one element, and how many there are where that is always the same. */
function dumpElements(element: Pick<StateValue<unknown>, 'dump'>, count: number | undefined): DumpedValue {
  return { ...(count === undefined ? {} : { num: count }), size: 0, ...element.dump() };
}

function runsOf<T>(values: readonly (T | null)[]): (T | null)[][] {
  const runs: (T | null)[][] = [];
  for (const value of values) {
    const last = runs.at(-1);
    if (last !== undefined && (last[0] === null) === (value === null)) last.push(value);
    else runs.push([value]);
  }
  return runs;
}

function nullAt(mark: number, at: number): null {
  if (mark === NULL_MARK) return null;
  throw badValue(at, `0x${NULL_MARK.toString(16)}, for the pointer is null here`, `0x${mark.toString(16)}`);
}

function checkLength(value: unknown, length: Count, siblings: Siblings): void {
  const expected = counted(length, siblings);
  if (Array.isArray(value) && value.length === expected) return;
  const why = typeof length === 'number' ? '' : `, as ${nameOf(length)} says`;
  throw unsavable(`an array of ${expected}${why}`, value);
}

/** Sums over the elements; an error gets the index. */
function sum<T>(values: readonly T[], bytesOf: (value: T, index: number) => number): number {
  let total = 0;
  forEach(values, (value, index) => {
    total += bytesOf(value, index);
  });
  return total;
}

function forEach<T>(values: readonly T[], use: (value: T, index: number) => void): void {
  let index = 0;
  try {
    for (; index < values.length; index += 1) use(values[index] as T, index); // in range
  } catch (error) {
    throw within(error, `[${index}]`, index === 0 ? undefined : `[${index - 1}]`);
  }
}

/** Reads elements one after the other; an error gets the index. */
function collect<T>(count: number, from: StateReader, read: (index: number) => T): T[] {
  const values: T[] = [];
  try {
    while (values.length < count) values.push(read(values.length));
  } catch (error) {
    throw within(error, `[${values.length}]`, previousIndex(values), from.offset);
  }
  return values;
}

function* extentOfEach(count: number, cursor: ExtentCursor, next: (index: number) => Extent): Extent {
  const values: unknown[] = [];
  try {
    while (values.length < count) values.push(yield* next(values.length));
  } catch (error) {
    throw within(error, `[${values.length}]`, previousIndex(values), cursor.offset);
  }
  return values;
}

function previousIndex(values: readonly unknown[]): string | undefined {
  return values.length === 0 ? undefined : `[${values.length - 1}]`;
}
