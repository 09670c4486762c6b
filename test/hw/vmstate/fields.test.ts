/** Every kind of field: its bytes, its value, its description (spec/wire.md §9). */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { field } from '../../../src/hw/vmstate/field.ts';
import type { StateSchema } from '../../../src/hw/vmstate/schema.ts';
import { vmstate } from '../../../src/hw/vmstate/vmstate.ts';
import { stateEnd } from '../../support/state-extent.ts';

const FOOTER = Buffer.from('7e00000001', 'hex');

const point = vmstate({ name: 'point', version: 2, fields: { x: field.u16, y: field.i16 } });
const POINT = {
  vmsd_name: 'point',
  version: 2,
  fields: [
    { name: 'x', type: 'uint16', size: 2 },
    { name: 'y', type: 'int16', size: 2 },
  ],
};
const rated = vmstate({
  name: 'drive',
  version: 1,
  fields: { head: field.u8 },
  subsections: { rate: vmstate({ name: 'drive/rate', version: 1, fields: { rate: field.u8 } }) },
});
const drive = (...subsections: object[]) => ({
  vmsd_name: 'drive',
  version: 1,
  fields: [{ name: 'head', type: 'uint8', size: 1 }],
  ...(subsections.length === 0 ? {} : { subsections }),
});
const RATE = { vmsd_name: 'drive/rate', version: 1, fields: [{ name: 'rate', type: 'uint8', size: 1 }] };

function schemaOf(fields: Parameters<typeof vmstate>[0]['fields']): StateSchema<unknown> {
  return vmstate({ name: 'device', version: 3, fields });
}

/** Encodes, finds, decodes and describes one state. */
function inspect(fields: Parameters<typeof vmstate>[0]['fields'], state: object) {
  const schema = schemaOf(fields);
  const bytes = schema.encode(state);
  return {
    hex: Buffer.from(bytes).toString('hex'),
    end: stateEnd(schema, Buffer.concat([bytes, FOOTER])) === bytes.length,
    decoded: schema.decode(bytes, { version: 3 }),
    fields: schema.describe(state).fields,
  };
}

describe('one value', () => {
  test.for([
    ['u8', field.u8, 0xfe, 'fe', { type: 'uint8', size: 1 }],
    ['u16', field.u16, 0xfedc, 'fedc', { type: 'uint16', size: 2 }],
    ['u32', field.u32, 0xfedcba98, 'fedcba98', { type: 'uint32', size: 4 }],
    ['u64', field.u64, 0xfedcba9876543210n, 'fedcba9876543210', { type: 'uint64', size: 8 }],
    ['i8', field.i8, -2, 'fe', { type: 'int8', size: 1 }],
    ['i16', field.i16, -2, 'fffe', { type: 'int16', size: 2 }],
    ['i32', field.i32, -2, 'fffffffe', { type: 'int32', size: 4 }],
    ['i64', field.i64, -2n, 'fffffffffffffffe', { type: 'int64', size: 8 }],
    ['bool', field.bool, true, '01', { type: 'bool', size: 1 }],
    ['double', field.double, -1.5, 'bff8000000000000', { type: 'CPU_Double_U', size: 8 }],
    ['an armed timer', field.timer, 1000n, '00000000000003e8', { type: 'timer', size: 8 }],
    ['a timer that is not armed', field.timer, undefined, 'ffffffffffffffff', { type: 'timer', size: 8 }],
    ['atMost', field.atMost(7), 7, '00000007', { type: 'int32 le', size: 4 }],
    ['buffer', field.buffer(3), Uint8Array.of(1, 2, 3), '010203', { type: 'buffer', size: 3 }],
    [
      'bitmap',
      field.bitmap(65),
      BigUint64Array.of(1n, 2n),
      '00000000000000010000000000000002',
      { type: 'bitmap', size: 16 },
    ],
    ['struct', field.struct(point), { x: 1, y: -1 }, '0001ffff', { type: 'struct', struct: POINT, size: 4 }],
    [
      'pointer',
      field.pointer(field.struct(point)),
      { x: 1, y: -1 },
      '0001ffff',
      { type: 'struct', struct: POINT, size: 4 },
    ],
    ['named', field.named('their.v', field.u8), 1, '01', { name: 'their.v', type: 'uint8', size: 1 }],
  ] as const)('%s', ([, kind, value, hex, described]) => {
    expect(inspect({ value: kind }, { value })).toStrictEqual({
      hex,
      end: true,
      decoded: { value },
      fields: [{ name: 'value', ...described }],
    });
  });

  test('a bool reads any byte but zero as true', () => {
    expect(schemaOf({ value: field.bool }).decode(Uint8Array.of(0x80), { version: 3 })).toEqual({ value: true });
  });

  test('a decoded buffer is a view of the bytes it came from', () => {
    const bytes = Uint8Array.of(9, 1, 2);
    const { value } = vmstate({ name: 'd', version: 1, fields: { head: field.u8, value: field.buffer(2) } }).decode(
      bytes,
      { version: 1 },
    );
    expect([value.buffer === bytes.buffer, value.byteOffset]).toEqual([true, 1]);
  });
});

