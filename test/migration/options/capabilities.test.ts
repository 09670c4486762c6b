import { describe, expect, test } from 'vitest';
import type { HarnessError } from '../../../src/base/errors.ts';
import { isHarnessError } from '../../../src/base/errors.ts';
import { type JsonValue, stringify } from '../../../src/base/json.ts';
import { required, struct } from '../../../src/base/kinds.ts';
import {
  CAPABILITIES,
  CAPABILITY_NAMES,
  type CapabilityContext,
  type CapabilityName,
  type CapabilitySet,
  capabilitiesKind,
  capabilityRow,
  capsCheck,
  IDLE_CONTEXT,
  REMOVED_CAPABILITIES,
} from '../../../src/migration/options/capabilities.ts';
import { paramsCheck } from '../../../src/migration/options/parameter-checks.ts';
import { INITIAL_PARAMETERS, type ParameterValues, parametersKind } from '../../../src/migration/options/parameters.ts';
import type { MigrationStatus } from '../../../src/migration/status.ts';
import { readOracle } from '../../support/exact-json.ts';

interface Probe {
  readonly caps: readonly CapabilityName[];
  readonly ok: boolean;
  readonly desc: string | null;
}
type Step = readonly [string, JsonValue];
interface Sequence {
  readonly context: 'source' | 'incoming' | 'kvm-ring';
  readonly steps: readonly { readonly step: Step; readonly ok: boolean; readonly desc: string | null }[];
}
type Oracle = { readonly [group: string]: readonly Probe[] } & { readonly sequences: readonly Sequence[] };

const oracle = readOracle<Oracle>('caps');
const INCOMING: CapabilityContext = { ...IDLE_CONTEXT, runState: 'inmigrate' };
const KVM_RING: CapabilityContext = { ...IDLE_CONTEXT, kvmDirtyRing: true };
const CONTEXTS: Readonly<Record<string, CapabilityContext>> = {
  singles: IDLE_CONTEXT,
  pairs: IDLE_CONTEXT,
  triples: IDLE_CONTEXT,
  singles_incoming: INCOMING,
  pairs_incoming: INCOMING,
  singles_incoming_started: { ...INCOMING, incomingStarted: true },
  pairs_incoming_started: { ...INCOMING, incomingStarted: true },
  singles_kvm_ring: KVM_RING,
  pairs_kvm_ring: KVM_RING,
};

function capabilities(...names: CapabilityName[]): CapabilitySet {
  return Object.fromEntries(CAPABILITY_NAMES.map((name) => [name, names.includes(name)])) as CapabilitySet;
}

function check(
  names: readonly CapabilityName[],
  context: CapabilityContext = IDLE_CONTEXT,
  change: { readonly old?: readonly CapabilityName[]; readonly parameters?: Partial<ParameterValues> } = {},
): HarnessError | undefined {
  const parameters = { ...INITIAL_PARAMETERS, ...change.parameters };
  return capsCheck(capabilities(...(change.old ?? [])), capabilities(...names), { ...context, parameters });
}

describe.each(Object.entries(CONTEXTS))('a real QEMU judged the same: %s', (group, context) => {
  test.each(oracle[group] ?? [])('$caps → $desc', ({ caps, desc }) => {
    expect(check(caps, context)?.message ?? null).toBe(desc);
  });
});

test('every group of the oracle was replayed', () => {
  const groups = Object.keys(oracle).filter((key) => Array.isArray(oracle[key]) && key !== 'sequences');
  expect(groups.sort()).toEqual(Object.keys(CONTEXTS).sort());
});

/** Capabilities and parameters under QEMU's rules alone, as a real QEMU keeps them between commands. */
class PureOptions {
  #capabilities = capabilities();
  #parameters = INITIAL_PARAMETERS;
  #context: CapabilityContext;

  constructor(context: CapabilityContext) {
    this.#context = context;
  }

  /** The error of one recorded step, or null. */
  run([command, value]: Step): string | null {
    try {
      if (command === 'migrate-incoming') this.#context = { ...this.#context, incomingStarted: true };
      else if (command === 'par') this.#setParameters(value);
      else this.#setCapabilities(command === 'cap' ? capArguments(value) : (value ?? {}));
      return null;
    } catch (error) {
      if (!isHarnessError(error, 'qmp/generic')) throw error;
      return error.message;
    }
  }

