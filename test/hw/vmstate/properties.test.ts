/** What holds for every schema: random ones, made of all kinds of fields, with random states. */

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../../src/base/errors.ts';
import { field } from '../../../src/hw/vmstate/field.ts';
import type { StateField, StateValue } from '../../../src/hw/vmstate/state-field.ts';
import { type VmState, vmstate } from '../../../src/hw/vmstate/vmstate.ts';
import { stateEnd } from '../../support/state-extent.ts';

/** A field and a value of it, or a schema and a state of it. */
interface Sample {
  readonly field: StateField<unknown>;
  readonly value: unknown;
}
interface Case {
  readonly schema: VmState<unknown>;
  readonly state: object;
}

const FOOTER = Buffer.from('7e00000001', 'hex');
const sampleOf = <T>(kind: StateField<T>, values: fc.Arbitrary<T>): fc.Arbitrary<Sample> =>
  values.map((value) => ({ field: kind, value }));

const scalars: readonly (readonly [StateValue<never>, fc.Arbitrary<unknown>])[] = [
  [field.u8, fc.nat(0xff)],
  [field.u16, fc.nat(0xffff)],
  [field.u32, fc.integer({ min: 0, max: 0xffff_ffff })],
  [field.u64, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })],
  [field.i8, fc.integer({ min: -128, max: 127 })],
  [field.i16, fc.integer({ min: -32768, max: 32767 })],
  [field.i32, fc.integer()],
  [field.i64, fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })],
  [field.bool, fc.boolean()],
  [field.double, fc.double()],
  [field.timer, fc.option(fc.bigInt({ min: 0n, max: 2n ** 63n }), { nil: undefined })],
  [field.atMost(5), fc.nat(5)],
  [field.buffer(3), fc.uint8Array({ minLength: 3, maxLength: 3 })],
] as unknown as (readonly [StateValue<never>, fc.Arbitrary<unknown>])[]; // each kind with its own values

const scalar = fc.oneof(...scalars.map(([kind, values]) => sampleOf(kind as StateField<unknown>, values)));
const scalarArray = fc
  .constantFrom(...scalars)
  .chain(([kind, values]) =>
    fc
      .array(values, { maxLength: 3 })
      .map((value) => ({ field: field.array(kind as StateValue<unknown>, value.length), value })),
  );
const hidden = fc.constantFrom<Sample>(
  { field: field.unused(2), value: undefined },
  { field: field.equal(field.u16, 7), value: undefined },
  { field: field.validate('true', () => true), value: undefined },
);

/** Fields that need another: the count goes first, under a key of its own. */
const counted = fc
  .oneof(
    fc
      .uint8Array({ maxLength: 4 })
      .map((value) => ({ count: field.u8, n: value.length, field: field.buffer('n'), value })),
    fc
      .array(fc.nat(255), { maxLength: 4 })
      .map((value) => ({ count: field.u32, n: value.length, field: field.array(field.u8, 'n'), value })),
    fc.integer({ min: 0, max: 130 }).map((n) => ({
      count: field.i32,
      n,
      field: field.bitmap('n'),
      value: BigUint64Array.from({ length: Math.ceil(n / 64) }, (_, word) => BigInt(word)),
    })),
    fc.boolean().map((isThere) => ({
      count: field.u8,
      n: isThere ? 1 : 0,
      field: field.when(({ n }: { n: number }) => n === 1, field.u16),
      value: isThere ? 5 : 0,
    })),
  )
  .map(({ count, n, ...sample }) =>
    caseOf('counted', { n: { field: count as StateField<unknown>, value: n }, v: sample as Sample }),
  );

function caseOf(
  name: string,
  samples: Readonly<Record<string, Sample>>,
  subsections: Readonly<Record<string, Case>> = {},
): Case {
  const entries = Object.entries(samples);
  return {
    schema: vmstate({
      name,
      version: 1,
      fields: Object.fromEntries(entries.map(([key, sample]) => [key, sample.field])),
      subsections: Object.fromEntries(Object.entries(subsections).map(([key, inner]) => [key, inner.schema])),
    }),
    state: Object.fromEntries([
      ...entries.filter(([, sample]) => sample.field.hidden === undefined).map(([key, { value }]) => [key, value]),
      ...Object.entries(subsections).map(([key, inner]) => [key, inner.state]),
    ]),
  };
}

