import { expect, test } from 'vitest';
import { compareDumps } from '../../src/report/compare-dumps.ts';
import { comparisonCases, comparisonJson, formatDumpComparison } from '../../src/report/format-comparison.ts';
import { parseVmstateDump } from '../../src/report/vmstate-dump.ts';

interface Field {
  field: string;
  version_id: number;
  field_exists: boolean;
  num?: number;
  size: number;
  Description?: State;
}

interface State {
  name: string;
  version_id: number;
  minimum_version_id: number;
  Fields?: Field[];
  Subsections?: State[];
}

const plain = (name: string, size = 4, more: Partial<Field> = {}): Field => ({
  field: name,
  version_id: 0,
  field_exists: false,
  size,
  ...more,
});

const state = (name: string, Fields: Field[], more: Partial<State> = {}): State => ({
  name,
  version_id: 3,
  minimum_version_id: 2,
  Fields,
  ...more,
});

const dump = (Description: State, name = 'dev', machine = 'm') => ({
  vmschkmachine: { Name: machine },
  [name]: {
    Name: name,
    version_id: Description.version_id,
    minimum_version_id: Description.minimum_version_id,
    Description,
  },
});

function compared(a: object, b: object) {
  const parse = (value: object) => parseVmstateDump(JSON.stringify(value), 'file');
  return compareDumps(parse(a), parse(b));
}

/** Each difference as `kind path a|b forward/backward`. */
function told(a: object, b: object): string[] {
  return compared(a, b)
    .devices.flatMap(({ differences }) => differences)
    .map((one) => `${one.kind} ${one.path} ${one.a}|${one.b} ${one.breaks.forward}/${one.breaks.backward}`);
}

const BASE = state('dev', [plain('x'), plain('y', 1), plain('z', 8)]);
const between = (a: State, b: State) => told(dump(a), dump(b));

test('equal dumps have no difference, whatever the order of devices', () => {
  const { dev, ...rest } = dump(BASE) as Record<string, object>;
  const more = { Name: 'e', version_id: 1, minimum_version_id: 1, Description: state('e', []) };
  expect(told({ ...rest, dev, e: more }, { e: more, dev, ...rest })).toEqual([]);
});

