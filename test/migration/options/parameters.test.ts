import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../../src/base/errors.ts';
import { type JsonValue, stringify } from '../../../src/base/json.ts';
import {
  CAPABILITY_NAMES,
  type CapabilityName,
  type CapabilitySet,
} from '../../../src/migration/options/capabilities.ts';
import { paramsCheck } from '../../../src/migration/options/parameter-checks.ts';
import {
  INITIAL_PARAMETERS,
  PARAMETER_NAMES,
  type ParameterName,
  type ParameterValues,
  parametersKind,
} from '../../../src/migration/options/parameters.ts';
import { REMOVED_PARAMETERS } from '../../../src/migration/options/removed-parameters.ts';
import { exactJson, readOracle } from '../../support/exact-json.ts';

interface Probe {
  readonly param: ParameterName;
  readonly json: string;
  readonly ok: boolean;
  readonly desc: string | null;
  readonly readback?: JsonValue;
}
interface Step {
  readonly set: JsonValue;
  readonly desc: string | null;
}
const oracle = readOracle<{ probes: readonly Probe[]; sequences: readonly (readonly Step[])[] }>('params');

function on(...names: CapabilityName[]): CapabilitySet {
  return Object.fromEntries(CAPABILITY_NAMES.map((name) => [name, names.includes(name)])) as CapabilitySet;
}

/** The parameters after one migrate-set-parameters under QEMU's rules, or QEMU's error text. */
function set(current: ParameterValues, changes: JsonValue, capabilities = on()): ParameterValues | string {
  try {
    const next = { ...current, ...parametersKind.parse(changes, '') } as ParameterValues;
    return paramsCheck(current, next, { capabilities })?.message ?? next;
  } catch (error) {
    if (!isHarnessError(error, 'qmp/generic')) throw error;
    return error.message;
  }
}

describe('a real QEMU judged the same', () => {
  test.each(
    oracle.probes.map((probe) => [probe.param, probe.json.slice(0, 60), probe.desc?.slice(0, 90), probe] as const),
  )('%s = %s → %s', (_, __, ___, { param, json, desc, readback }) => {
    const result = set(INITIAL_PARAMETERS, { [param]: exactJson(json) });
    // Where that QEMU has no accelerator either, we add why.
    const refusal = typeof result === 'string' ? result.replace(': this build has no such accelerator', '') : null;
    expect(refusal).toBe(desc);
    const stored = typeof result === 'string' ? INITIAL_PARAMETERS[param] : result[param];
    expect(stored === undefined ? null : exactJson(stringify(stored))).toEqual(readback ?? null);
  });

  test.each(oracle.sequences.map((steps) => [stringify(steps.map((step) => step.set)), steps] as const))(
    'step by step: %s',
    (_, steps) => {
      let current = INITIAL_PARAMETERS;
      const answers = steps.map((step) => {
        const result = set(current, step.set);
        if (typeof result === 'string') return result;
        current = result;
        return null;
      });
      expect(answers).toEqual(steps.map(({ desc }) => desc));
    },
  );
});

test('the first broken rule is reported, in the order of the rules and not of the arguments', () => {
  const changes = { 'vcpu-dirty-limit': 0n, 'announce-step': 0n, 'max-cpu-throttle': 10n, 'multifd-zlib-level': 10n };
  expect(set(INITIAL_PARAMETERS, changes)).toContain("'multifd_zlib_level'");
  expect(set(INITIAL_PARAMETERS, { ...changes, 'multifd-zlib-level': 9n })).toContain("'max_cpu_throttle'");
  expect(set(INITIAL_PARAMETERS, { 'vcpu-dirty-limit': 0n, 'announce-step': 0n })).toContain("'announce_step'");
});

// The order in which a real QEMU 10.0.2 reads them, found by wrong types in pairs.
test('the first argument of a wrong type is reported in the order of the table', () => {
  const wrong = Object.fromEntries(PARAMETER_NAMES.map((name) => [name, false]));
  expect(set(INITIAL_PARAMETERS, wrong)).toBe("Parameter 'announce-initial' expects uint64");
  expect(
    set(INITIAL_PARAMETERS, { 'multifd-zstd-level': false, 'max-cpu-throttle': false, 'max-bandwidth': false }),
  ).toBe("Parameter 'max-bandwidth' expects uint64");
  expect(set(INITIAL_PARAMETERS, { foo: 1n, 'multifd-zstd-level': false, 'max-cpu-throttle': 256n })).toBe(
    "Parameter 'max-cpu-throttle' expects uint8_t",
  );
});

