/** The VFIO uAPI over a driver that fails where it is told to: states after failures, sessions, resets, DMA logging. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../../src/base/errors.ts';
import { hasState, isSaving, pathTo, VFIO_STATES, type VfioFeatures } from '../../../src/hw/vfio/states.ts';
import { VfioDevice } from '../../../src/hw/vfio/vfio-device.ts';
import type { VfioDriver } from '../../../src/hw/vfio/vfio-driver.ts';
import type { VfioState } from '../../../src/wire/vfio.ts';

/** A driver that writes its arcs down. `failing` are the arcs (`from to`) that throw, `breaking` those that end in ERROR. */
class ScriptedDriver implements VfioDriver {
  readonly arcs: string[] = [];
  readonly features: VfioFeatures;
  failing = new Set<string>();
  breaking = new Set<string>();
  isBroken = false;
  data: Uint8Array<ArrayBuffer>[] = [];
  readonly written: number[] = [];

  constructor(features: VfioFeatures = { p2p: true, precopy: true }) {
    this.features = features;
  }

  arc(from: VfioState, to: VfioState): void {
    const arc = `${from} ${to}`;
    this.isBroken = this.breaking.has(arc);
    if (this.isBroken || this.failing.has(arc)) throw new Error(`told to fail`);
    this.arcs.push(arc);
  }

  read(): Uint8Array<ArrayBuffer> {
    return this.data.shift() ?? new Uint8Array(0);
  }

  write(bytes: Uint8Array): void {
    this.written.push(...bytes);
  }

  precopyInfo() {
    return { initialBytes: 1, dirtyBytes: 2, reinit: false };
  }

  stopCopyBytes(): number {
    return 3;
  }

  reset(): void {
    this.isBroken = false;
  }
}

function made(features?: VfioFeatures) {
  const driver = new ScriptedDriver(features);
  return { driver, device: new VfioDevice({ device: 'v0', driver }) };
}
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('a failed arc', () => {
  test('leaves the device at the vertex it had reached, and the error says where', async () => {
    const { driver, device } = made();
    driver.failing.add('stop stop-copy');
    expect(await failure(device.setState('stop-copy'))).toMatchObject({
      code: 'vfio/arc',
      details: { device: 'v0', from: 'stop', to: 'stop-copy', target: 'stop-copy', now: 'stop', why: 'told to fail' },
    });
    expect(device.state).toBe('stop');
  });

  test('goes to the recover state when there is one', async () => {
    const { driver, device } = made();
    driver.failing.add('pre-copy-p2p stop-copy');
    await device.setState('pre-copy');
    expect(await failure(device.setState('stop-copy', 'stop'))).toMatchObject({ details: { now: 'stop' } });
    expect(device.state).toBe('stop');
  });

  test('resets the device when it cannot recover either', async () => {
    const { driver, device } = made();
    driver.failing = new Set(['stop stop-copy', 'stop running-p2p']);
    expect(await failure(device.setState('stop-copy', 'running'))).toMatchObject({ details: { now: 'running' } });
    expect(device.state).toBe('running');
  });

  test('may break the device: only a reset leaves ERROR', async () => {
    const { driver, device } = made();
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
    const { driver, device } = made();
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
    const { driver, device } = made();
    expect(await failure(device.write(new Uint8Array([7])))).toMatchObject({ details: { errno: 'ENODEV' } });
    await device.setState('resuming');
    await device.write(new Uint8Array([7]));
    expect(driver.written).toEqual([7]);
  });

  test('precopy info is there in the PRE_COPY states and nowhere else', async () => {
    const { device } = made();
    expect(() => device.precopyInfo()).toThrow(/EINVAL/);
    await device.setState('pre-copy-p2p');
    expect(device.precopyInfo().initialBytes).toBe(1);
    await device.setState('stop-copy');
    expect(() => device.precopyInfo()).toThrow(/EINVAL/);
  });
});

test('random requests, failures at random arcs and resets: the device is always where the table says', async () => {
  const state = fc.constantFrom(...VFIO_STATES);
  const step = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), target: state, recover: fc.option(state, { nil: undefined }) }),
    fc.record({ kind: fc.constant('fail' as const), from: state, to: state, breaks: fc.boolean() }),
    fc.record({ kind: fc.constant('heal' as const) }),
    fc.record({ kind: fc.constant('reset' as const) }),
  );
  const features = fc.record({ p2p: fc.boolean(), precopy: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(features, fc.array(step, { maxLength: 30 }), async (has, steps) => {
      const { driver, device } = made(has);
      for (const next of steps) {
        if (next.kind === 'fail') (next.breaks ? driver.breaking : driver.failing).add(`${next.from} ${next.to}`);
        else if (next.kind === 'heal') {
          driver.failing.clear();
          driver.breaking.clear();
        } else if (next.kind === 'reset') {
          await device.reset();
          expect(device.state).toBe('running');
        } else {
          const before = device.state;
          const expected = model({ from: before, ...next, has, driver });
          const error = await failure(device.setState(next.target, next.recover));
          expect(device.state).toBe(expected.state);
          expect(isHarnessError(error) ? error.code : error).toBe(expected.code);
        }
        // A session is open exactly in the states that have one.
        expect((await failure(device.read(1))) === undefined).toBe(isSaving(device.state));
      }
    }),
    { numRuns: 500 },
  );
});

