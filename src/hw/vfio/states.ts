/**
 * The VFIO migration state machine as data: which direct arc comes next on the way from one state to another
 * (spec/vfio.md §1.2, §1.3). Pure.
 */

import { VFIO_STATE, type VfioState } from '../../wire/vfio.ts';

/** What a device can do besides STOP_COPY, which all can. */
export interface VfioFeatures {
  /** It can stop starting DMA to other devices while it still accepts theirs. */
  readonly p2p: boolean;
  /** Its state can be read while it runs. */
  readonly precopy: boolean;
}

/** All states. */
export const VFIO_STATES = Object.keys(VFIO_STATE) as VfioState[];

type Targets = Partial<Record<VfioState, VfioState>>;

/** For each state and target the next vertex of the shortest legal way; no entry is a way that there is not. */
const NEXT: Record<VfioState, Targets> = {
  error: {},
  stop: {
    running: 'running-p2p',
    'pre-copy': 'running-p2p',
    'pre-copy-p2p': 'running-p2p',
    'running-p2p': 'running-p2p',
    'stop-copy': 'stop-copy',
    resuming: 'resuming',
  },
  running: {
    stop: 'running-p2p',
    'stop-copy': 'running-p2p',
    resuming: 'running-p2p',
    'running-p2p': 'running-p2p',
    'pre-copy-p2p': 'running-p2p',
    'pre-copy': 'pre-copy',
  },
  'pre-copy': {
    running: 'running',
    stop: 'running',
    resuming: 'running',
    'running-p2p': 'running',
    'pre-copy-p2p': 'pre-copy-p2p',
    'stop-copy': 'pre-copy-p2p',
  },
  'pre-copy-p2p': {
    running: 'running-p2p',
    stop: 'running-p2p',
    resuming: 'running-p2p',
    'running-p2p': 'running-p2p',
    'pre-copy': 'pre-copy',
    'stop-copy': 'stop-copy',
  },
  'stop-copy': { stop: 'stop', running: 'stop', resuming: 'stop', 'running-p2p': 'stop' },
  resuming: {
    stop: 'stop',
    running: 'stop',
    'running-p2p': 'stop',
    'stop-copy': 'stop',
    'pre-copy': 'stop',
    'pre-copy-p2p': 'stop',
  },
  'running-p2p': {
    stop: 'stop',
    'stop-copy': 'stop',
    resuming: 'stop',
    running: 'running',
    'pre-copy': 'running',
    'pre-copy-p2p': 'pre-copy-p2p',
  },
};

/** Whether a device with these features has the state. */
export function hasState(state: VfioState, { p2p, precopy }: VfioFeatures): boolean {
  switch (state) {
    case 'running-p2p':
      return p2p;
    case 'pre-copy':
      return precopy;
    case 'pre-copy-p2p':
      return p2p && precopy;
    default:
      return true;
  }
}

/**
 * The end of the next direct arc from `current` towards `target`; undefined when no device or not this one can go there.
 * Vertices that the device does not have are passed over.
 */
export function nextState(current: VfioState, target: VfioState, features: VfioFeatures): VfioState | undefined {
  if (!hasState(target, features)) return undefined;
  let next = NEXT[current][target];
  while (next !== undefined && !hasState(next, features)) next = NEXT[next][target];
  return next;
}

/** Every vertex after `current` up to and including `target`; undefined when there is no way. */
export function pathTo(current: VfioState, target: VfioState, features: VfioFeatures): VfioState[] | undefined {
  const path: VfioState[] = [];
  for (let at = current; at !== target; ) {
    const next = nextState(at, target, features);
    if (next === undefined) return undefined;
    path.push(next);
    at = next;
  }
  return path;
}

/** States in which a device's saving session is open. */
export function isSaving(state: VfioState): boolean {
  return state === 'pre-copy' || state === 'pre-copy-p2p' || state === 'stop-copy';
}

/** States in which the device runs and can be read. */
export function isPrecopy(state: VfioState): boolean {
  return state === 'pre-copy' || state === 'pre-copy-p2p';
}