test.each<[string, State, State, string[]]>([
  ['another size', BASE, state('dev', [plain('x', 2), plain('y', 1), plain('z', 8)]), ['size dev/x.size 4|2 yes/yes']],
  [
    'a new field that old versions do not have',
    { ...BASE, version_id: 2 },
    state('dev', [...(BASE.Fields ?? []), plain('w', 4, { version_id: 3 })]),
    ['version dev.version_id 2|3 no/yes', 'field-extra dev/w null|w (4 bytes) no/yes'],
  ],
  [
    'a new field that every version has',
    BASE,
    state('dev', [plain('x'), plain('w'), plain('y', 1), plain('z', 8)]),
    ['field-extra dev/w null|w (4 bytes) yes/yes'],
  ],
  [
    'a field that depends on the state, on one side',
    state('dev', [plain('x'), plain('w', 4, { field_exists: true })]),
    state('dev', [plain('x')]),
    ['field-missing dev/w w (4 bytes)|null maybe/maybe'],
  ],
  [
    'two fields of one size in another order',
    state('dev', [plain('a'), plain('b'), plain('c')]),
    state('dev', [plain('a'), plain('c'), plain('b')]),
    ['field-order dev/b 1|2 yes/yes'],
  ],
  [
    'a new name for what fits',
    state('dev', [plain('a'), plain('b')]),
    state('dev', [plain('a'), plain('c')]),
    ['field-renamed dev/b b|c maybe/maybe'],
  ],
  [
    'the versions that a device loads',
    { ...BASE, version_id: 4, minimum_version_id: 4 },
    BASE,
    ['version dev.version_id 4|3 yes/yes', 'minimum-version dev.minimum_version_id 4|2 no/yes'],
  ],
  [
    'only the oldest version that is loaded',
    { ...BASE, minimum_version_id: 1 },
    BASE,
    ['minimum-version dev.minimum_version_id 1|2 no/no'],
  ],
  [
    'the number of elements',
    state('dev', [plain('x', 4, { num: 3 })]),
    state('dev', [plain('x', 4, { num: 2 })]),
    ['num dev/x.num 3|2 yes/yes'],
  ],
  [
    'bytes as an array and as a buffer',
    state('dev', [plain('x', 1, { num: 16 })]),
    state('dev', [plain('x', 16)]),
    ['size dev/x.size 1|16 no/no', 'num dev/x.num 16|null no/no'],
  ],
  [
    'a predicate',
    state('dev', [plain('x')]),
    state('dev', [plain('x', 4, { field_exists: true })]),
    ['field-exists dev/x.field_exists false|true maybe/maybe'],
  ],
  [
    'since when there is a field that both send',
    state('dev', [plain('x')]),
    state('dev', [plain('x', 4, { version_id: 3 })]),
    ['field-version dev/x.version_id 0|3 no/no'],
  ],
  [
    'fields that are no longer used',
    state('dev', [plain('x'), plain('p'), plain('q', 2), plain('y')]),
    state('dev', [plain('x'), plain('unused', 6), plain('y')]),
    ['field-unused dev/p p (4 bytes) + q (2 bytes)|unused (6 bytes) no/no'],
  ],
  [
    'unused space that is used again in part',
    state('dev', [plain('unused', 28), plain('y')]),
    state('dev', [plain('n'), plain('unused', 24), plain('y')]),
    ['field-unused dev/unused unused (28 bytes)|n (4 bytes) + unused (24 bytes) no/no'],
  ],
  ['the name of the section', BASE, { ...BASE, name: 'other' }, ['name dev.name dev|other yes/yes']],
  [
    'a struct and plain bytes',
    state('dev', [plain('s', 8, { Description: state('inner', [plain('i')]) })]),
    state('dev', [plain('s', 8)]),
    ['struct dev/s.Description inner|null yes/yes'],
  ],
])('%s', (_, a, b, differences) => {
  expect(between(a, b)).toEqual(differences);
  // The other way round it is the same, mirrored.
  const mirrored = compared(dump(b), dump(a)).compatible;
  const { forward, backward } = compared(dump(a), dump(b)).compatible;
  expect(mirrored).toEqual({ forward: backward, backward: forward });
});

test("a struct's version and size in memory do not travel, its fields do", () => {
  const outer = (inner: State, size: number) => state('dev', [plain('s', size, { Description: inner })]);
  const inner = state('inner', [plain('i'), plain('late', 2, { version_id: 3 })]);
  expect(between(outer(inner, 8), outer({ ...inner, name: 'renamed', minimum_version_id: 1 }, 16))).toEqual([
    'size dev/s.size 8|16 no/no',
    'name dev/s.name inner|renamed no/no',
    'minimum-version dev/s.minimum_version_id 2|1 no/no',
  ]);
  // One side writes the late field and the other, of an older version, does not read it.
  expect(between(outer(inner, 8), outer({ ...inner, version_id: 2 }, 8))).toEqual([
    'version dev/s.version_id 3|2 yes/yes',
  ]);
});

test('subsections are told apart by name; one that only one side knows breaks when it is needed', () => {
  const sub = (name: string, size = 4) => state(`dev/${name}`, [plain(name, size)]);
  const whole = (...Subsections: State[]) => ({ ...BASE, Subsections });
  expect(between(whole(sub('p'), sub('q')), whole(sub('q'), sub('p')))).toEqual([
    'subsection-order dev dev/p, dev/q|dev/q, dev/p no/no',
  ]);
  expect(between(whole(sub('p'), sub('q')), whole(sub('p')))).toEqual([
    'subsection-missing dev/[dev/q] dev/q|null maybe/no',
  ]);
  expect(between(BASE, whole(sub('p')))).toEqual(['subsection-extra dev/[dev/p] null|dev/p no/maybe']);
  expect(between(whole(sub('p')), whole({ ...sub('p'), name: 'dev/r' }))).toEqual([
    'subsection-renamed dev/[dev/p] dev/p|dev/r maybe/maybe',
  ]);
  expect(between(whole(sub('p')), whole(sub('p', 2)))).toEqual(['size dev/[dev/p]/p.size 4|2 yes/yes']);
});