/** Schemas of all kinds, up to a depth. */
function cases(depth: number, name: string): fc.Arbitrary<Case> {
  const inner = depth === 0 ? counted : fc.oneof(counted, cases(depth - 1, `inner${depth}`));
  const nested = inner.chain(({ schema, state }) =>
    fc.nat(2).chain((count) => {
      const states = Array.from({ length: count }, () => state);
      return fc.constantFrom<Sample>(
        { field: field.struct(schema), value: state },
        { field: field.array(field.struct(schema), count), value: states },
        { field: field.queue(schema), value: states },
        { field: field.list(schema), value: states },
        { field: field.tree(schema), value: states.map((value, key) => [BigInt(key), value]) },
        {
          field: field.pointers(field.struct(schema), 2, (_, index) => index === 0),
          value: [null, state],
        },
      );
    }),
  );
  const fields = fc.array(fc.oneof(scalar, scalarArray, hidden, nested), { maxLength: 5 });
  const subsections =
    depth === 0
      ? fc.constant({})
      : fc.dictionary(fc.constantFrom('p', 'q'), cases(depth - 1, `${name}/x`), { maxKeys: 1 });
  // The format cannot tell whose a subsection is that stands before any field: each state begins with a byte that is none.
  const first: Sample = { field: field.u8, value: 0 };
  return fc.tuple(fields, subsections).map(([samples, inner]) => {
    const named = [first, ...samples].map((sample, nth) => [`f${nth}`, sample]);
    return caseOf(name, Object.fromEntries(named), inner);
  });
}

const anyCase = cases(2, 'device');

/** Bytes that a description says a state has. */
function describedSize(described: object): number {
  const { fields = [], subsections = [] } = described as {
    fields?: { size: number; array_len?: number }[];
    subsections?: { vmsd_name: string }[];
  };
  return (
    fields.reduce((sum, { size, array_len: count = 1 }) => sum + size * count, 0) +
    subsections.reduce((sum, inner) => sum + 6 + inner.vmsd_name.length + describedSize(inner), 0)
  );
}

function failureOf(action: () => unknown): unknown {
  try {
    action();
    return undefined;
  } catch (error) {
    return error;
  }
}

describe('every schema', () => {
  test('reads what it wrote', () => {
    fc.assert(
      fc.property(anyCase, ({ schema, state }) => {
        const bytes = schema.encode(state);
        const decoded = schema.decode(bytes, { version: 1 });
        expect(decoded).toEqual(state);
        expect(Buffer.from(schema.encode(decoded)).equals(bytes)).toBe(true);
      }),
    );
  });

  test('writes the same into memory that was used before', () => {
    fc.assert(
      fc.property(anyCase, ({ schema, state }) => {
        const bytes = schema.encode(state);
        const used = new Uint8Array(bytes.length + 3).fill(0xa5);
        expect(Buffer.from(schema.encode(state, used)).equals(bytes)).toBe(true);
        expect([...used.subarray(bytes.length)]).toEqual([0xa5, 0xa5, 0xa5]);
      }),
    );
  });

  test('finds the end of its state, whatever follows', () => {
    fc.assert(
      fc.property(anyCase, ({ schema, state }) => {
        const bytes = schema.encode(state);
        expect(stateEnd(schema, Buffer.concat([bytes, FOOTER]))).toBe(bytes.length);
      }),
    );
  });

  test('describes as many bytes as it writes', () => {
    fc.assert(
      fc.property(anyCase, ({ schema, state }) => {
        expect(describedSize(schema.describe(state))).toBe(schema.encode(state).length);
      }),
    );
  });

  test('refuses every cut with a path', () => {
    fc.assert(
      fc.property(anyCase, fc.nat(), ({ schema, state }, cut) => {
        const bytes = schema.encode(state);
        fc.pre(bytes.length > 0);
        const kept = bytes.subarray(0, cut % bytes.length);
        const error = failureOf(() => schema.decode(kept, { version: 1 }));
        // A cut at the beginning of a last subsection leaves a whole state, and the half of an inner one may pass for fields.
        if (error === undefined) {
          expect(schema.encode(schema.decode(kept, { version: 1 })).length).toBe(kept.length);
          return;
        }
        expect(isHarnessError(error) && error.details).toMatchObject({ field: expect.stringMatching(/^device/) });
        expect(stateEnd(schema, kept)).toBeUndefined();
      }),
    );
  });

  test('never throws anything but its own errors at broken bytes, and finds no other end than it reads', () => {
    fc.assert(
      fc.property(anyCase, fc.nat(), fc.nat(255), ({ schema, state }, at, byte) => {
        const bytes = Buffer.concat([schema.encode(state), FOOTER]);
        bytes[at % bytes.length] = byte;
        let end: number | undefined;
        const lost = failureOf(() => {
          end = stateEnd(schema, bytes);
        });
        if (lost !== undefined) expect(isHarnessError(lost) && lost.code).toMatch(/^vmstate\//);
        const error = failureOf(() => schema.decode(bytes.subarray(0, end), { version: 1 }));
        if (error !== undefined) expect(isHarnessError(error) && error.code).toMatch(/^vmstate\//);
        // Where an end was found, nothing is left over and nothing is missing.
        if (end !== undefined && error !== undefined) {
          expect(isHarnessError(error) && error.code).not.toMatch(/truncated|leftover/);
        }
      }),
    );
  });
});
