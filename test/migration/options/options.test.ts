import { describe, expect, expectTypeOf, test } from 'vitest';
import { isHarnessError, messageOf } from '../../../src/base/errors.ts';
import {
  CAPABILITIES,
  CAPABILITY_NAMES,
  type CapabilityName,
  IDLE_CONTEXT,
} from '../../../src/migration/options/capabilities.ts';
import { GLOBAL_NAMES } from '../../../src/migration/options/globals.ts';
import { MigrationOptions } from '../../../src/migration/options/options.ts';
import { PARAMETER_NAMES, PARAMETERS } from '../../../src/migration/options/parameters.ts';
import type { VmControl } from '../../../src/migration/vm-control.ts';
import { readOracle } from '../../support/exact-json.ts';

const WITH_DATA_PATH = [
  'auto-converge',
  'xbzrle',
  'mapped-ram',
  'zero-blocks',
  'events',
  'return-path',
  'pause-before-switchover',
  'multifd',
  'late-block-activate',
  'validate-uuid',
  'zero-copy-send',
  'switchover-ack',
  'x-ignore-shared',
  'dirty-limit',
];
/** What a capability must have beside it. */
const NEEDS: Partial<Record<CapabilityName, readonly CapabilityName[]>> = {
  'zero-copy-send': ['multifd'],
  'postcopy-preempt': ['postcopy-ram'],
  'switchover-ack': ['return-path'],
};

function quiet(): MigrationOptions {
  return new MigrationOptions({ warn: () => undefined });
}

function turnOn(options: MigrationOptions, ...names: CapabilityName[]): void {
  options.setCapabilities(
    names.map((capability) => ({ capability, state: true })),
    IDLE_CONTEXT,
  );
}

function refusal(action: () => void): string {
  try {
    action();
  } catch (error) {
    expect(isHarnessError(error, 'qmp/generic')).toBe(true);
    return messageOf(error);
  }
  throw new Error('it was accepted');
}

describe('capabilities', () => {
  test.each(CAPABILITY_NAMES)('%s switches on only when this build has a data path for it', (name) => {
    const hasDataPath = CAPABILITIES[name].dataPath === true;
    expect(hasDataPath).toBe(WITH_DATA_PATH.includes(name));
    const options = quiet();
    if (hasDataPath) {
      const all = [...(NEEDS[name] ?? []), name].map((capability) => ({ capability, state: true }));
      options.setCapabilities(all, { ...IDLE_CONTEXT, kvmDirtyRing: true });
      const on = options.queryCapabilities().filter(({ state }) => state);
      expect(on.map(({ capability }) => capability).sort()).toEqual([...(NEEDS[name] ?? []), name].sort());
    } else {
      const needs = NEEDS[name];
      const context = { ...IDLE_CONTEXT, kvmDirtyRing: true };
      const list = [...(needs ?? []), name].map((capability) => ({ capability, state: true }));
      const text = refusal(() => options.setCapabilities(list, context));
      expect(text).toContain('this build has no data path for it yet');
      if (needs === undefined) expect(text).toContain(`'${name}'`);
      expect(options.queryCapabilities().some(({ state }) => state)).toBe(false);
    }
  });

  test("an illegal combination gets QEMU's message, not ours", () => {
    expect(refusal(() => turnOn(quiet(), 'multifd', 'xbzrle'))).toBe('Multifd is not compatible with xbzrle');
  });

  test('switching off what is off is no change and needs no data path', () => {
    const options = quiet();
    options.setCapabilities([{ capability: 'multifd', state: false }], IDLE_CONTEXT);
    expect(options.isOn('multifd')).toBe(false);
  });

  test('later entries of a list win, an empty list is accepted, a refused list changes nothing', () => {
    const options = quiet();
    const list = [
      { capability: 'multifd', state: true },
      { capability: 'events', state: true },
      { capability: 'multifd', state: false },
    ];
    options.setCapabilities(list, IDLE_CONTEXT);
    options.setCapabilities([], IDLE_CONTEXT);
    expect(refusal(() => turnOn(options, 'return-path', 'release-ram'))).toContain("'release-ram'");
    expect(options.queryCapabilities().filter(({ state }) => state)).toEqual([{ capability: 'events', state: true }]);
  });

  test('all are listed, off at first', () => {
    expect(quiet().queryCapabilities()).toEqual(CAPABILITY_NAMES.map((capability) => ({ capability, state: false })));
  });

  test('an unknown name is refused in the words of QEMU', () => {
    expect(refusal(() => quiet().setCapabilities([{ capability: 'block', state: true }], IDLE_CONTEXT))).toBe(
      "Parameter 'capability' does not accept value 'block'",
    );
  });

  test('zero-blocks warns exactly when a real QEMU warned', () => {
    type Probe = { readonly caps: CapabilityName[]; readonly stderr?: string };
    const oracle = readOracle<{ singles: Probe[]; pairs: Probe[]; triples: Probe[] }>('caps');
    for (const { caps, stderr } of [...oracle.singles, ...oracle.pairs, ...oracle.triples]) {
      const warnings: string[] = [];
      const options = new MigrationOptions({ warn: (text) => warnings.push(`warning: ${text}`) });
      try {
        turnOn(options, ...caps);
      } catch (error) {
        if (!isHarnessError(error, 'qmp/generic')) throw error;
      }
      expect(warnings, caps.join()).toEqual(stderr === undefined ? [] : [stderr]);
    }
  });
});

