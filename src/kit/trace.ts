/** A scripted guest on one device: what it sees at each step, with and without migrations in between. */

import { crc32 } from 'node:zlib';
import type { DeviceDefinition, TraceStep } from '../hw/device.ts';
import { GuestWorld, InlineMachine } from './inline-machine.ts';

/** What the guest can know after one step. */
interface Sight {
  readonly value: number | undefined;
  /** Of each interrupt line: its level, and how often it rose during the step. */
  readonly lines: readonly { readonly level: boolean; readonly edges: number }[];
  readonly ramCrc: number;
}

/** Where a migration changed what the guest sees. */
export interface Deviation {
  readonly step: number;
  readonly what: string;
  readonly without: string;
  readonly with: string;
}

/** Runs the script, migrating after the steps (counted from 0) that `migrateAfter` chooses. Throws with the step's text. */
export async function runTrace(
  definition: DeviceDefinition,
  trace: readonly TraceStep[],
  migrateAfter: (step: number) => boolean,
): Promise<readonly Sight[]> {
  await using world = await GuestWorld.create(definition);
  let machine = await InlineMachine.create(world);
  const sights: Sight[] = [];
  try {
    for (const [index, step] of trace.entries()) {
      const before = edgesOf(machine);
      const value = await machine.perform(step).catch((cause: Error) => {
        throw new Error(`step ${index} (${describeStep(step)}): ${cause.message}`, { cause });
      });
      const lines = edgesOf(machine).map((edges, line) => ({
        level: machine.irqs.level(line),
        edges: edges - before[line]!, // a line each, as before
      }));
      sights.push({ value, lines, ramCrc: crc32(world.ram.bytes) });
      if (migrateAfter(index)) machine = await machine.migrate();
    }
  } finally {
    await machine[Symbol.asyncDispose]();
  }
  return sights;
}

/** The first step at which two runs of the same script differ. */
export function firstDeviation(
  trace: readonly TraceStep[],
  without: readonly Sight[],
  migrated: readonly Sight[],
): Deviation | undefined {
  for (const [step, expected] of without.entries()) {
    const actual = migrated[step]!; // both ran the whole script
    if (expected.value !== actual.value) {
      return { step, what: 'the value read', without: hex(expected.value), with: hex(actual.value) };
    }
    const done = trace[step]!; // sights are of its steps
    if ('later' in done) continue; // its effects come at their own time, and an `until` waits for them
    for (const [line, { level, edges }] of expected.lines.entries()) {
      const other = actual.lines[line]!; // of the same definition
      const what = `interrupt line ${line}`;
      if (level !== other.level) return { step, what, without: levelName(level), with: levelName(other.level) };
      if ('until' in done || 'untilStored' in done) continue; // the line may have risen before the waiting began
      if (edges !== other.edges) return { step, what, without: `${edges} edges`, with: `${other.edges} edges` };
    }
    if (expected.ramCrc !== actual.ramCrc) {
      return { step, what: 'guest RAM', without: `CRC ${hex(expected.ramCrc)}`, with: `CRC ${hex(actual.ramCrc)}` };
    }
  }
  return undefined;
}

/** `write registers+0x8 (4 bytes) = 0x5`. */
export function describeStep(step: TraceStep): string {
  if ('write' in step) return `write ${place(step.write)} = ${hex(step.value)}`;
  if ('read' in step) return `read ${place(step.read)}`;
  if ('until' in step) return `wait until ${place(step.until)} = ${hex(step.value)}`;
  if ('untilStored' in step) return `wait until the byte at ${hex(step.untilStored)} is ${hex(step.value)}`;
  if ('waitNs' in step) return `wait ${step.waitNs} ns`;
  if ('store' in step) return `store ${step.bytes.length} bytes at ${hex(step.store)}`;
  return 'reset';
}

/** `registers+0x8 (4 bytes)`. */
export function place({ region, offset, size }: { region: string; offset: number; size: number }): string {
  return `${region}+${hex(offset)} (${size} byte${size === 1 ? '' : 's'})`;
}

function edgesOf({ irqs }: InlineMachine): number[] {
  return Array.from({ length: irqs.count }, (_, line) => irqs.edges(line));
}

function levelName(level: boolean): string {
  return level ? 'high' : 'low';
}

function hex(value: number | undefined): string {
  return value === undefined ? 'none' : `0x${value.toString(16)}`;
}
