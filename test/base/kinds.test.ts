import { describe, expect, expectTypeOf, test } from 'vitest';
import { isHarnessError, messageOf, qmpClassOf } from '../../src/base/errors.ts';
import type { JsonValue } from '../../src/base/json.ts';
import * as kinds from '../../src/base/kinds.ts';
import { arrayOf, enumOf, type Kind, type KindValue, optional, required, struct, union } from '../../src/base/kinds.ts';

function refusal(kind: Kind<unknown>, value: JsonValue): string {
  try {
    kind.parse(value, '');
  } catch (error) {
    expect(isHarnessError(error, 'qmp/generic')).toBe(true);
    expect(qmpClassOf(error)).toBe('GenericError');
    return messageOf(error);
  }
  throw new Error('the value was accepted');
}

const capabilities = struct({
  capabilities: required(
    arrayOf(struct({ capability: required(enumOf(['events', 'xbzrle'])), state: required(kinds.boolean) })),
  ),
});

const scalars = struct({
  flag: optional(kinds.boolean),
  'tls-creds': optional(kinds.stringOrNull),
  'multifd-channels': optional(kinds.uint8),
  port: optional(kinds.uint16),
  'x-checkpoint-delay': optional(kinds.uint32),
  'max-bandwidth': optional(kinds.size),
  'calc-time': optional(kinds.int64),
  'cpu-index': optional(kinds.number),
  id: optional(kinds.any),
});

const address = union('transport', {
  socket: union('type', {
    inet: struct({ host: required(kinds.string), port: required(kinds.string) }),
    unix: struct({ path: required(kinds.string) }),
  }),
  exec: struct({ args: required(arrayOf(kinds.string)) }),
});

describe("argument errors have a real QEMU's texts", () => {
  test.each<[JsonValue, string]>([
    [{}, "Parameter 'capabilities' is missing"],
    [{ x: 1n }, "Parameter 'capabilities' is missing"],
    [{ x: 1n, capabilities: [] }, "Parameter 'x' is unexpected"],
    [{ capabilities: {} }, "Invalid parameter type for 'capabilities', expected: array"],
    [{ capabilities: null }, "Invalid parameter type for 'capabilities', expected: array"],
    [{ capabilities: [1n] }, "Invalid parameter type for 'capabilities[0]', expected: object"],
    [{ capabilities: [{ state: true }] }, "Parameter 'capabilities[0].capability' is missing"],
    [{ capabilities: [{ capability: 'events' }] }, "Parameter 'capabilities[0].state' is missing"],
    [
      { capabilities: [{ capability: 3n, state: true }] },
      "Invalid parameter type for 'capabilities[0].capability', expected: string",
    ],
    [{ capabilities: [{ capability: 'foo', state: true }] }, "Parameter 'capability' does not accept value 'foo'"],
    [
      {
        capabilities: [
          { capability: 'events', state: true },
          { capability: 'events', state: 1n },
        ],
      },
      "Invalid parameter type for 'capabilities[1].state', expected: boolean",
    ],
    [{ capabilities: [{ capability: 'events', state: true, y: 1n }] }, "Parameter 'capabilities[0].y' is unexpected"],
    [[], "Invalid parameter type for 'arguments', expected: object"],
  ])('%o', (value, text) => {
    expect(refusal(capabilities, value)).toBe(text);
  });

  test.each<[JsonValue, string]>([
    [{ flag: 'on' }, "Invalid parameter type for 'flag', expected: boolean"],
    [{ 'tls-creds': 1n }, "Invalid parameter type for 'tls-creds', expected: StrOrNull"],
    [{ 'multifd-channels': 256n }, "Parameter 'multifd-channels' expects uint8_t"],
    [{ 'multifd-channels': -1n }, "Parameter 'multifd-channels' expects uint8_t"],
    [{ 'multifd-channels': 1 }, "Parameter 'multifd-channels' expects uint64"],
    [{ 'multifd-channels': '1' }, "Parameter 'multifd-channels' expects uint64"],
    [{ 'multifd-channels': null }, "Parameter 'multifd-channels' expects uint64"],
    [{ 'multifd-channels': -99999999999999999999n }, "Parameter 'multifd-channels' expects uint64"],
    [{ port: 65536n }, "Parameter 'port' expects uint16_t"],
    [{ 'x-checkpoint-delay': 4294967296n }, "Parameter 'x-checkpoint-delay' expects uint32_t"],
    [{ 'max-bandwidth': 18446744073709551616n }, "Parameter 'max-bandwidth' expects uint64"],
    [{ 'max-bandwidth': -9223372036854775809n }, "Parameter 'max-bandwidth' expects uint64"],
    [{ 'max-bandwidth': '1M' }, "Parameter 'max-bandwidth' expects uint64"],
    [{ 'calc-time': 9223372036854775808n }, "Invalid parameter type for 'calc-time', expected: integer"],
    [{ 'cpu-index': 'x' }, "Invalid parameter type for 'cpu-index', expected: integer"],
    [{ 'cpu-index': 9007199254740992n }, "Parameter 'cpu-index' expects an integer below 2^53"],
    [{ constructor: 1n }, "Parameter 'constructor' is unexpected"],
  ])('%o', (value, text) => {
    expect(refusal(scalars, value)).toBe(text);
  });

  test.each<[JsonValue, string]>([
    [{}, "Parameter 'transport' is missing"],
    [{ transport: 5n }, "Invalid parameter type for 'transport', expected: string"],
    [{ transport: 'foo' }, "Parameter 'transport' does not accept value 'foo'"],
    [{ transport: 'socket' }, "Parameter 'type' is missing"],
    [{ transport: 'socket', type: 'inet' }, "Parameter 'host' is missing"],
    [{ transport: 'socket', type: 'unix', path: '/b', cid: 1n }, "Parameter 'cid' is unexpected"],
    [{ transport: 'exec', args: [1n] }, "Invalid parameter type for 'args[0]', expected: string"],
  ])('%o', (value, text) => {
    expect(refusal(address, value)).toBe(text);
  });
});

