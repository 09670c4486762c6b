/**
 * Every device that a real QEMU sent and described in terms that a schema has: a schema made from its description takes its
 * bytes apart, puts them together again, finds their end, and describes them as QEMU did.
 */

import { describe, expect, test } from 'vitest';
import { field } from '../../../src/hw/vmstate/field.ts';
import type { StateField, StateValue } from '../../../src/hw/vmstate/state-field.ts';
import { type VmState, vmstate } from '../../../src/hw/vmstate/vmstate.ts';
import { recordedStream } from '../../support/recorded-stream.ts';
import { stateEnd } from '../../support/state-extent.ts';
import { sectionsOf } from '../../support/stream-section.ts';

/** Entries of a description, as QEMU writes them. */
interface DescribedField {
  readonly name: string;
  readonly array_len?: number;
  readonly index?: number;
  readonly type: string;
  readonly struct?: DescribedObject;
  readonly size: number;
}
interface DescribedObject {
  readonly vmsd_name: string;
  readonly version: number;
  readonly fields: readonly DescribedField[];
  readonly subsections?: readonly DescribedObject[];
}

const SCALARS: Readonly<Record<string, StateValue<unknown>>> = {
  bool: field.bool,
  uint8: field.u8,
  uint16: field.u16,
  uint32: field.u32,
  uint64: field.u64,
  int8: field.i8,
  int16: field.i16,
  int32: field.i32,
  int64: field.i64,
  timer: field.timer,
  'int32 le': field.atMost(0x7fff_ffff),
};

/** A schema that describes what this describes, perhaps with a part that was not sent; undefined where a type is a device's own. */
function schemaOf(object: DescribedObject, hasUnsent = false): VmState<unknown> | undefined {
  const fields: [string, StateField<unknown>][] = [];
  for (const [nth, described] of object.fields.entries()) {
    // Elements that are described one by one: the last has no index.
    const previous = object.fields[nth - 1];
    if (previous?.index !== undefined && previous.name === described.name) continue;
    const kind = kindOf(described, object.fields);
    if (kind === undefined) return undefined;
    // QEMU's numbers behind names that come twice come from the schema again.
    const name = described.type === 'unused_buffer' ? 'unused' : described.name;
    fields.push([`f${nth}`, field.named(name, kind)]);
  }
  const subsections = (object.subsections ?? []).map((inner) => schemaOf(inner));
  const unsent = vmstate({ name: `${object.vmsd_name}/unsent`, version: 1, fields: {} });
  if (subsections.includes(undefined)) return undefined;
  return vmstate({
    name: object.vmsd_name,
    version: object.version,
    fields: Object.fromEntries(fields),
    subsections: {
      ...Object.fromEntries(subsections.map((inner, nth) => [`s${nth}`, inner!])), // none is undefined
      ...(hasUnsent ? { unsent } : {}),
    },
  });
}

function kindOf(described: DescribedField, all: readonly DescribedField[]): StateField<unknown> | undefined {
  const { type, size, array_len: length, index, struct, name } = described;
  if (type === 'buffer') return field.buffer(size);
  if (type === 'unused_buffer') return field.unused(size);
  // What is described one by one could have had subsections.
  const inner = struct === undefined ? undefined : schemaOf(struct, index !== undefined);
  const element = inner === undefined ? SCALARS[type] : field.struct(inner);
  if (element === undefined) return undefined;
  if (length !== undefined) return field.array(element, length);
  return index === undefined ? element : field.array(element, all.filter((other) => other.name === name).length);
}

describe.each(['isapc-1m', 'pc-1m', 'microvm-1m'])('%s', (stream) => {
  const sections = sectionsOf(recordedStream(`${stream}.main.gz`)).flatMap((section) => {
    // QEMU's text, which a schema's must equal; it has no repeated keys here.
    const schema = schemaOf(JSON.parse(section.described) as DescribedObject);
    return schema === undefined ? [] : [{ ...section, schema }];
  });

  test('has devices to look at', () => {
    expect(sections.length).toBeGreaterThanOrEqual(10);
  });

  test.for(sections)('$idstr', ({ payload, version, described, schema }) => {
    const state = schema.decode(payload, { version });
    expect(Buffer.from(schema.encode(state)).toString('hex')).toBe(Buffer.from(payload).toString('hex'));
    expect(JSON.stringify(schema.describe(state))).toBe(described);
    expect(stateEnd(schema, Buffer.concat([payload, Buffer.from('7e00000001', 'hex')]), version)).toBe(payload.length);
  });
});
