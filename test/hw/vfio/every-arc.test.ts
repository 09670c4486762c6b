/**
 * Every pair of the eight states, and a failure at every arc between them: the way that is taken, the state that is left
 * behind, what resets and recoveries make of it, and that the device goes on from there (spec/vfio.md §1.2 to §1.4).
 */

import { describe, expect, test } from 'vitest';
import { VFIO_STATES, type VfioFeatures } from '../../../src/hw/vfio/states.ts';
import type { VfioDevice } from '../../../src/hw/vfio/vfio-device.ts';
import type { VfioState } from '../../../src/wire/vfio.ts';
import { emulated, PROFILE_NAMES, readAll, wholeStream, writeAll } from '../../support/emulated-pair.ts';
import { failure } from '../../support/failure.ts';
import { scripted } from '../../support/scripted-driver.ts';
import { SAVING, supports, tablePath } from '../../support/vfio-table.ts';

const FEATURES: readonly VfioFeatures[] = [true, false].flatMap((p2p) =>
  [true, false].map((precopy) => ({ p2p, precopy })),
);
const REFUSED = { code: 'vfio/refused', details: { errno: 'EINVAL' } };

/** One arc of a way, and where the device is before it. */
interface Arc {
  readonly from: VfioState;
  readonly to: VfioState;
  /** As drivers of tests are told of it. */
  readonly name: string;
}

/** The arcs from one state to another by the table; undefined where it has no way. Nothing leads into ERROR or out of it. */
function arcs(from: VfioState, target: VfioState, features: VfioFeatures): Arc[] | undefined {
  if (from === 'error' || target === 'error') return undefined;
  const path = tablePath(from, target, features);
  return path?.map((to, index) => {
    const before = index === 0 ? from : path[index - 1]!;
    return { from: before, to, name: `${before} ${to}` };
  });
}
const names = (way: readonly Arc[]) => way.map(({ name }) => name);

/** Data flows in the states that have a session, and in no other. */
async function expectSessionsOf(device: VfioDevice): Promise<void> {
  const [read, written] = [await failure(device.read(1)), await failure(device.write(new Uint8Array(1)))];
  const dead = { code: 'vfio/refused', details: { errno: 'ENODEV', actual: device.state } };
  if (SAVING.has(device.state)) expect(read).toBeUndefined();
  else expect(read).toMatchObject(dead);
  if (device.state === 'resuming') expect(written).toBeUndefined();
  else expect(written).toMatchObject(dead);
}

/** A device in a state, whose driver has not been told to fail yet. */
async function scriptedIn(state: VfioState, features: VfioFeatures) {
  const { driver, device } = scripted(features);
  if (state === 'error') {
    driver.resetFails = true;
    await failure(device.reset());
    driver.resetFails = false;
  } else await device.setState(state);
  expect(device.state).toBe(state);
  driver.arcs.length = 0;
  return { driver, device };
}

/** A reset leads out of whatever state, and the way to `target` is there again, from RUNNING. */
async function expectResetHelps(made: Awaited<ReturnType<typeof scriptedIn>>, target: VfioState): Promise<void> {
  const { driver, device } = made;
  await device.reset();
  expect(device.state).toBe('running');
  await expectSessionsOf(device);
  await expectGoes(made, 'running', target);
  expect(driver.isBroken).toBe(false);
}

/** A request is answered as the table says: all arcs of the way, or a refusal that changes nothing. */
async function expectGoes(
  { driver, device }: Awaited<ReturnType<typeof scriptedIn>>,
  from: VfioState,
  target: VfioState,
): Promise<void> {
  driver.arcs.length = 0;
  const way = arcs(from, target, driver.features);
  const error = await failure(device.setState(target));
  if (way === undefined) expect(error).toMatchObject(REFUSED);
  else expect(error).toBeUndefined();
  expect(device.state).toBe(way === undefined ? from : target);
  expect(driver.arcs).toEqual(names(way ?? []));
}

