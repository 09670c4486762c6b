/** The events and final states that a real QEMU showed in whole migrations (oracles/events.json), replayed on our machine. */

import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { readOracle } from '../support/exact-json.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import { turnUntil, WatchedVm, type WatchedVmOptions } from '../support/watched-vm.ts';

/** One side of a recorded migration. */
interface RecordedSide {
  readonly events: readonly string[];
  readonly runstate: string;
  readonly status: string;
}

interface Scenario {
  readonly name: string;
  readonly src: RecordedSide;
  readonly dst?: RecordedSide;
}

const { scenarios } = readOracle<{ scenarios: readonly Scenario[] }>('events');

const replayed = new Set<string>();

function scenario(name: string): Scenario {
  replayed.add(name);
  const found = scenarios.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no scenario '${name}' in the oracle`);
  return found;
}

/**
 * How many passes happen while `active` depends on time, so they are left out; the first pass, and the last one of a
 * migration that gets as far, keep their place. Passes must count up from 1 without a gap.
 */
function withoutTiming(events: readonly string[]): string[] {
  const passes = events.filter((event) => event.startsWith('PASS:'));
  expect(passes).toEqual(passes.map((_, index) => `PASS:${index + 1}`));
  const kept: string[] = [];
  let status = '';
  for (const event of events) {
    if (event.startsWith('M:')) status = event;
    if (!event.startsWith('PASS:')) kept.push(event);
    else if (status !== 'M:active') kept.push('PASS');
  }
  return kept;
}

function recorded(side: RecordedSide): object {
  return { ...side, events: withoutTiming(side.events) };
}

function shown({ vm, events }: WatchedVm): object {
  const { status } = vm.queryMigrate();
  return { events: withoutTiming(events), runstate: vm.queryStatus().status, status };
}

/** A source and its destination, both with their defaults, and where the destination listens. */
async function pair(
  dir: TempDir,
  sides: { source?: WatchedVmOptions; destination?: WatchedVmOptions },
): Promise<{ uri: string; source: WatchedVm; destination: WatchedVm } & AsyncDisposable> {
  const uri = `unix:${dir.file('m.sock')}`;
  const source = await WatchedVm.start({ running: true, ...sides.source });
  const destination = await WatchedVm.start({ running: true, incoming: uri, ...sides.destination });
  // What happened before the migration is not part of the record.
  source.events.length = 0;
  const dispose = async () => {
    await source[Symbol.asyncDispose]();
    await destination[Symbol.asyncDispose]();
  };
  return { uri, source, destination, [Symbol.asyncDispose]: dispose };
}

async function bothEnd(source: WatchedVm, destination: WatchedVm): Promise<void> {
  await Promise.all([source.ended(), destination.ended()]);
  await turnUntil(() => source.vm.queryStatus().status !== 'finish-migrate');
}

test('a source that was never started', async () => {
  const { src, dst } = scenario('precopy, never-started (prelaunch) source');
  await using dir = await tempDir();
  await using both = await pair(dir, { source: { running: false } });
  await both.source.vm.migrate({ uri: both.uri });
  await bothEnd(both.source, both.destination);
  expect(shown(both.source)).toEqual(recorded(src));
  expect(shown(both.destination)).toEqual(recorded(dst!));
});

test('stop on the destination while it waits', async () => {
  const { src, dst } = scenario('precopy, QMP stop on destination while inmigrate');
  await using dir = await tempDir();
  await using both = await pair(dir, {});
  await both.destination.vm.stop();
  await both.source.vm.migrate({ uri: both.uri });
  await bothEnd(both.source, both.destination);
  expect(shown(both.source)).toEqual(recorded(src));
  expect(shown(both.destination)).toEqual(recorded(dst!));
});

test.for([false, true])('pause-before-switchover and migrate-continue, return-path %s', async (returnPath) => {
  const { src, dst } = scenario('pause-before-switchover, continue');
  const rp = returnPath ? ['return-path'] : [];
  await using dir = await tempDir();
  await using both = await pair(dir, {
    source: { capabilities: ['pause-before-switchover', ...rp] },
    destination: { capabilities: rp },
  });
  await both.source.vm.migrate({ uri: both.uri });
  await both.source.event(['M:pre-switchover']);
  await turnUntil(() => both.source.vm.queryMigrate().status === 'pre-switchover');
  await expect(both.source.vm.cont()).rejects.toThrow('Migration is not finalized yet');
  await expect(both.source.vm.migrateContinue('device')).rejects.toThrow('pre-switchover');
  await both.source.vm.migrateContinue('pre-switchover');
  await bothEnd(both.source, both.destination);
  expect(shown(both.source)).toEqual(recorded(src));
  expect(shown(both.destination)).toEqual(recorded(dst!));
});

test.for([false, true])('cancel in pre-switchover, return-path %s', async (returnPath) => {
  const { src, dst } = scenario('cancel in pre-switchover (dst exit-on-error=false)');
  const rp = returnPath ? ['return-path'] : [];
  await using dir = await tempDir();
  await using both = await pair(dir, {
    source: { capabilities: ['pause-before-switchover', ...rp] },
    destination: { capabilities: rp },
  });
  await both.source.vm.migrate({ uri: both.uri });
  await both.source.event(['M:pre-switchover']);
  await both.source.vm.migrateCancel();
  await bothEnd(both.source, both.destination);
  expect(shown(both.source)).toEqual(recorded(src));
  expect(shown(both.destination)).toEqual(recorded(dst!));
});

test('a paused source that is cancelled in pre-switchover stays paused, without an event', async () => {
  await using dir = await tempDir();
  await using both = await pair(dir, { source: { capabilities: ['pause-before-switchover'] } });
  await both.source.vm.stop();
  await both.source.vm.migrate({ uri: both.uri });
  await both.source.event(['M:pre-switchover']);
  await both.source.vm.migrateCancel();
  await bothEnd(both.source, both.destination);
  expect(both.source.vm.queryStatus().status).toBe('paused');
  expect(both.source.events.filter((event) => !event.includes(':'))).toEqual(['STOP']);
});

test('a destination of another machine type', async () => {
  const { src, dst } = scenario('machine type mismatch (dst exit-on-error=false)');
  await using dir = await tempDir();
  // More RAM than a socket holds: the source is still sending when the destination refuses.
  const ramBytes = 32 << 20;
  const content = new Uint8Array(ramBytes).fill(1);
  await using both = await pair(dir, {
    source: { ramBytes, content },
    destination: { ramBytes, machineType: 'harness' },
  });
  await both.source.vm.migrate({ uri: both.uri });
  await bothEnd(both.source, both.destination);
  expect(shown(both.source)).toEqual(recorded(src));
  expect(shown(both.destination)).toEqual(recorded(dst!));
  expect(both.destination.vm.queryMigrate()['error-desc']).toMatch(/none.*harness|harness.*none/s);
});

test.for([
  ['precopy with switchover-ack', ['return-path', 'switchover-ack']],
  ['precopy multifd', ['multifd']],
] as const)('%s', async ([name, capabilities]) => {
  const { src, dst } = scenario(name);
  await using dir = await tempDir();
  await using both = await pair(dir, { source: { capabilities }, destination: { capabilities } });
  await both.source.vm.migrate({ uri: both.uri });
  await bothEnd(both.source, both.destination);
  expect(shown(both.source)).toEqual(recorded(src));
  expect(shown(both.destination)).toEqual(recorded(dst!));
});

test('a file that is stored and loaded', async () => {
  const { src, dst } = scenario('mapped-ram save then load');
  const options = { running: true, capabilities: ['mapped-ram'] };
  await using dir = await tempDir();
  const uri = `file:${dir.file('ram')}`;
  await using source = await WatchedVm.start(options);
  source.events.length = 0;
  await source.vm.migrate({ uri });
  await source.ended();
  await using destination = await WatchedVm.start({ ...options, incoming: uri });
  await bothEnd(source, destination);
  expect(shown(source)).toEqual(recorded(src));
  expect(shown(destination)).toEqual(recorded(dst!));
});

test('a peer that closes at once', async () => {
  const { src } = scenario('peer closes during setup/active');
  await using dir = await tempDir();
  const path = dir.file('m.sock');
  await using server = createServer((socket) => socket.destroy());
  server.listen(path);
  await once(server, 'listening');
  await using source = await WatchedVm.start({
    running: true,
    ramBytes: 32 << 20,
    content: new Uint8Array(32 << 20).fill(1),
  });
  source.events.length = 0;
  await source.vm.migrate({ uri: `unix:${path}` });
  expect(await source.ended()).toBe('failed');
  expect(shown(source)).toEqual(recorded(src));
  expect(source.vm.queryMigrate()['error-desc']).toContain(path);
});

test('every scenario of the oracle is replayed, but those of what this build refuses', () => {
  const missing = scenarios.map(({ name }) => name).filter((name) => !replayed.has(name));
  expect(missing).toEqual([
    'postcopy, destination -S',
    'postcopy-ram enabled but finished in precopy',
    'postcopy with pause-before-switchover',
    'background-snapshot',
  ]);
});
