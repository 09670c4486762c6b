/** The guest's run state, as `query-status` reports it, with the legal moves (spec/control.md §5.4). */

/** QEMU's RunState. */
export type RunState =
  | 'debug'
  | 'inmigrate'
  | 'internal-error'
  | 'io-error'
  | 'paused'
  | 'postmigrate'
  | 'prelaunch'
  | 'finish-migrate'
  | 'restore-vm'
  | 'running'
  | 'save-vm'
  | 'shutdown'
  | 'suspended'
  | 'watchdog'
  | 'guest-panicked'
  | 'colo';

/** Every name a `globalstate` section may carry. */
export const RUN_STATES: ReadonlySet<string> = new Set<RunState>([
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
]);

/** True when the guest counts as alive for stop/start logic: `running` or `suspended`. */
export function isLive(state: RunState): boolean {
  return state === 'running' || state === 'suspended';
}
