/** QMP yank: which connections can be closed by force, and how (spec/control.md §5.4). */

import { HarnessError } from '../base/errors.ts';
import type { VmControl } from '../migration/vm-control.ts';

/** What a client names. */
export type YankInstance =
  | { readonly type: 'migration' }
  | { readonly type: 'chardev'; readonly id: string }
  | { readonly type: 'block-node'; readonly 'node-name': string };

/** The monitors on sockets. */
export interface YankableMonitors {
  /** Their ids, as `-chardev` gives them or QEMU would; in the order in which they were opened. */
  readonly ids: readonly string[];
  /** Cuts off the client that a monitor serves, if there is one. */
  cut(id: string): void;
}

/** What can be closed. */
interface YankContext {
  readonly vm: Pick<VmControl, 'canYank' | 'yank'>;
  readonly monitors: YankableMonitors;
}

/** query-yank. */
export function yankInstances({ vm, monitors }: YankContext): YankInstance[] {
  const chardevs = monitors.ids.map((id): YankInstance => ({ type: 'chardev', id }));
  return vm.canYank() ? [...chardevs, { type: 'migration' }] : chardevs;
}

/** Closes what is named, all or nothing. Throws `qmp/device-not-found` when one of them is not there. */
export function yank(instances: readonly YankInstance[], { vm, monitors }: YankContext): void {
  const isThere = (instance: YankInstance) =>
    instance.type === 'chardev' ? monitors.ids.includes(instance.id) : instance.type === 'migration' && vm.canYank();
  if (!instances.every(isThere)) throw new HarnessError('qmp/device-not-found', { text: 'Instance not found' });
  if (instances.some(({ type }) => type === 'migration')) vm.yank();
  for (const instance of instances) if (instance.type === 'chardev') monitors.cut(instance.id);
}
