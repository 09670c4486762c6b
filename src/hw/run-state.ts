/** The guest's run state, as `query-status` reports it (spec/control.md §5.4). */

/** Every run state, in QEMU's order. */
export const RUN_STATES = [
  'debug',
  'inmigrate',
  'internal-error',
  'io-error',
  'paused',
  'postmigrate',
  'prelaunch',
  'finish-migrate',
  'restore-vm',
  'running',
  'save-vm',
  'shutdown',
  'suspended',
  'watchdog',
  'guest-panicked',
  'colo',
] as const;

/** QEMU's RunState. */
export type RunState = (typeof RUN_STATES)[number];

/** True for a name that a `globalstate` section may carry. */
export function isRunState(name: string): name is RunState {
  return RUN_STATES.some((state) => state === name);
}

/** True when the guest counts as alive for stop/start logic: `running` or `suspended`. */
export function isLive(state: RunState): boolean {
  return state === 'running' || state === 'suspended';
}
