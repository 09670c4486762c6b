/** The VFIO uAPI over a driver that fails where it is told to: states after failures, sessions, resets, DMA logging. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../../src/base/errors.ts';
import { VFIO_STATES, type VfioFeatures } from '../../../src/hw/vfio/states.ts';
import type { VfioState } from '../../../src/wire/vfio.ts';
import { failure } from '../../support/failure.ts';
import { type ScriptedDriver, scripted } from '../../support/scripted-driver.ts';
import { SAVING, tablePath } from '../../support/vfio-table.ts';

describe('a failed arc', () => {
  test('leaves the device at the vertex it had reached, and the error says where', async () => {
    const { driver, device } = scripted();
    driver.failing.add('stop stop-copy');
    expect(await failure(device.setState('stop-copy'))).toMatchObject({
      code: 'vfio/arc',
      details: { device: 'v0', from: 'stop', to: 'stop-copy', target: 'stop-copy', now: 'stop', why: 'told to fail' },
    });
    expect(device.state).toBe('stop');
  });

  test('goes to the recover state when there is one', async () => {
    const { driver, device } = scripted();
    driver.failing.add('pre-copy-p2p stop-copy');
    await device.setState('pre-copy');
    expect(await failure(device.setState('stop-copy', 'stop'))).toMatchObject({ details: { now: 'stop' } });
    expect(device.state).toBe('stop');
  });

  test('resets the device when it cannot recover either', async () => {
    const { driver, device } = scripted();
    driver.failing = new Set(['stop stop-copy', 'stop running-p2p']);
    expect(await failure(device.setState('stop-copy', 'running'))).toMatchObject({ details: { now: 'running' } });
    expect(device.state).toBe('running');
  });

  test('may break the device: only a reset leaves ERROR', async () => {
    const { driver, device } = scripted();
    await device.setState('resuming');
    driver.breaking.add('resuming stop');
    expect(await failure(device.setState('stop'))).toMatchObject({ details: { now: 'error' } });
    expect(await failure(device.setState('running'))).toMatchObject({ code: 'vfio/refused' });
    await device.reset();
    expect(device.state).toBe('running');
  });
});

describe('data', () => {
  test('flows out only inside a saving session: for now nothing, or nothing any more', async () => {
    const { driver, device } = scripted();
    driver.data = [new Uint8Array([1])];
    expect(await failure(device.read(10))).toMatchObject({ code: 'vfio/refused', details: { errno: 'ENODEV' } });
    await device.setState('pre-copy');
    expect(await device.read(10)).toMatchObject({ status: 'data' });
    expect(await device.read(10)).toMatchObject({ status: 'no-message' });
    await device.setState('stop-copy');
    expect(await device.read(10)).toMatchObject({ status: 'end' });
    expect(await device.read(10)).toMatchObject({ status: 'end' });
    await device.setState('stop');
    expect(await failure(device.read(10))).toMatchObject({ details: { errno: 'ENODEV' } });
  });

  test('flows in only while resuming', async () => {
    const { driver, device } = scripted();
    expect(await failure(device.write(new Uint8Array([7])))).toMatchObject({ details: { errno: 'ENODEV' } });
    await device.setState('resuming');
    await device.write(new Uint8Array([7]));
    expect(driver.written).toEqual([7]);
  });

  test('precopy info is there in the PRE_COPY states and nowhere else', async () => {
    const { device } = scripted();
    expect(() => device.precopyInfo()).toThrow(/EINVAL/);
    await device.setState('pre-copy-p2p');
    expect(device.precopyInfo().initialBytes).toBe(1);
    await device.setState('stop-copy');
    expect(() => device.precopyInfo()).toThrow(/EINVAL/);
  });
});

describe('a reset', () => {
  test('ends a session', async () => {
    const { device } = scripted();
    await device.setState('resuming');
    await device.reset();
    expect(await failure(device.write(new Uint8Array([7])))).toMatchObject({ details: { errno: 'ENODEV' } });
    await device.setState('pre-copy');
    await device.reset();
    expect(await failure(device.read(1))).toMatchObject({ details: { errno: 'ENODEV' } });
  });

  test('that fails leaves the device in ERROR', async () => {
    const { driver, device } = scripted();
    driver.resetFails = true;
    expect(await failure(device.reset())).toMatchObject({
      code: 'vfio/arc',
      details: { from: 'running', to: 'running', now: 'error', why: 'told to fail' },
    });
    driver.resetFails = false;
    await device.reset();
    expect(device.state).toBe('running');
  });

  test('that fails in a recovery leaves the first error to tell', async () => {
    const { driver, device } = scripted();
    driver.failing = new Set(['stop stop-copy', 'stop running-p2p']);
    driver.resetFails = true;
    expect(await failure(device.setState('stop-copy', 'running'))).toMatchObject({
      details: { from: 'stop', to: 'stop-copy', now: 'error' },
    });
  });
});

test('a driver that breaks at a read or a write is in ERROR', async () => {
  const { driver, device } = scripted();
  await device.setState('resuming');
  driver.write = () => {
    driver.isBroken = true;
    throw new Error('broke');
  };
  expect(await failure(device.write(new Uint8Array([7])))).toMatchObject({ message: 'broke' });
  expect(device.state).toBe('error');
});

test('random requests, failures at random arcs and resets: the device is always where the table says', async () => {
  const state = fc.constantFrom(...VFIO_STATES);
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constant('set' as const), target: state, recover: fc.option(state) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant('fail' as const), from: state, to: state, breaks: fc.boolean() }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('heal' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('reset' as const), fails: fc.boolean() }) },
  );
  const features = fc.record({ p2p: fc.boolean(), precopy: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(features, fc.array(step, { maxLength: 40 }), async (has, steps) => {
      const { driver, device } = scripted(has);
      for (const next of steps) {
        driver.arcs.length = 0;
        if (next.kind === 'fail') (next.breaks ? driver.breaking : driver.failing).add(`${next.from} ${next.to}`);
        else if (next.kind === 'heal') {
          driver.failing.clear();
          driver.breaking.clear();
        } else if (next.kind === 'reset') {
          driver.resetFails = next.fails;
          expect((await failure(device.reset())) === undefined).toBe(!next.fails);
          expect(device.state).toBe(next.fails ? 'error' : 'running');
        } else {
          const expected = model({ from: device.state, target: next.target, recover: next.recover, has, driver });
          const error = await failure(device.setState(next.target, next.recover ?? undefined));
          expect(device.state).toBe(expected.state);
          expect(driver.arcs).toEqual(expected.arcs);
          expect(isHarnessError(error) ? error.code : error).toBe(expected.code);
          if (isHarnessError(error, 'vfio/arc'))
            expect(error.details).toMatchObject({ now: device.state, ...expected.arc });
        }
        // Sessions are open exactly in the states that have one.
        expect((await failure(device.read(1))) === undefined).toBe(SAVING.has(device.state));
        expect((await failure(device.write(new Uint8Array(1)))) === undefined).toBe(device.state === 'resuming');
      }
    }),
    { numRuns: 500 },
  );
});

interface Outcome {
  readonly state: VfioState;
  readonly code?: 'vfio/arc' | 'vfio/refused';
  /** Arcs that went well. */
  readonly arcs: readonly string[];
  /** The arc that failed first. */
  readonly arc?: { readonly from: VfioState; readonly to: VfioState };
}