test('values come back typed: small integers as numbers, 64-bit ones as bigints, null strings as empty', () => {
  expect(
    scalars.parse(
      {
        flag: true,
        'tls-creds': null,
        'multifd-channels': 255n,
        port: 65535n,
        'x-checkpoint-delay': 4294967295n,
        'max-bandwidth': 18446744073709551615n,
        'calc-time': -5n,
        'cpu-index': 3n,
        id: [1n, { a: null }],
      },
      '',
    ),
  ).toEqual({
    flag: true,
    'tls-creds': '',
    'multifd-channels': 255,
    port: 65535,
    'x-checkpoint-delay': 4294967295,
    'max-bandwidth': 18446744073709551615n,
    'calc-time': -5n,
    'cpu-index': 3,
    id: [1n, { a: null }],
  });
});

test.each([
  [-1n, 18446744073709551615n],
  [-9223372036854775808n, 9223372036854775808n],
])('an unsigned 64-bit parameter reads %s modulo 2^64', (sent, stored) => {
  expect(kinds.uint64.parse(sent, 'x')).toBe(stored);
  expect(kinds.size.parse(sent, 'x')).toBe(stored);
});

test('members that were not sent are absent, not undefined', () => {
  expect(Object.keys(scalars.parse({}, ''))).toEqual([]);
});

test('a union returns the tags with the members of its branch', () => {
  expect(address.parse({ path: '/tmp/s', type: 'unix', transport: 'socket' }, 'addr')).toEqual({
    transport: 'socket',
    type: 'unix',
    path: '/tmp/s',
  });
});

test('types are inferred from the kinds', () => {
  expectTypeOf<KindValue<typeof capabilities>>().toEqualTypeOf<{
    readonly capabilities: { readonly capability: 'events' | 'xbzrle'; readonly state: boolean }[];
  }>();
  const parsed = scalars.parse({ 'max-bandwidth': 1n }, '');
  expectTypeOf(parsed['max-bandwidth']).toEqualTypeOf<bigint | undefined>();
  expectTypeOf(parsed['multifd-channels']).toEqualTypeOf<number | undefined>();
  const where = address.parse({ transport: 'exec', args: ['a'] }, '');
  expectTypeOf(where.transport).toEqualTypeOf<'socket' | 'exec'>();
  if (where.transport === 'socket' && where.type === 'unix') expectTypeOf(where.path).toEqualTypeOf<string>();
  expect(where).toEqual({ transport: 'exec', args: ['a'] });
});