test('a raised cpu-throttle-initial is refused in the name of max-cpu-throttle', () => {
  const low = set(INITIAL_PARAMETERS, { 'max-cpu-throttle': 30n }) as ParameterValues;
  expect(set(low, { 'cpu-throttle-initial': 31n })).toBe(
    "Parameter 'max_cpu_throttle' expects an integer in the range of cpu_throttle_initial to 99",
  );
});

test.each([{ 'multifd-compression': 'zstd' }, { 'tls-creds': 'tls0' }])(
  'zero-copy-send and mapped-ram refuse %o in the new set, and only there',
  (changes) => {
    expect(set(INITIAL_PARAMETERS, changes, on('multifd', 'zero-copy-send'))).toBe(
      'Zero copy only available for non-compressed non-TLS multifd migration',
    );
    expect(set(INITIAL_PARAMETERS, changes, on('mapped-ram'))).toBe(
      'Mapped-ram only available for non-compressed non-TLS multifd migration',
    );
    const bad = set(INITIAL_PARAMETERS, changes) as ParameterValues;
    expect(set(bad, { 'multifd-compression': 'none', 'tls-creds': null }, on('mapped-ram'))).toBeTypeOf('object');
  },
);

const node = (name: string, alias: string, ...bitmaps: [string, string][]) => ({
  'node-name': name,
  alias,
  bitmaps: bitmaps.map(([bitmap, bitmapAlias]) => ({ name: bitmap, alias: bitmapAlias })),
});
const LONG_ALIAS = 'a'.repeat(256);
const LONG_BITMAP = 'b'.repeat(1024);

// Each answer was given by a real QEMU 10.0.2.
test.each([
  [[node('n'.repeat(31), 'a-b.c_d9')], null],
  [[node('', 'a', ['', ''])], null],
  [[node('é'.repeat(15), 'a')], null],
  [[node('é'.repeat(16), 'a')], `The node name '${'é'.repeat(16)}' is longer than 31 bytes`],
  [[node('n'.repeat(32), '1')], "The node alias '1' is not well-formed"],
  [[node('n'.repeat(32), LONG_ALIAS)], `The node alias '${LONG_ALIAS}' is longer than 255 bytes`],
  [[node('x', `1${LONG_ALIAS}`)], `The node alias '1${LONG_ALIAS}' is not well-formed`],
  [[node('x', 'é')], "The node alias 'é' is not well-formed"],
  [[node('x', '_a')], "The node alias '_a' is not well-formed"],
  [[node('x', 'a'), node('x', 'a')], "The node name 'x' is mapped twice"],
  [[node('x', 'a'), node('x', '1')], "The node alias '1' is not well-formed"],
  [[node('x', 'a'), node('y', 'a')], "The node alias 'a' is used twice"],
  [[node('x', 'a', [LONG_BITMAP, LONG_ALIAS])], `The bitmap alias '${LONG_ALIAS}' is longer than 255 bytes`],
  [[node('x', 'a', [LONG_BITMAP, 'c']), node('y', 'a')], `The bitmap name '${LONG_BITMAP}' is longer than 1023 bytes`],
  [[node('x', 'a', ['b', 'c'], ['b', LONG_ALIAS])], `The bitmap alias '${LONG_ALIAS}' is longer than 255 bytes`],
  [[node('x', 'a', ['b', 'c'], ['b', 'c'])], "The bitmap 'x'/'b' is mapped twice"],
  [[node('x', 'a', ['b', 'c'], ['d', 'c']), node('y', 'a')], "The bitmap alias 'a'/'c' is used twice"],
  [[node('x', 'a', ['b', 'c'], ['d', 'c']), node('x', 'b')], "The node name 'x' is mapped twice"],
  [[node('x', 'a', ['b', 'c'], ['d', 'c'], ['d', 'e'])], "The bitmap 'x'/'d' is mapped twice"],
])('block-bitmap-mapping %o → %s', (mapping, problem) => {
  const result = set(INITIAL_PARAMETERS, { 'block-bitmap-mapping': mapping });
  expect(typeof result === 'string' ? result : null).toBe(
    problem === null ? null : `Invalid mapping given for block-bitmap-mapping: ${problem}`,
  );
});

test.each(Object.keys(REMOVED_PARAMETERS))("the removed parameter '%s' is unexpected", (name) => {
  expect(() => parametersKind.parse({ [name]: 1n }, '')).toThrow(`Parameter '${name}' is unexpected`);
});

test.each(['qpl', 'uadk', 'qatzip'])('compression by an accelerator, %s, is refused with the reason', (method) => {
  const text = `Parameter 'multifd-compression' does not accept value '${method}': this build has no such accelerator`;
  expect(set(INITIAL_PARAMETERS, { 'multifd-compression': method })).toBe(text);
});