describe('parameters', () => {
  test('at first they are those of a fresh QEMU', () => {
    expect(quiet().queryParameters()).toEqual({
      'announce-initial': 50n,
      'announce-max': 550n,
      'announce-rounds': 5n,
      'announce-step': 100n,
      'throttle-trigger-threshold': 50,
      'cpu-throttle-initial': 20,
      'cpu-throttle-increment': 10,
      'cpu-throttle-tailslow': false,
      'max-cpu-throttle': 99,
      'tls-creds': '',
      'tls-hostname': '',
      'tls-authz': '',
      'max-bandwidth': 134217728n,
      'avail-switchover-bandwidth': 0n,
      'downtime-limit': 300n,
      'x-checkpoint-delay': 20000,
      'multifd-channels': 2,
      'multifd-compression': 'none',
      'multifd-zlib-level': 1,
      'multifd-zstd-level': 1,
      'multifd-qatzip-level': 1,
      'xbzrle-cache-size': 67108864n,
      'max-postcopy-bandwidth': 0n,
      'x-vcpu-dirty-limit-period': 1000n,
      'vcpu-dirty-limit': 1n,
      mode: 'normal',
      'zero-page-detection': 'multifd',
      'direct-io': false,
    });
  });

  test('they are listed in the order of the table, block-bitmap-mapping only once it was set', () => {
    const options = quiet();
    expect(Object.keys(options.queryParameters())).toEqual(PARAMETER_NAMES.filter((n) => n !== 'block-bitmap-mapping'));
    options.setParameters({ 'block-bitmap-mapping': [] });
    expect(Object.keys(options.queryParameters())).toEqual(PARAMETER_NAMES);
  });

  test('parsed values and plain integers both do, undefined is left out', () => {
    const options = quiet();
    options.setParameters({
      'max-bandwidth': 18446744073709551615n,
      'downtime-limit': 20,
      'tls-creds': null,
      mode: undefined,
    });
    expect(options.queryParameters()).toMatchObject({
      'max-bandwidth': 18446744073709551615n,
      'downtime-limit': 20n,
      'tls-creds': '',
      mode: 'normal',
    });
  });

  test.each(Object.entries(PARAMETERS))('%s may be set to its initial value', (name, { initial }) => {
    const options = quiet();
    options.setParameters({ [name]: initial });
    expect(options.queryParameters()).toEqual(quiet().queryParameters());
  });

  test.each([
    [{ mode: 'cpr-transfer' }, "'mode'"],
    [{ 'block-bitmap-mapping': [{ 'node-name': 'n', alias: 'a', bitmaps: [] }] }, "'block-bitmap-mapping'"],
  ])('%o is legal but refused, for this build has no data path for it', (values, name) => {
    const options = quiet();
    const text = refusal(() => options.setParameters({ 'max-bandwidth': 1n, ...values }));
    expect(text).toContain('this build has no data path for it yet');
    expect(text).toContain(name);
    expect(options.queryParameters()['max-bandwidth']).toBe(134217728n);
  });

  test("an illegal value gets QEMU's message even beside one that only this build refuses", () => {
    expect(refusal(() => quiet().setParameters({ mode: 'cpr-transfer', 'multifd-channels': 0 }))).toContain(
      "'multifd_channels'",
    );
  });

  test.each([
    [{ foo: 1 }, "Parameter 'foo' is unexpected"],
    [{ 'multifd-channels': 1.5 }, "Parameter 'multifd-channels' expects uint64"],
  ])('%o is refused by the kinds', (values, text) => {
    expect(refusal(() => quiet().setParameters(values))).toBe(text);
  });
});

