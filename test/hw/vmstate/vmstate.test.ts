/** Subsections, hooks, versions, and what errors tell (spec/wire.md §9.4–9.6). */

import { describe, expect, expectTypeOf, test } from 'vitest';
import { isHarnessError } from '../../../src/base/errors.ts';
import { field } from '../../../src/hw/vmstate/field.ts';
import type { StateSchema } from '../../../src/hw/vmstate/schema.ts';
import { type StateOf, vmstate } from '../../../src/hw/vmstate/vmstate.ts';
import { LIMITS } from '../../../src/wire/limits.ts';
import { stateEnd } from '../../support/state-extent.ts';

const deep = vmstate({
  name: 'serial/timeout/deep',
  version: 1,
  fields: { depth: field.u16 },
});
const timeout = vmstate({
  name: 'serial/timeout',
  version: 2,
  minimumVersion: 2,
  fields: { pending: field.u8 },
  subsections: { deep },
  needed: ({ pending, deep }) => pending !== 0 || deep !== undefined,
});
const fifoLevel = vmstate({ name: 'serial/level', version: 1, fields: { level: field.u8 } });
const serial = vmstate({
  name: 'serial',
  version: 3,
  minimumVersion: 2,
  priority: 7,
  fields: {
    divider: field.u16,
    fifo: field.array(field.u8, 4),
    count: field.since(3, field.u8),
    tail: field.buffer('count'),
  },
  subsections: { timeout, fifoLevel },
});
const EMPTY = { divider: 1, fifo: [1, 2, 3, 4], count: 2, tail: Uint8Array.of(8, 9) };

/** `05 | name | version | payload`. */
function subsection(name: string, version: number, payload: number[]): number[] {
  return [5, name.length, ...Buffer.from(name), 0, 0, 0, version, ...payload];
}
const fields = [0, 1, 1, 2, 3, 4, 2, 8, 9];
const place = { version: 3, offset: 100, section: "section 'serial' instance 0" };

function failure(action: () => unknown): object {
  try {
    action();
  } catch (error) {
    if (isHarnessError(error)) return { code: error.code, ...error.details };
    throw error;
  }
  throw new Error('it did not fail');
}

