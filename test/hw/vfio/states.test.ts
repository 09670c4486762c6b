/** The VFIO state machine against the tables of spec/vfio.md §1.2 and §1.3. */

import { describe, expect, test } from 'vitest';
import { nextState, pathTo, VFIO_STATES, type VfioFeatures } from '../../../src/hw/vfio/states.ts';
import type { VfioState } from '../../../src/wire/vfio.ts';
import { arcsOf, shortestWay, supports, tablePath } from '../../support/vfio-table.ts';

const ALL: VfioFeatures = { p2p: true, precopy: true };
const FEATURES: readonly VfioFeatures[] = [true, false].flatMap((p2p) =>
  [true, false].map((precopy) => ({ p2p, precopy })),
);

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
  const states = VFIO_STATES.filter((state) => state !== 'error' && supports(state, features));
  const pairs = states.flatMap((from) => states.map((to) => [from, to] as const));

  test.each(pairs)("%s to %s is the table's way", (from, to) => {
    expect(pathTo(from, to, features)).toEqual(tablePath(from, to, features));
  });

  test.each(pairs)('%s to %s: every step is an arc that drivers have, and there is no shorter way', (from, to) => {
    const path = pathTo(from, to, features);
    if (path === undefined) {
      // Once the final state was read there is no way back into precopy.
      expect([from, to]).toEqual(['stop-copy', expect.stringMatching(/^pre-copy/)]);
      return;
    }
    const steps = path.map((vertex, index) => `${index === 0 ? from : path[index - 1]} ${vertex}`);
    expect(steps.filter((step) => !arcsOf(features).has(step))).toEqual([]);
    expect(path).toHaveLength(shortestWay(from, to, features));
  });
});

test('ERROR is neither a target nor left, and what a device lacks is no target', () => {
  for (const state of VFIO_STATES) {
    expect(nextState('error', state, ALL)).toBeUndefined();
    expect(nextState(state, 'error', ALL)).toBeUndefined();
    for (const features of FEATURES.filter((each) => !supports(state, each))) {
      expect(nextState('running', state, features)).toBeUndefined();
    }
  }
});
