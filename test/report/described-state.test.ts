/** Device state by descriptions that no recorded machine has: queues, odd values, and descriptions that lie. */

import { describe, expect, test } from 'vitest';
import { analyzeStream } from '../../src/report/analyze.ts';

const u32 = (value: number) => [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
const str8 = (text: string) => [text.length, ...Buffer.from(text, 'latin1')];

/** A stream with one FULL section `dev` of `payload`, whose description has `members` (JSON text). */
function streamOf(payload: number[], members: string): Uint8Array {
  const json = `{"page_size": 4096, "devices": [{"name": "dev", "instance_id": 0, "vmsd_name": "dev", "version": 1, ${members}}]}`;
  return Uint8Array.from([
    ...[0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3],
    ...[7, ...u32(4), ...Buffer.from('none')],
    ...[4, ...u32(9), ...str8('dev'), ...u32(0), ...u32(1)],
    ...payload,
    ...[0x7e, ...u32(9)],
    0,
    ...[6, ...u32(json.length), ...Buffer.from(json)],
  ]);
}

function valuesOf(payload: number[], members: string) {
  const { elements, errors } = analyzeStream(streamOf(payload, members));
  const [section] = elements;
  const fields = section?.kind === 'section' ? section.fields : undefined;
  return { errors, values: fields?.map(({ path, value }) => `${path} = ${value}`) };
}

describe('values', () => {
  test.for([
    ['bool', '01', true],
    ['int8', 'ff', -1],
    ['uint16', 'fffe', 0xfffe],
    ['int32 le', '00000007', 7],
    ['int64', 'ffffffffffffffff', -1],
    ['int64', '8000000000000000', '-0x8000000000000000'],
    ['uint64', 'ffffffffffffffff', '0xffffffffffffffff'],
    ['int64 equal', 'ffffffffffffffff', '0xffffffffffffffff'],
    ['timer', 'ffffffffffffffff', 'not armed'],
    ['timer', '00000000000003e8', 1000],
    ['CPU_Double_U', '3ff8000000000000', 1.5],
    ['CPU_Double_U', '7ff8000000000000', 'NaN'],
    ['buffer', '00c0ffee', '00c0ffee'],
    ['nullptr', '30', '30'],
    // A type whose size is not its own is shown as bytes.
    ['uint32', '0102', '0102'],
  ] as const)('%s %s is %s', ([type, bytes, value]) => {
    const payload = [...Buffer.from(bytes, 'hex')];
    const fields = `"fields": [{"name": "x", "type": "${type}", "size": ${payload.length}}]`;
    expect(valuesOf(payload, fields)).toEqual({ errors: [], values: [`x = ${value}`] });
  });
});

describe('aggregates', () => {
  const element = (name: string) =>
    `"vmsd_name": "${name}", "version": 1, "fields": [{"name": "v", "type": "uint16", "size": 2}]`;

  test('a queue has its elements under duplicate keys of one object', () => {
    const queue = `{"name": "q", "type": "qtailq", ${element('item')}, ${element('item')}, "size": 7}`;
    const { errors, values } = valuesOf([1, 0, 5, 1, 0, 6, 0], `"fields": [${queue}]`);
    expect(errors).toEqual([]);
    expect(values).toEqual(['q[0].v = 5', 'q[1].v = 6']);
  });

  test('a queue without its end mark is an error at that byte, and the stream goes on', () => {
    const queue = `{"name": "q", "type": "qlist", ${element('item')}, "size": 4}`;
    const stream = streamOf([1, 0, 5, 1], `"fields": [${queue}]`);
    const { errors, elements, vmDescription } = analyzeStream(stream);
    expect(errors).toMatchObject([{ code: 'stream/bad-value', offset: 37, field: 'q: queue mark' }]);
    expect(elements.map(({ kind }) => kind)).toEqual(['section', 'eof']);
    expect(vmDescription?.devices).toBe(1);
  });

  test('an array of structs repeats the one struct that is described', () => {
    const array = `{"name": "a", "array_len": 2, "type": "struct", "struct": {${element('item')}}, "size": 2}`;
    expect(valuesOf([0, 1, 0, 2], `"fields": [${array}]`).values).toEqual(['a[0].v = 1', 'a[1].v = 2']);
  });

  test('a struct whose parts do not add up is shown as bytes', () => {
    const struct = `{"name": "s", "type": "vstruct", ${element('item')}, "size": 3}`;
    expect(valuesOf([1, 2, 3], `"fields": [${struct}]`)).toEqual({ errors: [], values: ['s = 010203'] });
  });

  test('subsections nest, and one that is not where it should be is an error', () => {
    const inner = `{${element('dev/a/b')}}`;
    const subsections = `"fields": [], "subsections": [{"vmsd_name": "dev/a", "version": 1, "fields": [], "subsections": [${inner}]}]`;
    const payload = [5, ...str8('dev/a'), ...u32(1), 5, ...str8('dev/a/b'), ...u32(1), 0, 9];
    expect(valuesOf(payload, subsections)).toEqual({ errors: [], values: ['dev/a.dev/a/b.v = 9'] });
    const wrong = payload.with(3, 0x78);
    expect(valuesOf(wrong, subsections).errors).toMatchObject([{ field: 'subsection' }]);
  });
});

describe('descriptions that lie', () => {
  test('a section larger than the file is truncated, not read', () => {
    const members = '"fields": [{"name": "x", "array_len": 4000000000, "type": "uint64", "size": 8}]';
    expect(valuesOf([1, 2, 3, 4], members).errors).toMatchObject([{ code: 'stream/truncated', field: 'payload' }]);
  });

  test('four billion elements of no bytes cost nothing', () => {
    const members = '"fields": [{"name": "x", "array_len": 4000000000, "type": "buffer", "size": 0}]';
    expect(valuesOf([], members)).toEqual({ errors: [], values: [] });
  });

  test('a size that is not the payload is found by the footer', () => {
    const members = '"fields": [{"name": "x", "type": "uint16", "size": 2}]';
    expect(valuesOf([1, 2, 3], members).errors).toMatchObject([{ field: 'footer', offset: 36 }]);
  });

  test.for([
    '"fields": 7',
    '"fields": [{"name": "x", "size": 1}]',
    '"fields": [{"name": "x", "type": "y", "size": -1}]',
  ])('%s makes the description none, and the section is of unknown size', (members) => {
    expect(valuesOf([1], members).errors).toMatchObject([{ code: 'stream/unsupported', field: 'payload' }]);
  });
});