describe('subsections', () => {
  test('are sent when the state has a value that is needed', () => {
    const encode = (state: StateOf<typeof serial>) => [...serial.encode(state)];
    expect(encode(EMPTY)).toEqual(fields);
    expect(encode({ ...EMPTY, timeout: { pending: 0 } })).toEqual(fields);
    expect(encode({ ...EMPTY, timeout: { pending: 1, deep: { depth: 3 } }, fifoLevel: { level: 6 } })).toEqual([
      ...fields,
      ...subsection('serial/timeout', 2, [1, ...subsection('serial/timeout/deep', 1, [0, 3])]),
      ...subsection('serial/level', 1, [6]),
    ]);
  });

  test('are described only when they are sent', () => {
    expect(serial.describe({ ...EMPTY, timeout: { pending: 0 } })).not.toHaveProperty('subsections');
    expect(serial.describe({ ...EMPTY, timeout: { pending: 1 } }).subsections).toEqual([
      { vmsd_name: 'serial/timeout', version: 2, fields: [{ name: 'pending', type: 'uint8', size: 1 }] },
    ]);
  });

  test('may come in any order, again, and although they are not needed', () => {
    const bytes = Uint8Array.from([
      ...fields,
      ...subsection('serial/level', 1, [6]),
      ...subsection('serial/timeout', 2, [0]),
      ...subsection('serial/level', 1, [7]),
    ]);
    expect(serial.decode(bytes, place)).toEqual({
      ...EMPTY,
      timeout: { pending: 0, deep: undefined },
      fifoLevel: { level: 7 },
    });
    expect(stateEnd(serial, Uint8Array.from([...bytes, 0x7e]))).toBe(bytes.length);
  });

  test('of an enclosing state end the inner one', () => {
    const inner = vmstate({
      name: 'in',
      version: 1,
      fields: { a: field.u8 },
      subsections: {
        x: vmstate({ name: 'in/x', version: 1, fields: { b: field.u8 } }),
      },
    });
    const outer = vmstate({
      name: 'out',
      version: 1,
      fields: { inner: field.struct(inner) },
      subsections: {
        y: vmstate({ name: 'out/y', version: 1, fields: { c: field.u8 } }),
      },
    });
    const state = { inner: { a: 1, x: { b: 2 } }, y: { c: 3 } };
    const bytes = outer.encode(state);
    expect([...bytes]).toEqual([1, ...subsection('in/x', 1, [2]), ...subsection('out/y', 1, [3])]);
    expect(outer.decode(bytes, { version: 1 })).toEqual(state);
    expect(stateEnd(outer, Uint8Array.from([...bytes, 0x7e]))).toBe(bytes.length);
  });

  test('are not waited for behind a last byte that looks like their mark', () => {
    const late = vmstate({ name: 'inner/x', version: 1, fields: { b: field.u8 }, needed: () => false });
    const inner = vmstate({ name: 'inner', version: 1, fields: { a: field.u8 }, subsections: { late } });
    const outer = vmstate({ name: 'out', version: 1, fields: { inner: field.struct(inner), last: field.u8 } });
    const bytes = outer.encode({ inner: { a: 1, late: undefined }, last: 5 });
    const endBefore = (text: string) => stateEnd(outer, Buffer.concat([bytes, Buffer.from(text)]));
    expect(endBefore('~\0\0\0\x01')).toBe(bytes.length);
    expect(endBefore('~inner\0')).toBe(bytes.length);
    expect(endBefore('~in')).toBeUndefined();
  });

  test('must be called after their parent', () => {
    expect(() => vmstate({ name: 'other', version: 1, fields: {}, subsections: { timeout } })).toThrow(/other\/…/);
  });
});