describe('no value', () => {
  test('unused space is zeros, and skipped; two of them are told apart by number', () => {
    const fields = { a: field.unused(2), value: field.u8, b: field.unused(1) };
    expect(inspect(fields, { value: 7 })).toEqual({
      hex: '00000700',
      end: true,
      decoded: { value: 7 },
      fields: [
        { name: 'unused[0]', type: 'unused_buffer', size: 2 },
        { name: 'value', type: 'uint8', size: 1 },
        { name: 'unused[1]', type: 'unused_buffer', size: 1 },
      ],
    });
    expect(schemaOf(fields).decode(Uint8Array.of(1, 2, 3, 4), { version: 3 })).toEqual({ value: 3 });
  });

  test.for([
    [field.equal(field.u8, 16), '10', 'uint8 equal', 1],
    [field.equal(field.u16, 16), '0010', 'uint16 equal', 2],
    [field.equal(field.i32, -1), 'ffffffff', 'int32 equal', 4],
    // Unsigned, whatever QEMU calls it.
    [field.equal(field.u64, 2n ** 64n - 1n), 'ffffffffffffffff', 'int64 equal', 8],
  ] as const)('an expected value is written from the schema', ([kind, hex, type, size]) => {
    expect(inspect({ drives: kind }, {})).toEqual({
      hex,
      end: true,
      decoded: {},
      fields: [{ name: 'drives', type, size }],
    });
  });

  test('a rule has no bytes and no entry', () => {
    const rule = field.validate('a to be above 1', ({ a }: { a: number }) => a > 1);
    const u8 = { type: 'uint8', size: 1 };
    expect(inspect({ a: field.u8, rule }, { a: 2 })).toEqual({
      hex: '02',
      end: true,
      decoded: { a: 2 },
      fields: [{ name: 'a', ...u8 }],
    });
  });
});

describe('many values', () => {
  const items = vmstate({ name: 'item', version: 1, fields: { v: field.u8 } });
  const item = { vmsd_name: 'item', version: 1, fields: [{ name: 'v', type: 'uint8', size: 1 }] };
  const u8 = { type: 'uint8', size: 1 };
  const n = { name: 'n', ...u8 };
  test.for([
    ['array', { v: field.array(field.u8, 3) }, { v: [1, 2, 3] }, '010203', [{ name: 'v', array_len: 3, ...u8 }]],
    [
      'array of one, which looks like a scalar',
      { v: field.array(field.u8, 1) },
      { v: [1] },
      '01',
      [{ name: 'v', ...u8 }],
    ],
    ['array of none, which is not described', { v: field.array(field.u8, 0) }, { v: [] }, '', []],
    [
      'array as long as another field says',
      { n: field.u8, v: field.array(field.u16, 'n') },
      { n: 2, v: [1, 2] },
      '0200010002',
      [n, { name: 'v', array_len: 2, type: 'uint16', size: 2 }],
    ],
    [
      'array as long as another field says, times a constant',
      { n: field.u8, v: field.array(field.u8, { field: 'n', times: 2 }) },
      { n: 1, v: [1, 2] },
      '010102',
      [n, { name: 'v', array_len: 2, ...u8 }],
    ],
    [
      'buffer as long as another field says',
      { n: field.u8, v: field.buffer('n') },
      { n: 2, v: Uint8Array.of(8, 9) },
      '020809',
      [n, { name: 'v', type: 'buffer', size: 2 }],
    ],
    ['buffer without bytes', { n: field.u8, v: field.buffer('n') }, { n: 0, v: new Uint8Array(0) }, '00', [n]],
    [
      'bitmap as long as another field says',
      { n: field.i32, v: field.bitmap('n') },
      { n: 3, v: BigUint64Array.of(5n) },
      '000000030000000000000005',
      [
        { name: 'n', type: 'int32', size: 4 },
        { name: 'v', type: 'bitmap', size: 8 },
      ],
    ],
    [
      'array of structs, described once',
      { v: field.array(field.struct(point), 2) },
      {
        v: [
          { x: 1, y: 2 },
          { x: 3, y: 4 },
        ],
      },
      '0001000200030004',
      [{ name: 'v', array_len: 2, type: 'struct', struct: POINT, size: 4 }],
    ],
    [
      'array of structs with subsections, described one by one, the last without index',
      { v: field.array(field.struct(rated), 3) },
      {
        v: [
          { head: 1, rate: { rate: 2 } },
          { head: 3, rate: undefined },
          { head: 4, rate: undefined },
        ],
      },
      '01050a64726976652f72617465000000010203' + '04',
      [
        { name: 'v', index: 0, type: 'struct', struct: drive(RATE), size: 18 },
        { name: 'v', index: 1, type: 'struct', struct: drive(), size: 1 },
        { name: 'v', type: 'struct', struct: drive(), size: 1 },
      ],
    ],
    [
      'pointers, some null',
      { v: field.pointers(field.struct(items), 4, (_, index) => index === 1 || index === 2) },
      { v: [{ v: 7 }, null, null, { v: 0x30 }] },
      '07303030',
      [
        { name: 'v', type: 'struct', struct: item, size: 1 },
        { name: 'v', array_len: 2, type: 'nullptr', size: 1 },
        { name: 'v', type: 'struct', struct: item, size: 1 },
      ],
    ],
    [
      'queue',
      { v: field.queue(items) },
      { v: [{ v: 7 }, { v: 8 }] },
      '0107010800',
      [{ name: 'v', type: 'qtailq', elements: [item, item], size: 5 }],
    ],
    ['list', { v: field.list(items) }, { v: [] }, '00', [{ name: 'v', type: 'qlist', elements: [], size: 1 }]],
    [
      'tree with numbers as keys',
      { v: field.tree(items) },
      { v: [[5n, { v: 7 }]] },
      '0000000101000000000000000507' + '00',
      [{ name: 'v', type: 'gtree', elements: [item], size: 15 }],
    ],
    [
      'tree with structs as keys',
      { v: field.tree(items, point) },
      { v: [[{ x: 1, y: 2 }, { v: 7 }]] },
      '0000000101000100020700',
      [{ name: 'v', type: 'gtree', elements: [POINT, item], size: 11 }],
    ],
  ] as const)('%s', ([, fields, state, hex, described]) => {
    expect(inspect(fields, state)).toEqual({ hex, end: true, decoded: state, fields: described });
  });
});

