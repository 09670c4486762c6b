/**
 * The conformance suite for devices: whatever a device is, its state must be complete, strict, and such that a guest does
 * not notice a migration. No test runner inside: `conformanceChecks` gives functions that throw, `runConformance` a
 * report; vitest.ts is the adapter.
 */

import { messageOf } from '../base/errors.ts';
import type { AccessSize, DeviceDefinition } from '../hw/device.ts';
import type { ConformanceRegister, DeviceConformance } from '../hw/device-conformance.ts';
import type { SavedState } from '../hw/device-host.ts';
import { GuestWorld, InlineMachine } from './inline-machine.ts';
import { type ArrivedState, checkCutStates, checkDescription, checkLongStates } from './state-bytes.ts';
import { describeStep, firstDeviation, place, runTrace } from './trace.ts';

/** One thing a device must do. */
export interface ConformanceCheck {
  /** As a fact about the device. */
  readonly name: string;
  /** Throws an error that says what is wrong and, where something is missing, what to add. */
  run(): Promise<void>;
}

/** How one check ended. */
export interface ConformanceResult {
  readonly name: string;
  readonly ok: boolean;
  /** Why it failed. */
  readonly why?: string;
  readonly durationMs: number;
}

/** How all checks of a device ended. */
export interface ConformanceReport {
  readonly device: string;
  readonly ok: boolean;
  readonly checks: readonly ConformanceResult[];
}

/** Offsets of each region that are tried without being named (bytes). */
const SCANNED_BYTES = 4096;

/** Every check for this device. They are independent of each other. */
export function conformanceChecks(definition: DeviceDefinition): readonly ConformanceCheck[] {
  const needed = () => definition.conformance ?? missing(definition);
  const check = (name: string, run: (conformance: DeviceConformance) => Promise<void>): ConformanceCheck => ({
    name,
    run: async () => run(needed()),
  });
  return [
    check('save, load, save gives the same bytes, at every step of its trace', ({ trace }) =>
      checkRoundTrips(definition, trace),
    ),
    check('a store to any register shows in the state', ({ registers }) => checkPokes(definition, registers)),
    check('registers that it does not name keep no state', ({ registers }) => checkUnnamed(definition, registers)),
    check('each older version that it declares loads', ({ older = {} }) => checkOlder(definition, older)),
    check('a state that is cut short is an error that names the field', () => withArrived(definition, checkCutStates)),
    check('a state that goes on too long is an error', () => withArrived(definition, checkLongStates)),
    check('its description accounts for every byte of its state', () =>
      withStates(definition, ({ bytes, described }) => checkDescription(bytes, described)),
    ),
    check('a guest cannot tell a migration after any step of its trace', ({ trace }) => checkTrace(definition, trace)),
  ];
}

/** Runs every check, one after the other. */
export async function runConformance(definition: DeviceDefinition): Promise<ConformanceReport> {
  const checks: ConformanceResult[] = [];
  for (const { name, run } of conformanceChecks(definition)) {
    const startMs = performance.now();
    const why = await run().then(() => undefined, messageOf);
    const durationMs = Math.round(performance.now() - startMs);
    checks.push({ name, ok: why === undefined, ...(why === undefined ? {} : { why }), durationMs });
  }
  return { device: definition.name, ok: checks.every(({ ok }) => ok), checks };
}

function missing({ name }: DeviceDefinition): never {
  throw new Error(
    `the definition of '${name}' has no member 'conformance': add { registers: [{ name, region, offset, size }, …], ` +
      'trace: [{ write: REGISTER, value }, { read: REGISTER }, { waitNs: 1_000_000n }, …] } ' +
      '(types DeviceConformance and TraceStep of switchover/device)',
  );
}

async function checkRoundTrips(definition: DeviceDefinition, trace: DeviceConformance['trace']): Promise<void> {
  await using world = await GuestWorld.create(definition);
  await using machine = await InlineMachine.create(world);
  const check = async (when: string) => {
    const { bytes: first } = await machine.saved();
    const origin = { bytes: first, nowNs: machine.nowNs(), paused: true } as const;
    await using second = await InlineMachine.create(world, origin);
    const difference = firstDifference(first, (await second.stopAndSave()).bytes);
    if (difference !== undefined) throw new Error(`${when}: the state saved after a load differs at ${difference}`);
  };
  await check('at power-on');
  for (const [index, step] of trace.entries()) {
    await machine.perform(step);
    await check(`after step ${index} (${describeStep(step)})`);
  }
}

async function checkPokes(definition: DeviceDefinition, registers: readonly ConformanceRegister[]): Promise<void> {
  for (const register of registers) {
    const { name, stateless } = register;
    const difference = await differenceOfStore(definition, register);
    if (stateless === undefined && difference === undefined) {
      throw new Error(
        `the state is the same after a store to ${name}, ${place(register)}: save it, give a 'poke' that changes ` +
          `it, or say 'stateless: WHY'`,
      );
    }
    if (stateless !== undefined && difference !== undefined) {
      throw new Error(`${name}, ${place(register)}, is said to be stateless, but a store to it changes ${difference}`);
    }
  }
}

