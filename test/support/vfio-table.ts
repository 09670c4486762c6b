/** The tables of spec/vfio.md §1.2 and §1.3 once more, as text, for tests to hold the state machine against. */

import type { VfioState } from '../../src/wire/vfio.ts';

/** §1.3, row by row: current state: targets > next step; … */
const STEPS = `
  stop:         running pre-copy pre-copy-p2p running-p2p > running-p2p; stop-copy > stop-copy; resuming > resuming
  running:      stop stop-copy resuming running-p2p pre-copy-p2p > running-p2p; pre-copy > pre-copy
  pre-copy:     running stop resuming running-p2p > running; pre-copy-p2p stop-copy > pre-copy-p2p
  pre-copy-p2p: running stop resuming running-p2p > running-p2p; pre-copy > pre-copy; stop-copy > stop-copy
  stop-copy:    stop running resuming running-p2p > stop
  resuming:     stop running running-p2p stop-copy pre-copy pre-copy-p2p > stop
  running-p2p:  stop stop-copy resuming > stop; running pre-copy > running; pre-copy-p2p > pre-copy-p2p`;

const NEXT = new Map(
  STEPS.trim()
    .split('\n')
    .flatMap((row) => {
      const [from = '', cells = ''] = row.split(':').map((part) => part.trim());
      return cells.split(';').flatMap((cell) => {
        const [targets = '', next = ''] = cell.split('>').map((part) => part.trim());
        return targets.split(' ').map((target) => [`${from} ${target}`, next as VfioState] as const);
      });
    }),
);

/** What a device can do. */
export interface Has {
  readonly p2p: boolean;
  readonly precopy: boolean;
}

/** §1.1, column "needs". */
export function supports(state: VfioState, { p2p, precopy }: Has): boolean {
  return (p2p || !state.endsWith('p2p')) && (precopy || !state.startsWith('pre-copy'));
}

/** States with an open saving session (§1.4). */
export const SAVING: ReadonlySet<VfioState> = new Set(['pre-copy', 'pre-copy-p2p', 'stop-copy']);

/** The way from one state to another by the table; undefined where the table has none. */
export function tablePath(from: VfioState, target: VfioState, has: Has): VfioState[] | undefined {
  if (!supports(target, has)) return undefined;
  const path: VfioState[] = [];
  for (let at = from; at !== target; ) {
    const next = NEXT.get(`${at} ${target}`);
    if (next === undefined) return undefined;
    if (supports(next, has)) path.push(next);
    at = next;
  }
  return path;
}

const PAIRS = [
  'running running-p2p',
  'running-p2p stop',
  'stop stop-copy',
  'stop resuming',
  'running pre-copy',
  'pre-copy pre-copy-p2p',
  'running-p2p pre-copy-p2p',
];
/** §1.2: what a driver implements; without P2P its vertices collapse. */
export function arcsOf(has: Has): ReadonlySet<string> {
  const pairs = has.p2p ? PAIRS : [...PAIRS, 'running stop'];
  const both = pairs.flatMap((pair) => [pair, pair.split(' ').reverse().join(' ')]);
  return new Set([...both, has.p2p ? 'pre-copy-p2p stop-copy' : 'pre-copy stop-copy']);
}

/** Length of the shortest way over arcs, where sessions of other states than the two ends' are no way through. */
export function shortestWay(from: VfioState, target: VfioState, has: Has): number {
  const arcs = [...arcsOf(has)].map((arc) => arc.split(' ') as [VfioState, VfioState]);
  const passable = (state: VfioState) =>
    supports(state, has) && state !== 'resuming' && (!SAVING.has(state) || (SAVING.has(from) && SAVING.has(target)));
  let edge = [from];
  const seen = new Set(edge);
  for (let length = 0; edge.length > 0; length += 1) {
    if (edge.includes(target)) return length;
    const inner = edge.filter((state) => state === from || passable(state));
    edge = arcs.filter(([a, b]) => inner.includes(a) && !seen.has(b)).map(([, b]) => b);
    for (const state of edge) seen.add(state);
  }
  return Number.POSITIVE_INFINITY;
}