describe('a state that cannot be loaded', () => {
  test.for<[string, number[], object]>([
    [
      'cut in the first field',
      [0],
      { code: 'vmstate/truncated', field: 'serial/divider', at: 100, needed: 2, available: 1, lastGood: 'none' },
    ],
    [
      'cut in an array',
      fields.slice(0, 5),
      { code: 'vmstate/truncated', field: 'serial/fifo[3]', at: 105, lastGood: 'serial/fifo[2]' },
    ],
    [
      'cut before an array',
      fields.slice(0, 2),
      { code: 'vmstate/truncated', field: 'serial/fifo[0]', at: 102, lastGood: 'serial/divider' },
    ],
    [
      'cut in a buffer',
      fields.slice(0, 8),
      { code: 'vmstate/truncated', field: 'serial/tail', at: 107, needed: 2, available: 1 },
    ],
    ['too long', [...fields, 1, 2], { code: 'vmstate/leftover', field: 'serial', at: 109, extra: 2 }],
    [
      'cut in a subsection',
      [...fields, ...subsection('serial/timeout', 2, [])],
      { code: 'vmstate/truncated', field: 'serial/timeout/pending', at: 129 },
    ],
    [
      'with a subsection too new',
      [...fields, ...subsection('serial/timeout', 3, [1])],
      { code: 'vmstate/version', field: 'serial/timeout', version: 3, minimum: 2, maximum: 2, at: 109 },
    ],
    [
      'with a subsection too old',
      [...fields, ...subsection('serial/timeout', 1, [1])],
      { code: 'vmstate/version', field: 'serial/timeout', version: 1 },
    ],
    [
      'with a subsection nobody knows',
      [...fields, ...subsection('serial/news', 1, [1])],
      {
        code: 'vmstate/unknown-subsection',
        field: 'serial',
        subsection: 'serial/news',
        known: ['serial/timeout', 'serial/level'],
      },
    ],
    [
      'with a nested subsection nobody knows',
      [...fields, ...subsection('serial/timeout', 2, [1, ...subsection('serial/timeout/x', 1, [])])],
      { code: 'vmstate/unknown-subsection', field: 'serial/timeout' },
    ],
  ])('%s', ([, bytes, expected]) => {
    const error = failure(() => serial.decode(Uint8Array.from(bytes), place));
    expect(error).toMatchObject({ streamVersion: 3, schemaVersion: 3, section: place.section, ...expected });
  });

  test.for([1, 4])('of version %i', (version) => {
    const expected = { code: 'vmstate/version', field: 'serial', version, minimum: 2, maximum: 3, at: 100 };
    expect(failure(() => serial.decode(Uint8Array.from(fields), { ...place, version }))).toMatchObject(expected);
    expect(failure(() => serial.extent(version, { offset: 100 }).next())).toMatchObject(expected);
  });

  test('says all of it in one sentence', () => {
    expect(() => serial.decode(Uint8Array.from(fields.slice(0, 5)), place)).toThrow(
      "device state cut short at byte 105 (0x69), section 'serial' instance 0, reading serial/fifo[3] (state version 3, ours 3; last good field: serial/fifo[2]): expected 1 bytes, got 0",
    );
  });

  const point = vmstate({ name: 'point', version: 1, fields: { x: field.u8, y: field.equal(field.u8, 5) } });
  test.for([
    [
      'a struct in an array',
      { list: field.array(field.struct(point), 2) },
      [1, 5, 1, 6],
      'd/list[1]/y',
      'd/list[1]/x',
      '5, as here',
    ],
    ['a queue', { list: field.queue(point) }, [1, 1, 5, 1, 1, 7, 0], 'd/list[1]/y', 'd/list[1]/x', '5, as here'],
    [
      'a tree of another size',
      { list: field.tree(point) },
      [0, 0, 0, 2, 0],
      'd/list',
      'none',
      '2 entries, as announced',
    ],
    [
      'a null pointer that is none',
      { list: field.pointers(field.struct(point), 1, () => true) },
      [0x31],
      'd/list[0]',
      'none',
      '0x30, for the pointer is null here',
    ],
    ['too much', { v: field.atMost(3) }, [0, 0, 0, 4], 'd/v', 'none', '0 to 3'],
    ['a negative count', { n: field.i8, v: field.array(field.u8, 'n') }, [0xff], 'd/v', 'd/n', 'n to be 0 or more'],
    [
      'a broken rule',
      { a: field.u8, rule: field.validate('a to be 1', ({ a }: { a: number }) => a === 1) },
      [2],
      'd/rule',
      'd/a',
      'a to be 1',
    ],
  ] as const)('%s', ([, fields, bytes, path, lastGood, expected]) => {
    const schema = vmstate({ name: 'd', version: 1, fields });
    const error = failure(() => schema.decode(Uint8Array.from(bytes), { version: 1 }));
    expect(error).toMatchObject({ code: 'vmstate/bad-value', field: path, lastGood, expected });
  });

  test.for([
    ['VMSTATE_ELEMENTS', { n: field.u32, v: field.array(field.u8, 'n') }],
    ['VMSTATE_BYTES', { n: field.u32, v: field.buffer('n') }],
    ['VMSTATE_BYTES', { n: field.u32, v: field.array(field.buffer(2 ** 20), { field: 'n', times: 2 ** -15 }) }],
  ] as const)('that announces more than %s, before anything is read or asked for', ([limit, fields]) => {
    const schema = vmstate({ name: 'd', version: 1, fields });
    const bytes = Uint8Array.of(0xff, 0xff, 0xff, 0xff);
    const expected = { code: 'vmstate/limit', field: 'd/v', limit, maximum: LIMITS[limit] };
    expect(failure(() => schema.decode(bytes, { version: 1 }))).toMatchObject(expected);
    expect(failure(() => stateEnd(schema, bytes))).toMatchObject(expected);
  });

  test('whose queue never ends', () => {
    const schema = vmstate({
      name: 'd',
      version: 1,
      fields: { v: field.queue(vmstate({ name: 'e', version: 1, fields: {} })) },
    });
    const bytes = new Uint8Array(LIMITS.VMSTATE_ELEMENTS + 2).fill(1);
    expect(failure(() => schema.decode(bytes, { version: 1 }))).toMatchObject({
      code: 'vmstate/limit',
      at: LIMITS.VMSTATE_ELEMENTS + 1,
    });
  });

  test('whose subsections never end', () => {
    const bytes = Uint8Array.from([
      ...fields,
      ...Array(LIMITS.VMSTATE_SUBSECTIONS + 1)
        .fill(subsection('serial/level', 1, [6]))
        .flat(),
    ]);
    expect(failure(() => serial.decode(bytes, place))).toMatchObject({
      code: 'vmstate/limit',
      limit: 'VMSTATE_SUBSECTIONS',
    });
  });
});