async function checkUnnamed(definition: DeviceDefinition, registers: readonly ConformanceRegister[]): Promise<void> {
  await using world = await GuestWorld.create(definition);
  await using machine = await InlineMachine.create(world);
  const { bytes: untouched } = await machine.saved();
  for (const [region, { size: regionBytes }] of Object.entries(definition.regions ?? {})) {
    const named = (offset: number) =>
      registers.some((row) => row.region === region && offset < row.offset + row.size && row.offset <= offset);
    for (let offset = 0, size: AccessSize; offset < Math.min(regionBytes, SCANNED_BYTES); offset += size) {
      size = widestFree(offset, regionBytes, named);
      if (named(offset)) continue;
      const access = { region, offset, size };
      await machine.perform({ write: access, value: allOnes(size) });
      const difference = firstDifference(untouched, (await machine.saved()).bytes);
      if (difference !== undefined) {
        throw new Error(`a store to ${place(access)} changes ${difference}: name the register in 'registers'`);
      }
    }
  }
}

/** The widest access at an offset that touches nothing named: narrow stores to wide registers may be ignored. */
function widestFree(offset: number, regionBytes: number, named: (offset: number) => boolean): AccessSize {
  const isFree = (size: number) =>
    offset % size === 0 &&
    offset + size <= regionBytes &&
    Array.from({ length: size }, (_, byte) => named(offset + byte)).every((touched) => !touched);
  return ([4, 2] as const).find(isFree) ?? 1;
}

function allOnes(size: AccessSize): number {
  return 2 ** (8 * size) - 1;
}

/** Where the state differs after a store to a fresh device; undefined where it does not. */
async function differenceOfStore(
  definition: DeviceDefinition,
  register: Omit<ConformanceRegister, 'name'>,
): Promise<string | undefined> {
  const { region, offset, size, before = [], poke = allOnes(size) } = register;
  await using world = await GuestWorld.create(definition);
  await using machine = await InlineMachine.create(world);
  for (const step of before) await machine.perform(step);
  const { bytes: untouched } = await machine.saved();
  await machine.perform({ write: { region, offset, size }, value: poke });
  return firstDifference(untouched, (await machine.saved()).bytes);
}

async function checkOlder(definition: DeviceDefinition, older: Readonly<Record<number, string>>): Promise<void> {
  const { version: current, minimumVersion } = definition.state;
  for (let version = minimumVersion; version < current; version += 1) {
    const sample = older[version];
    if (sample === undefined) {
      throw new Error(`version ${version} is declared and not tried: add a state of it, older: { ${version}: 'hex' }`);
    }
    const bytes = bytesOf(sample);
    await using world = await GuestWorld.create(definition);
    await using machine = await InlineMachine.create(world, { bytes, version, paused: true });
    const { bytes: saved } = await machine.stopAndSave();
    await using second = await InlineMachine.create(world, { bytes: saved, paused: true });
    const difference = firstDifference(saved, (await second.stopAndSave()).bytes);
    if (difference !== undefined)
      throw new Error(`loaded from version ${version}, its state is not kept: ${difference}`);
  }
}

async function checkTrace(definition: DeviceDefinition, trace: DeviceConformance['trace']): Promise<void> {
  if (trace.length === 0) throw new Error("its trace is empty: add steps of a guest that uses the device to 'trace'");
  const without = await runTrace(definition, trace, () => false);
  const plans = [
    { name: 'every step', migrateAfter: () => true },
    ...trace.map((step, index) => ({
      name: `step ${index} (${describeStep(step)})`,
      migrateAfter: (after: number) => after === index,
    })),
  ];
  for (const { name, migrateAfter } of plans) {
    const deviation = firstDeviation(trace, without, await runTrace(definition, trace, migrateAfter));
    if (deviation === undefined) continue;
    const { step, what } = deviation;
    throw new Error(
      `with a migration after ${name}, ${what} at step ${step} (${describeStep(trace[step]!)}) is ` +
        `${deviation.with}, without one ${deviation.without}`,
    );
  }
}

/** Runs `check` on the state at power-on and on the one at the end of the trace. */
async function withStates(definition: DeviceDefinition, check: (saved: SavedState) => void): Promise<void> {
  await using world = await GuestWorld.create(definition);
  await using machine = await InlineMachine.create(world);
  check(await machine.saved());
  for (const step of definition.conformance?.trace ?? []) await machine.perform(step);
  check(await machine.saved());
}

/** The same, and on a state of each older version. */
async function withArrived(
  definition: DeviceDefinition,
  check: (schema: DeviceDefinition['state'], arrived: ArrivedState) => void,
): Promise<void> {
  const { state, conformance } = definition;
  await withStates(definition, ({ bytes }) => check(state, { bytes, version: state.version }));
  for (const [version, sample] of Object.entries(conformance?.older ?? {})) {
    check(state, { bytes: bytesOf(sample), version: Number(version) });
  }
}

function bytesOf(sample: string): Uint8Array {
  return new Uint8Array(Buffer.from(sample.replaceAll(/\s/g, ''), 'hex'));
}

function firstDifference(a: Uint8Array, b: Uint8Array): string | undefined {
  const at = a.findIndex((byte, index) => byte !== b[index]);
  if (at >= 0) return `byte ${at} of the state (${a[at]} and ${b[at] ?? 'none'})`;
  return a.length === b.length ? undefined : `its length (${a.length} and ${b.length} bytes)`;
}