  #setParameters(value: JsonValue): void {
    const next = { ...this.#parameters, ...parametersKind.parse(value, '') } as ParameterValues;
    const refusal = paramsCheck(this.#parameters, next, { capabilities: this.#capabilities });
    if (refusal !== undefined) throw refusal;
    this.#parameters = next;
  }

  #setCapabilities(value: JsonValue): void {
    const list = struct({ capabilities: required(capabilitiesKind) }).parse(value, '').capabilities;
    const next = { ...this.#capabilities, ...Object.fromEntries(list.map((c) => [c.capability, c.state])) };
    const refusal = capsCheck(this.#capabilities, next, { ...this.#context, parameters: this.#parameters });
    if (refusal !== undefined) throw refusal;
    this.#capabilities = next;
  }
}

function capArguments(value: JsonValue): JsonValue {
  const pairs = value as [string, boolean][];
  return { capabilities: pairs.map(([capability, state]) => ({ capability, state })) };
}

test.each(oracle.sequences.map((sequence) => [stringify(sequence.steps.map(({ step }) => step)), sequence] as const))(
  'a real QEMU answered the same, step by step: %s',
  (_, { context, steps }) => {
    const options = new PureOptions({ source: IDLE_CONTEXT, incoming: INCOMING, 'kvm-ring': KVM_RING }[context]);
    expect(steps.map(({ step }) => options.run(step))).toEqual(steps.map(({ desc }) => desc));
  },
);

test.each<MigrationStatus>(['setup', 'active', 'pre-switchover', 'device', 'cancelling', 'postcopy-paused'])(
  'nothing may change in status %s, not even to the same',
  (outgoingStatus) => {
    const running = { ...IDLE_CONTEXT, outgoingStatus };
    expect(check([], running)?.message).toBe("There's a migration process in progress");
    expect(check(['postcopy-ram', 'multifd'], running)?.message).toBe("There's a migration process in progress");
  },
);

test.each<MigrationStatus>(['none', 'completed', 'failed', 'cancelled'])(
  'status %s allows changes',
  (outgoingStatus) => {
    expect(check(['events'], { ...IDLE_CONTEXT, outgoingStatus })).toBeUndefined();
  },
);

test('rules about the host name what is missing', () => {
  const without = (context: Partial<CapabilityContext>) => ({ ...INCOMING, ...context });
  expect(check(['x-colo'], without({ replication: false }))?.message).toContain('replication');
  const noPostcopy = without({ postcopyProblem: 'userfaultfd is not there' });
  expect(check(['postcopy-ram'], noPostcopy)?.message).toBe('Postcopy is not supported: userfaultfd is not there');
  expect(check(['postcopy-ram'], noPostcopy, { old: ['postcopy-ram'] })).toBeUndefined();
  expect(check(['postcopy-ram'], { ...noPostcopy, runState: 'running' })).toBeUndefined();
  const snapshot = (problem: 'kernel' | 'memory') =>
    check(['background-snapshot', 'xbzrle'], without({ backgroundSnapshotProblem: problem }))?.message;
  expect(snapshot('kernel')).toContain('host kernel');
  expect(snapshot('memory')).toContain('guest memory configuration');
});

test.each([{ 'multifd-compression': 'zlib' }, { 'tls-creds': 'tls0' }] as const)(
  'zero copy refuses %o',
  (parameters) => {
    expect(check(['multifd', 'zero-copy-send'])).toBeUndefined();
    expect(check(['multifd', 'zero-copy-send'], IDLE_CONTEXT, { parameters })?.message).toBe(
      'Zero copy only available for non-compressed non-TLS multifd migration',
    );
  },
);

test('the rows are in the order of query-migrate-capabilities', () => {
  expect(CAPABILITY_NAMES.join(' ')).toBe(
    'xbzrle rdma-pin-all auto-converge zero-blocks events postcopy-ram x-colo release-ram return-path ' +
      'pause-before-switchover multifd dirty-bitmaps postcopy-blocktime late-block-activate x-ignore-shared ' +
      'validate-uuid background-snapshot zero-copy-send postcopy-preempt switchover-ack dirty-limit mapped-ram',
  );
});

test.each(Object.keys(REMOVED_CAPABILITIES))("the removed capability '%s' is an unknown name", (name) => {
  expect(Object.keys(CAPABILITIES)).not.toContain(name);
  expect(() => capabilitiesKind.parse([{ capability: name, state: true }], 'capabilities')).toThrow(
    `Parameter 'capability' does not accept value '${name}'`,
  );
});

describe('the columns that say what goes together', () => {
  const permissive: CapabilityContext = { ...IDLE_CONTEXT, kvmDirtyRing: true };

  /** A capability and what it requires. */
  function whole(name: CapabilityName): string[] {
    return [name, ...(capabilityRow(name).requires ?? [])];
  }

  function accepted(names: readonly string[]): boolean {
    return check(names as CapabilityName[], permissive) === undefined;
  }

  test.each(CAPABILITY_NAMES)('%s: what it requires is what it lacks alone', (name) => {
    expect(accepted([name])).toBe((capabilityRow(name).requires ?? []).length === 0);
    expect(accepted(whole(name))).toBe(true);
  });

  test.each(CAPABILITY_NAMES)('%s: what it excludes is what is refused beside it', (name) => {
    for (const other of CAPABILITY_NAMES) {
      const names = [...new Set([...whole(name), ...whole(other)])];
      const excluded = names.some((one) =>
        capabilityRow(one as CapabilityName).excludes?.some((two) => names.includes(two)),
      );
      expect([other, accepted(names)]).toEqual([other, !excluded]);
    }
  });

  test('each exclusion is in both rows', () => {
    const pairs = CAPABILITY_NAMES.flatMap((name) =>
      (capabilityRow(name).excludes ?? []).map((other) => [name, other as CapabilityName] as const),
    );
    expect(pairs.filter(([name, other]) => !capabilityRow(other).excludes?.includes(name))).toEqual([]);
  });

  test.each(CAPABILITY_NAMES)('%s: whether it must be set before the listener is open', (name) => {
    const started: CapabilityContext = { ...permissive, incomingStarted: true };
    const late = check(whole(name) as CapabilityName[], started)?.message.includes('before incoming starts') ?? false;
    const own = capabilityRow(name).beforeIncoming === true;
    expect(late).toBe(own || (capabilityRow(name).requires ?? []).includes('multifd'));
  });
});