describe('hooks', () => {
  const schema = vmstate({
    name: 'd',
    version: 2,
    minimumVersion: 1,
    fields: { a: field.u8, list: field.array(field.u8, 1) },
    preSave: (state) => ({ ...state, a: state.a + 1 }),
    postLoad: (state, version) => {
      if (state.a === 9) throw new Error('nine is too many');
      return version === 1 ? { ...state, a: 0 } : undefined;
    },
  });

  test('preSave says what is encoded and described', () => {
    expect([...schema.encode({ a: 1, list: [5] })]).toEqual([2, 5]);
  });

  test('postLoad may replace what was loaded', () => {
    expect(schema.decode(Uint8Array.of(1, 5), { version: 2 })).toEqual({ a: 1, list: [5] });
    expect(schema.decode(Uint8Array.of(1, 5), { version: 1 })).toEqual({ a: 0, list: [5] });
  });

  test('postLoad of an inner state fails with its path', () => {
    const outer = vmstate({
      name: 'o',
      version: 1,
      fields: { x: field.u8, inner: field.array(field.struct(schema), 2) },
    });
    const error = failure(() => outer.decode(Uint8Array.of(0, 1, 1, 9, 1), { version: 1 }));
    expect(error).toMatchObject({
      code: 'vmstate/hook',
      hook: 'postLoad',
      field: 'o/inner[1]',
      why: 'nine is too many',
    });
  });

  test('a condition that throws is an error with the path', () => {
    const broken = field.when(() => {
      throw new TypeError('no such thing');
    }, field.u8);
    const error = failure(() =>
      vmstate({ name: 'd', version: 1, fields: { broken } }).decode(new Uint8Array(1), { version: 1 }),
    );
    expect(error).toMatchObject({ code: 'vmstate/hook', field: 'd/broken', why: 'no such thing' });
  });
});