describe('-global migration.NAME=VALUE', () => {
  test('the names are those of a real QEMU 10, of its earlier and later releases, and one of ours', () => {
    const compress = ['x-compress', 'x-compress-level', 'x-compress-threads', 'x-compress-wait-thread'];
    const others = ['switchover-ack-legacy', 'x-switchover-ack-timeout', ...compress, 'x-decompress-threads'];
    expect([...GLOBAL_NAMES]).toEqual(expect.arrayContaining(others));
    expect(
      [...GLOBAL_NAMES]
        .filter((name) => !others.includes(name))
        .sort()
        .join(' '),
    ).toBe(
      'announce-initial announce-max announce-rounds announce-step avail-switchover-bandwidth mapped-ram max-cpu-throttle ' +
        'max-postcopy-bandwidth mode multifd-channels multifd-clean-tls-termination multifd-compression ' +
        'multifd-flush-after-each-section multifd-qatzip-level multifd-zlib-level multifd-zstd-level send-configuration ' +
        'send-section-footer send-switchover-start store-global-state tls-authz tls-creds tls-hostname vcpu-dirty-limit ' +
        'x-auto-converge x-background-snapshot x-checkpoint-delay x-clear-bitmap-shift x-colo x-cpu-throttle-increment ' +
        'x-cpu-throttle-initial x-cpu-throttle-tailslow x-dirty-limit x-downtime-limit x-events x-max-bandwidth x-multifd ' +
        'x-postcopy-preempt x-postcopy-ram x-preempt-pre-7-2 x-rdma-pin-all x-release-ram x-return-path x-switchover-ack ' +
        'x-throttle-trigger-threshold x-vcpu-dirty-limit-period x-xbzrle x-zero-blocks x-zero-copy-send xbzrle-cache-size ' +
        'zero-page-detection',
    );
  });

  // Each value was read so by a real QEMU 10.0.2.
  test.each([
    ['x-max-bandwidth', '1M', 'max-bandwidth', 1048576n],
    ['x-max-bandwidth', '1.5M', 'max-bandwidth', 1572864n],
    ['x-max-bandwidth', '1.23456k', 'max-bandwidth', 1264n],
    ['x-max-bandwidth', '1.0006k', 'max-bandwidth', 1025n],
    ['x-max-bandwidth', '.5k', 'max-bandwidth', 512n],
    ['x-max-bandwidth', '1.0', 'max-bandwidth', 1n],
    ['x-max-bandwidth', '0x1000', 'max-bandwidth', 4096n],
    ['x-max-bandwidth', '010k', 'max-bandwidth', 10240n],
    ['x-max-bandwidth', '18446744073709551615', 'max-bandwidth', 18446744073709551615n],
    ['multifd-channels', '0x10', 'multifd-channels', 16],
    ['multifd-channels', '010', 'multifd-channels', 8],
    ['multifd-channels', ' +5', 'multifd-channels', 5],
    ['x-downtime-limit', '-18446744073709551615', 'downtime-limit', 1n],
    ['zero-page-detection', 'legacy', 'zero-page-detection', 'legacy'],
    ['x-cpu-throttle-tailslow', 'yes', 'cpu-throttle-tailslow', true],
    ['tls-hostname', 'host', 'tls-hostname', 'host'],
  ] as const)('%s=%s', (name, text, parameter, value) => {
    const options = quiet();
    options.setGlobal(name, text);
    expect(options.queryParameters()[parameter]).toBe(value);
  });

  test.each([
    ['foo', '1', "can't apply global migration.foo=1: Property 'migration.foo' not found"],
    ['direct-io', 'on', "can't apply global migration.direct-io=on: Property 'migration.direct-io' not found"],
    ['x-multifd', 'ON', "can't apply global migration.x-multifd=ON: Parameter 'x-multifd' expects 'on' or 'off'"],
    [
      'multifd-channels',
      '1k',
      "can't apply global migration.multifd-channels=1k: Parameter 'multifd-channels' expects uint64",
    ],
    [
      'multifd-channels',
      '08',
      "can't apply global migration.multifd-channels=08: Parameter 'multifd-channels' expects uint64",
    ],
    [
      'multifd-channels',
      '300',
      "can't apply global migration.multifd-channels=300: Parameter 'multifd-channels' expects uint8_t",
    ],
    [
      'x-max-bandwidth',
      '-1',
      "can't apply global migration.x-max-bandwidth=-1: Value '-1' is out of range for parameter 'x-max-bandwidth'",
    ],
    [
      'x-max-bandwidth',
      '16E',
      "can't apply global migration.x-max-bandwidth=16E: Value '16E' is out of range for parameter 'x-max-bandwidth'",
    ],
    ['x-downtime-limit', '-1', "Parameter 'downtime_limit' expects an integer in the range of 0 to (2000 * 1000) ms"],
    ['multifd-channels', '0', "Parameter 'multifd_channels' expects a value between 1 and 255"],
    [
      'multifd-compression',
      'lz4',
      "can't apply global migration.multifd-compression=lz4: Parameter 'multifd-compression' does not accept value 'lz4'",
    ],
    ['x-switchover-ack', 'on', "Capability 'switchover-ack' requires capability 'return-path'"],
  ])('%s=%s is refused in the words of QEMU', (name, text, message) => {
    expect(refusal(() => quiet().setGlobal(name, text))).toBe(message);
  });

  test.each(['', 'x', '1MiB', '0x10k', '1.5', '1.5b', '1e3', '-1k', '0x'])("'%s' is not a size", (text) => {
    expect(refusal(() => quiet().setGlobal('x-max-bandwidth', text))).toContain(
      'expects a non-negative number below 2^64',
    );
  });

  test('relations are checked after the last of them, and a refused one leaves nothing behind', () => {
    const options = quiet();
    options.setGlobals([
      { name: 'max-cpu-throttle', text: '15' },
      { name: 'x-cpu-throttle-initial', text: '10' },
      { name: 'x-events', text: 'on' },
    ]);
    expect(options.queryParameters()).toMatchObject({ 'max-cpu-throttle': 15, 'cpu-throttle-initial': 10 });
    expect(options.isOn('events')).toBe(true);
    const both = ['x-multifd', 'x-xbzrle'].map((name) => ({ name, text: 'on' }));
    expect(refusal(() => options.setGlobals(both))).toBe('Multifd is not compatible with xbzrle');
    expect(refusal(() => options.setGlobal('x-release-ram', 'on'))).toContain('no data path');
    const illegalAndOurs = [{ name: 'mode', text: 'cpr-reboot' }, ...both];
    expect(refusal(() => options.setGlobals(illegalAndOurs))).toBe('Multifd is not compatible with xbzrle');
    expect(options.isOn('multifd')).toBe(false);
  });
});