describe('versions and conditions', () => {
  const versioned = vmstate({
    name: 'device',
    version: 3,
    minimumVersion: 1,
    fields: { a: field.u8, b: field.since(2, field.u8), c: field.since(3, field.u8, 9), d: field.u8 },
  });

  test.for([
    [1, '0104', { a: 1, b: 0, c: 9, d: 4 }],
    [2, '010204', { a: 1, b: 2, c: 9, d: 4 }],
    [3, '01020304', { a: 1, b: 2, c: 3, d: 4 }],
  ] as const)('version %i has the fields it had', ([version, hex, state]) => {
    const bytes = Buffer.from(hex, 'hex');
    expect(versioned.decode(bytes, { version })).toEqual(state);
    expect(stateEnd(versioned, Buffer.concat([bytes, FOOTER]), version)).toBe(bytes.length);
  });

  const conditional = vmstate({
    name: 'device',
    version: 2,
    fields: {
      flags: field.u8,
      extra: field.when(({ flags }: { flags: number }) => flags > 0, field.u16),
      last: field.u8,
      far: field.when(
        ({ last }: { last: number }, version) => last === 2 && version === 2,
        field.array(field.u8, 'last'),
      ),
    },
  });

  test.for([
    ['0001', { flags: 0, extra: 0, last: 1, far: [] }, ['flags', 'last']],
    ['0100ff01', { flags: 1, extra: 255, last: 1, far: [] }, ['flags', 'extra', 'last']],
    ['00020506', { flags: 0, extra: 0, last: 2, far: [5, 6] }, ['flags', 'last', 'far']],
  ] as const)('a condition sees the fields before it: %s', ([hex, state, names]) => {
    const bytes = conditional.encode(state);
    expect(Buffer.from(bytes).toString('hex')).toBe(hex);
    expect(conditional.decode(bytes, { version: 2 })).toEqual(state);
    expect(stateEnd(conditional, Buffer.concat([bytes, FOOTER]))).toBe(bytes.length);
    expect(conditional.describe(state).fields.map((entry) => (entry as { name: string }).name)).toEqual(names);
  });

  test('an array whose elements have conditions is described one by one', () => {
    const element = vmstate({ name: 'e', version: 1, fields: { v: field.when(() => true, field.u8) } });
    const { fields } = inspect({ list: field.array(field.struct(element), 2) }, { list: [{ v: 1 }, { v: 2 }] });
    expect(fields.map((entry) => (entry as { index?: number }).index)).toEqual([0, undefined]);
  });
});

test('every kind of field is in the table of docs/vmstate.md', () => {
  const text = readFileSync(new URL('../../../docs/vmstate.md', import.meta.url), 'utf8');
  const rows = text.split('\n').filter((line) => line.startsWith('| `'));
  const named = rows.flatMap((row) => Array.from((row.split('|')[1] ?? '').matchAll(/`(\w+)/g), ([, name]) => name));
  expect(named.sort()).toEqual(Object.keys(field).sort());
});