describe('a state that cannot be saved', () => {
  const inner = vmstate({ name: 'i', version: 1, fields: { v: field.i8 } });
  test.for([
    [{ v: field.u8 }, { v: 256 }, 'd/v', 'a whole number from 0 to 255', '256'],
    [{ v: field.u8 }, {}, 'd/v', 'a whole number from 0 to 255', 'undefined'],
    [{ v: field.i16 }, { v: 1.5 }, 'd/v', 'a whole number from -32768 to 32767', '1.5'],
    [{ v: field.u64 }, { v: -1n }, 'd/v', 'a bigint that is an uint64', '-1'],
    [{ v: field.i64 }, { v: 1 }, 'd/v', 'a bigint that is an int64', '1'],
    [{ v: field.bool }, { v: 1 }, 'd/v', 'true or false', '1'],
    [{ v: field.double }, { v: '1' }, 'd/v', 'a number', "'1'"],
    [{ v: field.timer }, { v: -1n }, 'd/v', 'a time', '-1'],
    [{ v: field.atMost(3) }, { v: 4 }, 'd/v', '0 to 3', '4'],
    [{ v: field.buffer(2) }, { v: new Uint8Array(3) }, 'd/v', '2 bytes', '3'],
    [{ n: field.u8, v: field.buffer('n') }, { n: 2, v: new Uint8Array(3) }, 'd/v', '2 bytes, as n says', '3'],
    [{ n: field.u8, v: field.array(field.u8, 'n') }, { n: 2, v: [1] }, 'd/v', 'an array of 2, as n says', '1 elements'],
    [{ v: field.bitmap(1) }, { v: [1n] }, 'd/v', '1 words', '1 elements'],
    [
      { v: field.array(field.struct(inner), 2) },
      { v: [{ v: 1 }, { v: 128 }] },
      'd/v[1]/v',
      'a whole number from -128 to 127',
      '128',
    ],
    [{ v: field.struct(inner) }, { v: undefined }, 'd/v', 'an object', 'undefined'],
    [{ v: field.pointers(field.struct(inner), 1, () => false) }, { v: [null] }, 'd/v[0]', 'a value', 'null'],
    [{ v: field.queue(inner) }, { v: 5 }, 'd/v', 'an array', '5'],
    [
      { v: field.u8, rule: field.validate('v to be 1', ({ v }: { v: number }) => v === 1) },
      { v: 2 },
      'd/rule',
      'v to be 1',
      'a state where it is not so',
    ],
  ] as const)('%#', ([fields, state, path, expected, actual]) => {
    const schema = vmstate({ name: 'd', version: 1, fields }) as StateSchema<unknown>;
    expect(failure(() => schema.encode(state))).toMatchObject({
      code: 'vmstate/unsavable',
      section: 'd',
      field: path,
      expected,
      actual,
    });
  });

  test('in a subsection', () => {
    expect(failure(() => serial.encode({ ...EMPTY, timeout: { pending: 300 } }))).toMatchObject({
      field: 'serial/timeout/pending',
    });
  });
});

describe('a schema', () => {
  test.for([
    [{ v: field.array(field.u8, 'n') }, /n must be an integer field before it/],
    [{ n: field.u64, v: field.array(field.u8, 'n') }, /n must be an integer field before it/],
    [{ v: field.buffer('n'), n: field.u8 }, /n must be an integer field before it/],
    [{ 7: field.u8 }, /7 would lose its place/],
  ] as const)('that makes no sense is refused: %#', ([fields, why]) => {
    expect(() => vmstate({ name: 'd', version: 1, fields })).toThrow(why);
  });

  test('gives the state its type', () => {
    expectTypeOf<StateOf<typeof serial>>().toEqualTypeOf<{
      readonly divider: number;
      readonly fifo: readonly number[];
      readonly count: number;
      readonly tail: Uint8Array;
      readonly timeout?:
        | { readonly pending: number; readonly deep?: { readonly depth: number } | undefined }
        | undefined;
      readonly fifoLevel?: { readonly level: number } | undefined;
    }>();
    const all = vmstate({
      name: 'all',
      version: 1,
      fields: {
        big: field.u64,
        signed: field.i64,
        on: field.bool,
        at: field.timer,
        gap: field.unused(3),
        same: field.equal(field.u32, 5),
        rule: field.validate('true', () => true),
        maybe: field.since(1, field.named('x', field.double)),
        bits: field.bitmap(3),
        inner: field.struct(deep),
        list: field.queue(deep),
        tree: field.tree(deep),
        pointers: field.pointers(field.u8, 2, () => true),
      },
    });
    expectTypeOf<StateOf<typeof all>>().toEqualTypeOf<{
      readonly big: bigint;
      readonly signed: bigint;
      readonly on: boolean;
      readonly at: bigint | undefined;
      readonly maybe: number;
      readonly bits: BigUint64Array;
      readonly inner: { readonly depth: number };
      readonly list: readonly { readonly depth: number }[];
      readonly tree: readonly (readonly [key: bigint, value: { readonly depth: number }])[];
      readonly pointers: readonly (number | null)[];
    }>();
    vmstate({
      name: 'd',
      version: 1,
      fields: {
        n: field.u8,
        // @ts-expect-error there is no such field in the state
        rule: field.validate('false', ({ m }: { m: number }) => m === 1),
      },
    });
    expect(serial.priority).toBe(7);
  });
});
