/**
 * Machines with a sweeping guest, a device that is told to misbehave in a call (devices/misbehave.ts), and one that never does,
 * and what must hold after it did.
 */

import { expect } from 'vitest';
import { createLogger } from '../../src/base/log.ts';
import { COUNTER, counterConfig } from './counter-config.ts';
import { type MachinePair, machinePair } from './machine-pair.ts';
import { expectGuestGoesOn, guestHasBegun } from './running-guest.ts';
import type { TempDir } from './temp.ts';
import { WatchedVm, type WatchedVmOptions } from './watched-vm.ts';

/** Hanging takes so long; far more than a request needs on a busy machine. */
const DEADLINE_MS = 2_000;
/** What a device does then. */
export const HOWS = ['throw', 'hang', 'exit'] as const;
/** One of them. */
export type How = (typeof HOWS)[number];
type Properties = Readonly<Record<string, string>>;

/** Every machine here: a sweeping guest, a device that may misbehave, and one that never does. */
export const COMMON = {
  machineType: 'harness',
  guest: 'guest-sweep,id=g,rate=4MiB',
  deviceDeadlineMs: DEADLINE_MS,
  capabilities: ['return-path'],
} as const;
/** Both devices of a machine; `bad` are properties of the one that may misbehave. */
export const devices = (bad: Properties = {}) => [
  counterConfig('bad', { count: '3', ...bad }),
  counterConfig('good', { count: '4' }),
];
/** While a guest writes a migration with these does not converge, and with those it ends. */
const ENDLESS = { 'max-bandwidth': 100_000, 'downtime-limit': 1 };
const ENDING = { 'max-bandwidth': 0, 'downtime-limit': 2000 };
/** As `devices`, and each call goes wrong once. */
export const faulty = (dir: TempDir, bad: Properties) => devices({ once: dir.file('did'), ...bad });
/** What the two count. */
export const counts = async ({ vm }: WatchedVm) => [
  await (await vm.device('bad')).read(COUNTER.COUNT),
  await (await vm.device('good')).read(COUNTER.COUNT),
];

/** A migration to a machine without faults completes, and guest and devices are there. */
export async function expectNextSucceeds(source: WatchedVm, dir: TempDir, bad = 3): Promise<void> {
  const uri = `unix:${dir.file('next')}`;
  await using destination = await WatchedVm.start({ ...COMMON, devices: devices(), running: true, incoming: uri });
  const mark = source.events.length;
  await source.vm.migrate({ uri });
  expect(await source.ended(mark)).toBe('completed');
  await destination.event(['RESUME']);
  expect(await counts(destination)).toEqual([bad, 4]);
  await expectGuestGoesOn(destination);
}

/** Two machines that are migrating, which converges only once `finish` was called. */
export async function endlessMigration(options: {
  readonly source: WatchedVmOptions;
  readonly destination: WatchedVmOptions;
}): Promise<MachinePair & { readonly finish: () => void }> {
  const { source, destination } = options;
  const pair = await machinePair({ common: COMMON, source: { ...source, parameters: ENDLESS }, destination });
  await guestHasBegun(pair.source);
  await pair.source.vm.migrate({ uri: pair.uri });
  await pair.source.event(['M:active']);
  await pair.destination.event(['M:active']);
  return { ...pair, finish: () => pair.source.vm.setParameters(ENDING) };
}

/** The request that makes a machine use this handler of its devices. */
export async function asked(machine: WatchedVm, handler: string): Promise<unknown> {
  const bad = await machine.vm.device('bad');
  switch (handler) {
    case 'read':
      return bad.read(COUNTER.COUNT);
    case 'write':
      return bad.write(COUNTER.COUNT, 3);
    case 'reset':
      return machine.vm.reset();
    case 'stop':
      return machine.vm.stop();
    default:
      throw new Error(`no request for ${handler}`);
  }
}

/** A log whose warnings can be looked at. */
export function recordingLog() {
  const lines: string[] = [];
  return {
    logger: createLogger({ level: 'warn', stream: { write: (line) => lines.push(line) } }),
    text: () => lines.join(''),
  };
}
