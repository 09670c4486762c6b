/**
 * The static comparison of two vmstate dumps: everything in which they differ, and whether it breaks migration from A to B and
 * from B to A. What a device's own code does with the bytes (hooks, predicates, custom fields) no dump tells.
 */

import { compareStates } from './compare-states.ts';
import { type BothWays, type Breaks, bothWays, type Difference } from './dump-difference.ts';
import type { DumpedDevice, VmstateDump } from './vmstate-dump.ts';

/** The outcome for one type of device, or for the machine. */
interface DeviceComparison {
  readonly name: string;
  readonly differences: readonly Difference[];
}

/** The outcome of a comparison. */
export interface DumpComparison {
  /** Whether no difference breaks, or may break, a migration in that direction. */
  readonly compatible: BothWays<boolean>;
  readonly machines: { readonly a: string | null; readonly b: string | null };
  /** In alphabetical order, those without a difference included; the machine is first. */
  readonly devices: readonly DeviceComparison[];
}

/** Compares two dumps. */
export function compareDumps(a: VmstateDump, b: VmstateDump): DumpComparison {
  const renamed = renamedDevices(a, b);
  const newNames = new Set(renamed.values());
  const names = [...new Set([...a.devices.keys(), ...b.devices.keys()])].filter((name) => !newNames.has(name)).sort();
  const devices = [
    { name: 'machine', differences: [...compareMachines(a, b)] },
    ...names.map((name) => {
      const [left, right] = [a.devices.get(name), b.devices.get(renamed.get(name) ?? name)];
      return { name, differences: [...compareDevices(name, left, right)] };
    }),
  ];
  const all = devices.flatMap(({ differences }) => differences);
  const isSafe = (direction: keyof BothWays<Breaks>) => all.every(({ breaks }) => breaks[direction] === 'no');
  return {
    compatible: { forward: isSafe('forward'), backward: isSafe('backward') },
    machines: { a: a.machine ?? null, b: b.machine ?? null },
    devices,
  };
}

function* compareMachines(a: VmstateDump, b: VmstateDump): Generator<Difference> {
  if (a.machine === b.machine) return;
  const isTold = a.machine !== undefined && b.machine !== undefined;
  yield {
    path: 'vmschkmachine.Name',
    kind: 'machine',
    a: a.machine ?? null,
    b: b.machine ?? null,
    breaks: bothWays(isTold ? 'yes' : 'maybe'),
    why: 'a stream begins with its machine type, which the destination compares with its own',
  };
}

function* compareDevices(name: string, a?: DumpedDevice, b?: DumpedDevice): Generator<Difference> {
  const [left, right] = [a?.state, b?.state];
  if (a === undefined || left === undefined) {
    const why = 'A has no such device';
    yield {
      path: name,
      kind: 'device-extra',
      a: null,
      b: right?.name ?? null,
      breaks: { forward: 'no', backward: 'yes' },
      why,
    };
    return;
  }
  if (b === undefined || right === undefined) {
    const why = 'B has no such device';
    yield {
      path: name,
      kind: 'device-missing',
      a: left.name,
      b: null,
      breaks: { forward: 'yes', backward: 'no' },
      why,
    };
    return;
  }
  if (a.type !== b.type) {
    const why = "a device's type is not on the stream, and what it sends has the same name";
    yield { path: `${name}.Name`, kind: 'device-renamed', a: a.type, b: b.type, breaks: bothWays('no'), why };
  }
  yield* compareOuterVersions(name, a, b);
  yield* compareStates(left, right, { path: name, hasVersionOnStream: true, sent: bothWays('yes') });
}

/** QEMU writes a device's versions twice; where both places agree on each side, one difference says it. */
function* compareOuterVersions(name: string, a: DumpedDevice, b: DumpedDevice): Generator<Difference> {
  const rows = [
    ['version', 'version_id', a.version, b.version],
    ['minimum-version', 'minimum_version_id', a.minimumVersion, b.minimumVersion],
  ] as const;
  for (const [kind, member, left, right] of rows) {
    if (left === right || (left === a.state[member] && right === b.state[member])) continue;
    const why = 'a copy of what the description says, which is what counts';
    yield { path: `${name}.${member} (copy)`, kind, a: left, b: right, breaks: bothWays('no'), why };
  }
}

/** Types that only one side has and whose section's name no other such type has: one device under two names. */
function renamedDevices(a: VmstateDump, b: VmstateDump): ReadonlyMap<string, string> {
  const [onlyA, onlyB] = [uniqueSections(a, b), uniqueSections(b, a)];
  return new Map(
    [...onlyA].flatMap(([section, name]) => {
      const other = onlyB.get(section);
      return name === undefined || other === undefined ? [] : [[name, other] as const];
    }),
  );
}

/** The types that `other` lacks by the names of their sections; undefined for a name that several have. */
function uniqueSections(dump: VmstateDump, other: VmstateDump): ReadonlyMap<string, string | undefined> {
  const found = new Map<string, string | undefined>();
  for (const [name, { state }] of dump.devices) {
    if (!other.devices.has(name)) found.set(state.name, found.has(state.name) ? undefined : name);
  }
  return found;
}