test('a snapshot is frozen at its time, live parameters follow every set', () => {
  const options = quiet();
  options.setGlobal('send-configuration', 'off');
  turnOn(options, 'return-path');
  const snapshot = options.snapshot();
  options.setParameters({
    'max-bandwidth': 1000,
    'downtime-limit': 7,
    'avail-switchover-bandwidth': 5,
    'zero-page-detection': 'none',
  });
  options.setGlobal('x-return-path', 'off');
  expect(snapshot).toMatchObject({
    capabilities: { 'return-path': true, events: false },
    maxBandwidth: 134217728,
    availSwitchoverBandwidth: 0,
    downtimeLimitMs: 300,
    zeroPageDetection: 'multifd',
    properties: { 'send-configuration': false, 'send-section-footer': true, 'x-clear-bitmap-shift': 18 },
  });
  expect(options.liveParameters()).toEqual({ maxBandwidth: 1000, downtimeLimitMs: 7, availSwitchoverBandwidth: 5 });
  expect(options.snapshot().zeroPageDetection).toBe('none');
  expect(() => Object.assign(snapshot.capabilities, { events: true })).toThrow(TypeError);
});

test('the answers fit what the control plane is promised', () => {
  const options = quiet();
  expectTypeOf(options.queryParameters()).toExtend<ReturnType<VmControl['queryParameters']>>();
  expectTypeOf(options.queryCapabilities()).toExtend<ReturnType<VmControl['queryCapabilities']>>();
  const answers: ReturnType<VmControl['queryParameters']> = options.queryParameters();
  expect(answers['mode']).toBe('normal');
});
