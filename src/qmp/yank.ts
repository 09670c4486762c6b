/** QMP yank: which connections can be closed by force, and how. Monitors are not among them (docs/differences.md). */

import { HarnessError } from '../base/errors.ts';
import type { VmControl } from '../migration/vm-control.ts';

/** What a client names. */
export type YankInstance =
  | { readonly type: 'migration' }
  | { readonly type: 'chardev'; readonly id: string }
  | { readonly type: 'block-node'; readonly 'node-name': string };

/** query-yank. */
export function yankInstances(vm: VmControl): YankInstance[] {
  return vm.canYank() ? [{ type: 'migration' }] : [];
}

/** Closes what is named, all or nothing. Throws `qmp/device-not-found` when one of them is not there. */
export function yank(instances: readonly YankInstance[], vm: VmControl): void {
  if (instances.some(({ type }) => type !== 'migration' || !vm.canYank())) {
    throw new HarnessError('qmp/device-not-found', { text: 'Instance not found' });
  }
  if (instances.length > 0) vm.yank();
}