/** What the uAPI's text says: walk the table's way until an arc fails; then try to recover; then reset. */
function model(request: {
  from: VfioState;
  target: VfioState;
  recover: VfioState | null;
  has: VfioFeatures;
  driver: ScriptedDriver;
}): Outcome {
  const { from, target, recover, has, driver } = request;
  const first = walk(from, target);
  if (first.code !== 'vfio/arc' || recover === null) return first;
  const second = walk(first.state, recover);
  const arcs = [...first.arcs, ...second.arcs];
  if (second.code === undefined) return { ...first, arcs, state: second.state };
  return { ...first, arcs, state: driver.resetFails ? 'error' : 'running' };

  function walk(start: VfioState, end: VfioState): Outcome {
    const path = start === 'error' || end === 'error' ? undefined : tablePath(start, end, has);
    if (path === undefined) return { state: start, code: 'vfio/refused', arcs: [] };
    const arcs: string[] = [];
    let at = start;
    for (const to of path) {
      const arc = `${at} ${to}`;
      const failed = { code: 'vfio/arc', arcs, arc: { from: at, to } } as const;
      if (driver.breaking.has(arc)) return { state: 'error', ...failed };
      if (driver.failing.has(arc)) return { state: at, ...failed };
      arcs.push(arc);
      at = to;
    }
    return { state: at, arcs };
  }
}