test('devices that one side lacks, and a type under a new name', () => {
  expect(told(dump(BASE), dump(BASE, 'new'))).toEqual(['device-renamed dev.Name dev|new no/no']);
  const two = { ...dump(BASE), ...dump(BASE, 'twin') };
  expect(told(two, { vmschkmachine: { Name: 'm' } })).toEqual([
    'device-missing dev dev|null yes/no',
    'device-missing twin dev|null yes/no',
  ]);
  expect(told(dump(BASE), two)).toEqual(['device-extra twin null|dev no/yes']);
});

test('two machine types are a difference that breaks', () => {
  expect(told(dump(BASE), dump(BASE, 'dev', 'n'))).toEqual(['machine vmschkmachine.Name m|n yes/yes']);
});

test('versions that QEMU writes twice are reported once, and a copy that strays apart', () => {
  const strayed = dump(BASE) as Record<string, object>;
  strayed['dev'] = { ...strayed['dev'], version_id: 9 };
  expect(told(dump(BASE), strayed)).toEqual(['version dev.version_id (copy) 3|9 no/no']);
});

test('many fields, all in another order, are compared in no time', () => {
  const fields = Array.from({ length: 20_000 }, (_, index) => plain(`f${index}`));
  expect(between(state('dev', fields), state('dev', fields.toReversed()))).toHaveLength(19_999);
  const renamed = fields.map((one) => ({ ...one, field: `g${one.field}` }));
  expect(between(state('dev', fields), state('dev', renamed))).toHaveLength(20_000);
});

test('as JSON, text and JUnit it says the same', () => {
  const other = state('dev', [plain('x', 2), plain('y', 1), plain('z', 8)]);
  const comparison = compared(dump(BASE), dump(other));
  expect(comparisonJson(comparison)).toMatchObject({
    equal: false,
    compatible: { forward: false, backward: false },
    devices: 1,
    differences: [{ path: 'dev/x.size', kind: 'size', a: 4, b: 2, breaks: { forward: 'yes', backward: 'yes' } }],
  });
  expect(formatDumpComparison(comparison, { a: 'one', b: 'two' }, (text) => text)).toBe(
    [
      "A  one (machine 'm')",
      "B  two (machine 'm')",
      'breaks both ways  dev/x.size: size: 4 | 2 (another number of bytes: what follows is read from the wrong ones)',
      '1 difference in 1 types of devices',
      'A to B: NOT compatible',
      'B to A: NOT compatible',
      '',
    ].join('\n'),
  );
  expect(comparisonCases(comparison, ['forward'])).toEqual([
    { name: 'machine' },
    { name: 'dev', why: expect.stringContaining('dev/x.size') },
  ]);
  const [, oneWay] = comparisonCases(compared(dump(BASE), dump({ ...BASE, version_id: 4 })), ['forward']);
  expect(oneWay).toEqual({ name: 'dev' });
});

test.each([
  ['', 'line 1 column 1: expected a value, got the end'],
  ['{"dev":\n  {"Name" "dev"}}', `line 2 column 11: expected ':', got '"dev"}}'`],
  ['[]', 'top level: expected an object, got an array'],
  ['{}', "top level: expected 'vmschkmachine' or a device, got neither"],
  ['{"vmschkmachine":{}}', 'vmschkmachine.Name: expected a string, got nothing'],
  ['{"dev":{"Name":"dev"}}', 'dev.version_id: expected a whole number, got nothing'],
  ['{"dev":{},"dev":{}}', 'dev: expected a member of this name once, got a second one'],
  [
    JSON.stringify(dump(state('dev', [plain('x'), { ...plain('y'), size: '4' as unknown as number }]))),
    'dev.Description.Fields[1].size: expected a whole number, got "4"',
  ],
  [
    JSON.stringify(dump({ ...BASE, Subsections: [{ ...BASE, Fields: 7 as unknown as Field[] }] })),
    'dev.Description.Subsections[0].Fields: expected an array, got 7',
  ],
  [`${'{"dev":'.repeat(70)}1${'}'.repeat(70)}`, 'line 1 column 456: expected at most 64 levels, got'],
])('a file that is none is an error that says where: %s', (text, where) => {
  expect(() => parseVmstateDump(text, 'f.json')).toThrow(`bad vmstate dump 'f.json' at ${where}`);
});
