/** Queues and trees: elements behind marks, as many as there are (spec/wire.md §9.3). */

import { LAYOUTS } from '../../wire/struct.ts';
import { struct } from './aggregates.ts';
import { badValue, u64 } from './scalars.ts';
import { StateReader } from './state-bytes.ts';
import {
  copyOf,
  type Extent,
  type ExtentCursor,
  type StateField,
  type StateValue,
  take,
  unsavable,
} from './state-field.ts';
import { within } from './trouble.ts';
import type { VmState } from './vmstate.ts';

const ELEMENT_FOLLOWS = 0x01;
const END = 0x00;
const COUNT_BYTES = 4;

/** A queue of structs (QTAILQ). */
export function queue<S>(schema: VmState<S>): StateField<readonly S[]> {
  return marked({
    type: 'qtailq',
    element: struct(schema),
    dumped: schema,
    members: (value) => [schema.codec.describe(value)],
  });
}

/** A list of structs (QLIST), in order. */
export function list<S>(schema: VmState<S>): StateField<readonly S[]> {
  return marked({
    type: 'qlist',
    element: struct(schema),
    dumped: schema,
    members: (value) => [schema.codec.describe(value)],
  });
}

/** A tree (GTree) in the order of its keys, which are structs or, without a description of their own, 64-bit numbers. */
export function tree<S>(value: VmState<S>): StateField<readonly (readonly [key: bigint, value: S])[]>;
/** A tree whose keys have a description. */
export function tree<S, K>(value: VmState<S>, key: VmState<K>): StateField<readonly (readonly [key: K, value: S])[]>;
/** A tree with either kind of keys. */
export function tree<S, K>(value: VmState<S>, key?: VmState<K>): StateField<readonly (readonly [K | bigint, S])[]> {
  const entry = pair<K | bigint, S>(
    // Without a description keys are bigint, with one they are K.
    (key === undefined ? u64 : struct(key)) as StateValue<K | bigint>,
    struct(value),
  );
  return marked({
    type: 'gtree',
    element: entry,
    isCounted: true,
    dumped: value,
    members: ([first, second]) => [
      ...(key === undefined ? [] : [key.codec.describe(first)]),
      value.codec.describe(second),
    ],
  });
}

function marked<T>(options: {
  type: string;
  element: Omit<StateValue<T>, 'describe' | 'describeOne' | 'dump'>;
  /** What QEMU's dump tells of an element: the value alone where there is a key. */
  dumped: Pick<VmState<never>, 'codec'>;
  /** Whether the number of elements goes first. */
  isCounted?: boolean;
  /** The descriptions that QEMU writes into the field's own entry, one after the other. */
  members: (value: T) => object[];
}): StateField<readonly T[]> {
  const { type, element, isCounted = false, members } = options;
  const { codec } = options.dumped;
  const measure = (values: readonly T[]) => {
    if (!Array.isArray(values)) throw unsavable('an array', values);
    const head = isCounted ? COUNT_BYTES : 0;
    return values.reduce((sum, value) => sum + 1 + (element.size ?? element.measure(value, {})), head + 1);
  };
  return {
    uniform: false,
    size: undefined,
    zero: () => [],
    measure,
    write(to, values) {
      if (isCounted) to.put(LAYOUTS.u32, values.length);
      for (const value of values) {
        to.put(LAYOUTS.u8, ELEMENT_FOLLOWS);
        element.write(to, value, {});
      }
      to.put(LAYOUTS.u8, END);
    },
    read(from) {
      const at = from.offset;
      const announced = isCounted ? from.next(LAYOUTS.u32) : undefined;
      const values: T[] = [];
      try {
        while (from.next(LAYOUTS.u8) !== END) {
          from.allowance.elements(1, from.offset);
          values.push(element.read(from, {}));
        }
      } catch (error) {
        throw atIndex(error, values.length, from.offset);
      }
      checkCount(announced, values.length, at);
      return values;
    },
    extent: (cursor) => markedExtent(cursor, element, isCounted),
    describe: (name, values) => [{ name, type, elements: values.flatMap(members), size: measure(values) }],
    dump: () => ({ size: codec.memoryBytes, Description: codec.dump() }),
  };
}

function* markedExtent<T>(
  cursor: ExtentCursor,
  element: Pick<StateValue<T>, 'size' | 'read' | 'extent'>,
  isCounted: boolean,
): Extent {
  const values: unknown[] = [];
  if (isCounted) yield* take({ count: COUNT_BYTES, cursor });
  try {
    while ((yield* take({ count: 1, cursor }))[0] !== END) {
      const { offset, allowance } = cursor;
      allowance.elements(1, offset);
      if (element.size === undefined) values.push(yield* element.extent(cursor, {}, true));
      else {
        const bytes = copyOf(yield* take({ count: element.size, cursor }));
        values.push(element.read(new StateReader(bytes, offset, allowance), {}));
      }
    }
  } catch (error) {
    throw atIndex(error, values.length, cursor.offset);
  }
  return values;
}

function atIndex(error: unknown, index: number, at: number): Error {
  return within(error, `[${index}]`, index === 0 ? undefined : `[${index - 1}]`, at);
}

function checkCount(announced: number | undefined, actual: number, at: number): void {
  if (announced !== undefined && announced !== actual) throw badValue(at, `${announced} entries, as announced`, actual);
}

/** A key and its value, one after the other. */
function pair<K, V>(
  key: StateValue<K>,
  value: StateValue<V>,
): Omit<StateValue<readonly [K, V]>, 'describe' | 'describeOne' | 'dump'> {
  return {
    uniform: false,
    size: key.size === undefined || value.size === undefined ? undefined : key.size + value.size,
    zero: () => [key.zero(), value.zero()],
    measure: ([first, second]) => key.measure(first, {}) + value.measure(second, {}),
    write(to, [first, second]) {
      key.write(to, first, {});
      value.write(to, second, {});
    },
    read: (from) => [key.read(from, {}), value.read(from, {})],
    *extent(cursor): Extent {
      for (const part of [key, value]) {
        if (part.size === undefined) yield* part.extent(cursor, {}, false);
        else yield* take({ count: part.size, cursor });
      }
      return undefined;
    },
  };
}
