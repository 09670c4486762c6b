/** The VFIO state machine against the tables of spec/vfio.md §1.2 and §1.3. */

import { describe, expect, test } from 'vitest';
import { hasState, nextState, pathTo, VFIO_STATES, type VfioFeatures } from '../../../src/hw/vfio/states.ts';
import type { VfioState } from '../../../src/wire/vfio.ts';

const ALL: VfioFeatures = { p2p: true, precopy: true };
const FEATURES: readonly VfioFeatures[] = [true, false].flatMap((p2p) =>
  [true, false].map((precopy) => ({ p2p, precopy })),
);

/** §1.2: every arc that a driver has to implement. */
const ARCS = new Set(
  [
    ['running', 'running-p2p'],
    ['running-p2p', 'stop'],
    ['stop', 'stop-copy'],
    ['stop', 'resuming'],
    ['running', 'pre-copy'],
    ['pre-copy', 'pre-copy-p2p'],
    ['running-p2p', 'pre-copy-p2p'],
  ].flatMap(([a, b]) => [`${a} ${b}`, `${b} ${a}`]),
);
ARCS.add('pre-copy-p2p stop-copy');
/** Without P2P its vertices collapse. */
const COLLAPSED = new Set([...ARCS, 'running stop', 'stop running', 'pre-copy stop-copy']);

test.each<[VfioState, VfioState, string]>([
  ['running', 'stop-copy', 'running-p2p stop stop-copy'],
  ['resuming', 'running', 'stop running-p2p running'],
  ['pre-copy', 'stop-copy', 'pre-copy-p2p stop-copy'],
  ['pre-copy', 'resuming', 'running running-p2p stop resuming'],
  ['stop', 'pre-copy', 'running-p2p running pre-copy'],
  ['stop-copy', 'resuming', 'stop resuming'],
])('%s to %s goes over %s', (from, to, path) => {
  expect(pathTo(from, to, ALL)?.join(' ')).toBe(path);
});

test('without P2P a running device stops in one step, and precopy ends in one', () => {
  expect(pathTo('running', 'stop', { p2p: false, precopy: true })).toEqual(['stop']);
  expect(pathTo('pre-copy', 'stop-copy', { p2p: false, precopy: true })).toEqual(['stop-copy']);
});

describe.each(FEATURES)('with p2p $p2p and precopy $precopy', (features) => {
  const states = VFIO_STATES.filter((state) => state !== 'error' && hasState(state, features));
  const pairs = states.flatMap((from) => states.filter((to) => to !== from).map((to) => [from, to] as const));

  test.each(pairs)('%s to %s: every step is an arc that drivers have', (from, to) => {
    const path = pathTo(from, to, features);
    if (from === 'stop-copy' && (to === 'pre-copy' || to === 'pre-copy-p2p')) {
      expect(path).toBeUndefined();
      return;
    }
    const vertices = [from, ...(path ?? [])];
    const steps = vertices.slice(1).map((vertex, index) => `${vertices[index]} ${vertex}`);
    expect(steps.filter((step) => !(features.p2p ? ARCS : COLLAPSED).has(step))).toEqual([]);
    expect(vertices.at(-1)).toBe(to);
  });

  test.each(pairs)('%s to %s: sessions are no way through', (from, to) => {
    const interior = (pathTo(from, to, features) ?? []).slice(0, -1);
    const saving = (state: VfioState) => ['pre-copy', 'pre-copy-p2p', 'stop-copy'].includes(state);
    if (!(saving(from) && saving(to))) expect(interior.filter(saving)).toEqual([]);
    expect(interior).not.toContain('resuming');
  });
});

test('ERROR is neither a target nor left, and what a device lacks is no target', () => {
  for (const state of VFIO_STATES) {
    expect(nextState('error', state, ALL)).toBeUndefined();
    expect(nextState(state, 'error', ALL)).toBeUndefined();
  }
  expect(nextState('running', 'running-p2p', { p2p: false, precopy: true })).toBeUndefined();
  expect(nextState('running', 'pre-copy', { p2p: true, precopy: false })).toBeUndefined();
  expect(nextState('running', 'pre-copy-p2p', { p2p: false, precopy: true })).toBeUndefined();
});