describe.each(FEATURES)('with p2p $p2p and precopy $precopy', (features) => {
  const sources = VFIO_STATES.filter((state) => supports(state, features));
  const pairs = sources.flatMap((from) => VFIO_STATES.map((target) => [from, target] as const));
  const ways = pairs.flatMap(([from, target]) => {
    const way = arcs(from, target, features) ?? [];
    return way.map((arc, index) => ({ from, target, way, arc: arc.name, before: arc.from, to: arc.to, index }));
  });

  test.each(pairs)('%s to %s: the arcs of the table, or a refusal that changes nothing', async (from, target) => {
    const made = await scriptedIn(from, features);
    await expectGoes(made, from, target);
    await expectSessionsOf(made.device);
    await expectResetHelps(made, target);
  });

  test.each(ways)('$from to $target fails at $arc: it stays at $before', async (row) => {
    const { from, target, way, arc, before, to, index } = row;
    const made = await scriptedIn(from, features);
    const { driver, device } = made;
    driver.failing.add(arc);
    const details = { device: 'v0', from: before, to, target, now: before, why: 'told to fail' };
    expect(await failure(device.setState(target))).toMatchObject({ code: 'vfio/arc', details });
    expect(device.state).toBe(before);
    expect(driver.arcs).toEqual(names(way.slice(0, index)));
    await expectSessionsOf(device);
    // Asked again it takes the rest of the way, and from there any other.
    driver.failing.clear();
    await expectGoes(made, before, target);
    await expectSessionsOf(device);
    for (const next of VFIO_STATES) {
      const again = await scriptedIn(from, features);
      again.driver.failing.add(arc);
      await failure(again.device.setState(target));
      again.driver.failing.clear();
      await expectGoes(again, before, next);
      await expectResetHelps(again, target);
    }
  });

  test.each(ways)('$from to $target breaks at $arc: it is in ERROR, and only a reset helps', async (row) => {
    const { from, target, way, arc, before, to, index } = row;
    const made = await scriptedIn(from, features);
    const { driver, device } = made;
    driver.breaking.add(arc);
    const details = { from: before, to, target, now: 'error' };
    expect(await failure(device.setState(target))).toMatchObject({ code: 'vfio/arc', details });
    expect(driver.arcs).toEqual(names(way.slice(0, index)));
    driver.breaking.clear();
    for (const next of VFIO_STATES) await expectGoes(made, 'error', next);
    await expectSessionsOf(device);
    await expectResetHelps(made, target);
  });

  test.each(ways)(
    '$from to $target fails at $arc: it recovers, or is reset when any arc of that fails',
    async (row) => {
      const { from, target, way, arc, before, to, index } = row;
      for (const recover of VFIO_STATES) {
        const back = arcs(before, recover, features);
        const alone = await scriptedIn(from, features);
        alone.driver.failing.add(arc);
        // The way back may lead over the arc that fails.
        const blocked = back?.findIndex(({ name }) => name === arc) ?? 0;
        const now = blocked >= 0 ? 'running' : recover;
        const walked = blocked >= 0 ? (back ?? []).slice(0, blocked) : back!;
        const details = { from: before, to, target, now };
        expect(await failure(alone.device.setState(target, recover)), recover).toMatchObject({
          code: 'vfio/arc',
          details,
        });
        expect(alone.device.state).toBe(now);
        expect(alone.driver.arcs).toEqual(names([...way.slice(0, index), ...walked]));
        await expectSessionsOf(alone.device);

        for (const { name } of back ?? []) {
          for (const isReset of [true, false]) {
            const twice = await scriptedIn(from, features);
            twice.driver.failing = new Set([arc, name]);
            twice.driver.resetFails = !isReset;
            const end = isReset ? 'running' : 'error';
            expect(await failure(twice.device.setState(target, recover))).toMatchObject({
              details: { ...details, now: end },
            });
            expect(twice.device.state).toBe(end);
            twice.driver.failing.clear();
            twice.driver.resetFails = false;
            await expectResetHelps(twice, target);
          }
        }
      }
    },
  );
});

describe.each(PROFILE_NAMES)('%s', (name) => {
  const all: VfioFeatures = { p2p: true, precopy: true };
  const stateBytes = 1500;
  const states = VFIO_STATES.filter((state) => state !== 'error');
  const ways = states.flatMap((from) =>
    states.flatMap((target) => (arcs(from, target, all) ?? []).map((arc) => ({ from, target, arc: arc.name }))),
  );

  /** A device in a state, with what its session has sent or got so far. */
  async function profileIn(state: VfioState, failing: ReadonlySet<string>) {
    const { device } = emulated(name, { stateBytes, failing });
    await device.setState(state);
    if (state === 'resuming') await writeAll(device, await wholeStream(name, { stateBytes }));
    return device;
  }

  /** Another device takes the stream and runs. */
  async function expectLoads(stream: Uint8Array): Promise<void> {
    const { device } = emulated(name, { stateBytes });
    await device.setState('resuming');
    await writeAll(device, stream);
    await device.setState('running');
  }

  /** It runs again, can be migrated away, and be migrated to. */
  async function expectMigrates(device: VfioDevice): Promise<void> {
    await device.setState('running');
    await device.setState('pre-copy');
    const precopy = await readAll(device);
    await device.setState('stop-copy');
    await expectLoads(Buffer.concat([precopy, await readAll(device)]));
    await device.setState('resuming');
    await writeAll(device, await wholeStream(name, { stateBytes }));
    await device.setState('running');
  }

  test.each(ways)('$from to $target fails at $arc: it migrates afterwards, with a reset and without', async (row) => {
    for (const isReset of [true, false]) {
      const failing = new Set([row.arc]);
      const device = await profileIn(row.from, failing);
      // A session that is open goes on where it was, whatever arc of its own states failed.
      const sent = SAVING.has(row.from) ? await readAll(device) : Buffer.alloc(0);
      expect(await failure(device.setState(row.target))).toMatchObject({ code: 'vfio/arc' });
      failing.clear();
      if (isReset) await device.reset();
      else if (SAVING.has(device.state) && SAVING.has(row.from)) {
        await device.setState('stop-copy');
        await expectLoads(Buffer.concat([sent, await readAll(device)]));
      }
      await expectMigrates(device);
    }
  });
});