/** What the uAPI's text says: walk the shortest path until an arc fails; then try to recover; then reset. */
function model(request: {
  from: VfioState;
  target: VfioState;
  recover: VfioState | undefined;
  has: VfioFeatures;
  driver: ScriptedDriver;
}): { state: VfioState; code: string | undefined } {
  const first = walk(request.from, request.target);
  if (first.code !== 'vfio/arc' || request.recover === undefined) return first;
  const second = walk(first.state, request.recover);
  return { state: second.code === undefined ? second.state : 'running', code: 'vfio/arc' };

  function walk(from: VfioState, target: VfioState): { state: VfioState; code: string | undefined } {
    const { has, driver } = request;
    if (target === 'error' || !hasState(target, has)) return { state: from, code: 'vfio/refused' };
    const path = pathTo(from, target, has);
    if (path === undefined) return { state: from, code: 'vfio/refused' };
    let at = from;
    for (const to of path) {
      if (driver.breaking.has(`${at} ${to}`)) return { state: 'error', code: 'vfio/arc' };
      if (driver.failing.has(`${at} ${to}`)) return { state: at, code: 'vfio/arc' };
      at = to;
    }
    return { state: at, code: undefined };
  }
}

describe('DMA logging', () => {
  const PAGE = 4096;
  const logging = { pageSize: PAGE, ranges: [{ iova: 0, length: 16 * PAGE }] };

  test('reports the pages that were written, once', () => {
    const { device } = made();
    device.startDmaLogging(logging);
    device.recordDma(PAGE - 1, 2);
    device.recordDma(9 * PAGE, PAGE);
    device.recordDma(16 * PAGE, PAGE); // outside
    const bitmap = new Uint8Array([0b1000_0000, 0]);
    device.reportDmaLog({ iova: 0, length: 16 * PAGE, pageSize: PAGE }, bitmap);
    expect([...bitmap]).toEqual([0b1000_0011, 0b0000_0010]); // ored into what was there
    device.reportDmaLog({ iova: 0, length: 16 * PAGE, pageSize: PAGE }, bitmap.fill(0));
    expect([...bitmap]).toEqual([0, 0]);
  });

  test('a report of part of the range leaves the rest in the log', () => {
    const { device } = made();
    device.startDmaLogging(logging);
    device.recordDma(0, 16 * PAGE);
    const bitmap = new Uint8Array(2);
    device.reportDmaLog({ iova: 4 * PAGE, length: 4 * PAGE, pageSize: PAGE }, bitmap);
    expect([...bitmap]).toEqual([0b1111, 0]);
    device.reportDmaLog({ iova: 0, length: 16 * PAGE, pageSize: PAGE }, bitmap.fill(0));
    expect([...bitmap]).toEqual([0b0000_1111, 0xff]);
  });

  const range = { iova: 0, length: PAGE };
  test.each([
    ['no range', { pageSize: PAGE, ranges: [] }, 'EINVAL'],
    ['a page size that is no power of two', { pageSize: 5000, ranges: [range] }, 'EINVAL'],
    ['a range inside a page', { pageSize: PAGE, ranges: [{ iova: 1, length: PAGE }] }, 'EINVAL'],
    ['overlapping ranges', { pageSize: PAGE, ranges: [range, range] }, 'EINVAL'],
    [
      '257 ranges',
      { pageSize: PAGE, ranges: Array.from({ length: 257 }, (_, n) => ({ iova: n * PAGE, length: PAGE })) },
      'E2BIG',
    ],
  ])('%s is refused', (_what, options, errno) => {
    const { device } = made();
    expect(() => device.startDmaLogging(options)).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ errno }) }),
    );
  });

  test('a report without logging, or of pages smaller than 4 KiB, is refused', () => {
    const { device } = made();
    const bitmap = new Uint8Array(8);
    expect(() => device.reportDmaLog({ ...range, pageSize: PAGE }, bitmap)).toThrow(/logging stopped/);
    device.startDmaLogging(logging);
    expect(() => device.reportDmaLog({ ...range, pageSize: 2048 }, bitmap)).toThrow(/EINVAL/);
    expect(() => device.startDmaLogging(logging)).toThrow(/already started/);
  });
});
