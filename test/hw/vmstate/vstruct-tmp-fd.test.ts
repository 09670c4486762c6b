/** Fields that are more than their value: structs in a version of their own, temporaries, file descriptors (spec/wire.md §9.2, §9.3). */

import { describe, expect, test } from 'vitest';
import { field } from '../../../src/hw/vmstate/field.ts';
import { type StateOf, vmstate } from '../../../src/hw/vmstate/vmstate.ts';
import { stateEnd } from '../../support/state-extent.ts';

const FOOTER = Buffer.from('7e00000001', 'hex');

describe('vstruct', () => {
  const inner = vmstate({
    name: 'inner',
    version: 3,
    minimumVersion: 1,
    fields: { a: field.u8, b: field.since(2, field.u8), c: field.since(3, field.u16, 9) },
  });

  test.for([
    [1, '0106', { a: 1, b: 0, c: 9 }],
    [2, '010206', { a: 1, b: 2, c: 9 }],
    [3, '0102000306', { a: 1, b: 2, c: 3 }],
  ] as const)('of version %i has the fields of that version', ([version, hex, loaded]) => {
    const outer = vmstate({
      name: 'outer',
      version: 1,
      fields: { v: field.vstruct(inner, version), last: field.u8 },
    });
    const bytes = outer.encode({ v: { a: 1, b: 2, c: 3 }, last: 6 });
    expect(Buffer.from(bytes).toString('hex')).toBe(hex);
    expect(outer.decode(bytes, { version: 1 })).toEqual({ v: loaded, last: 6 });
    expect(stateEnd(outer, Buffer.concat([bytes, FOOTER]))).toBe(bytes.length);
    const [entry] = outer.describe({ v: { a: 1, b: 2, c: 3 }, last: 6 }).fields;
    expect(entry).toMatchObject({ name: 'v', type: 'vstruct', elements: [{ vmsd_name: 'inner', version }] });
    expect(entry).toMatchObject({ size: bytes.length - 1 });
  });

  test('of a version that the description does not have is a mistake', () => {
    expect(() => field.vstruct(inner, 4)).toThrow(/version from 1 to 3/);
    expect(() => field.vstruct(inner, 0)).toThrow(/version from 1 to 3/);
  });

  test('as the elements of an array', () => {
    const outer = vmstate({ name: 'outer', version: 1, fields: { v: field.array(field.vstruct(inner, 1), 2) } });
    const state = {
      v: [
        { a: 1, b: 0, c: 9 },
        { a: 2, b: 0, c: 9 },
      ],
    };
    expect(Buffer.from(outer.encode(state)).toString('hex')).toBe('0102');
    expect(outer.decode(outer.encode(state), { version: 1 })).toEqual(state);
  });

  test('that is cut short is an error with its path', () => {
    const outer = vmstate({ name: 'outer', version: 1, fields: { v: field.vstruct(inner, 3) } });
    expect(() => outer.decode(Buffer.from('0102', 'hex'), { version: 1 })).toThrow(/outer\/v\/c.*last good field: .*b/);
  });
});

describe('tmp', () => {
  const wire = vmstate({ name: 'device-tmp', version: 0, fields: { width: field.u8, spare: field.u8 } });
  const device = vmstate({
    name: 'device',
    version: 1,
    fields: {
      flags: field.u8,
      width: field.tmp(wire, {
        make: ({ flags }: { flags: number }) => ({ width: flags & 1 ? 2 : 1, spare: 0xaa }),
        put: ({ width }, { flags }) => {
          if (width > 2) throw new Error(`no width of ${width}`);
          return { flags: flags | 0x80 };
        },
      }),
      last: field.u16,
    },
  });

  test('is made of the state, and changes what is loaded; the state has no member of it', () => {
    const state: StateOf<typeof device> = { flags: 1, last: 7 };
    const bytes = device.encode(state);
    expect(Buffer.from(bytes).toString('hex')).toBe('0102aa0007');
    expect(device.decode(bytes, { version: 1 })).toEqual({ flags: 0x81, last: 7 });
    expect(stateEnd(device, Buffer.concat([bytes, FOOTER]))).toBe(bytes.length);
  });

  test('is described with its members in its own entry', () => {
    const [, entry] = device.describe({ flags: 0, last: 0 }).fields;
    expect(entry).toMatchObject({
      name: 'width',
      type: 'tmp',
      size: 2,
      elements: [{ vmsd_name: 'device-tmp', version: 0 }],
    });
  });

  test('whose hook throws is an error that says so', () => {
    expect(() => device.decode(Buffer.from('0003aa0007', 'hex'), { version: 1 })).toThrow(
      /refused by put at byte 3 .*device\/width.*no width of 3/,
    );
  });

  test('is loaded in version 0: a description without one is a mistake', () => {
    const young = vmstate({ name: 't', version: 1, fields: { a: field.u8 } });
    const grown = vmstate({ name: 't', version: 1, minimumVersion: 0, fields: { a: field.since(1, field.u8) } });
    for (const schema of [young, grown])
      expect(() => field.tmp(schema, { make: () => ({ a: 1 }) })).toThrow(/loaded in version 0/);
  });
});

describe('fd', () => {
  const plain = vmstate({ name: 'device', version: 1, fields: { a: field.u8, pipe: field.fd } });

  test('cannot be saved: no transport carries it', () => {
    expect(() => plain.encode({ a: 1, pipe: 5 })).toThrow(
      "state of 'device' cannot be saved, device/pipe: expected a transport that carries file descriptors",
    );
  });

  test.for([
    ['20', /device\/pipe .*expected a transport that carries file descriptors.*got a descriptor announced/],
    ['21', /device\/pipe .*expected 0x20 and a descriptor, got 0x21/],
  ] as const)('cannot be loaded from %s', ([mark, message]) => {
    expect(() => plain.decode(Buffer.from(`01${mark}`, 'hex'), { version: 1 })).toThrow(message);
  });

  test('is found wherever it is in every state, and not where it may be absent', () => {
    const inner = vmstate({ name: 'inner', version: 1, fields: { pipe: field.fd } });
    const found = (fields: Parameters<typeof vmstate>[0]['fields']) =>
      vmstate({ name: 'd', version: 2, fields }).descriptorField;
    expect(plain.descriptorField).toBe('pipe');
    expect(found({ s: field.struct(inner) })).toBe('s');
    expect(found({ s: field.vstruct(inner, 1) })).toBe('s');
    expect(found({ s: field.array(field.fd, 2) })).toBe('s');
    expect(found({ s: field.when(() => false, field.fd), t: field.u8 })).toBeUndefined();
  });

  test('is described', () => {
    expect(plain.describe({ a: 1, pipe: 5 }).fields[1]).toEqual({ name: 'pipe', type: 'fd', size: 1 });
  });
});
