/**
 * Imports a device's module, ours and an author's the same way: in the machine's thread for its data, and once more in the
 * device's. Authors import `switchover/device`, wherever their file is.
 */

import { HarnessError, messageOf } from '../base/errors.ts';
import type { DeviceDefinition } from './device.ts';

/** Imports a device's module. Throws `device/module` saying what is wrong with it. */
export async function loadDevice(module: string): Promise<DeviceDefinition> {
  answerAuthorsImport();
  let exported: unknown;
  try {
    exported = ((await import(module)) as { default?: unknown }).default;
  } catch (cause) {
    throw new HarnessError('device/module', { module, why: messageOf(cause) }, { cause });
  }
  const why = flawOf(exported);
  if (why !== undefined) throw new HarnessError('device/module', { module, why });
  return exported as DeviceDefinition; // flawOf looked at what a machine relies on
}

function flawOf(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'it has no default export made by defineDevice({ … })';
  const definition = value as Partial<Record<keyof DeviceDefinition, unknown>>;
  if (typeof definition.name !== 'string' || !/^[a-z0-9][a-z0-9-]*$/.test(definition.name)) {
    return 'its definition needs a name of lower-case letters, digits and dashes';
  }
  if (typeof definition.create !== 'function') return `device '${definition.name}' has no create(context)`;
  const state = definition.state as { encode?: unknown; extent?: unknown } | undefined;
  if (typeof state?.encode !== 'function' || typeof state.extent !== 'function') {
    return `device '${definition.name}' has no state made by vmstate({ … })`;
  }
  return typeof definition.properties === 'object' ? undefined : `device '${definition.name}' has no properties table`;
}

let answering = false;

/** Lets a file anywhere import `switchover/device`: this very package, whichever copy of it runs. */
function answerAuthorsImport(): void {
  if (answering) return;
  answering = true;
  const device = import.meta.resolve(import.meta.url.endsWith('.ts') ? './device.ts' : './device.js');
  process.getBuiltinModule('node:module').registerHooks({
    resolve: (specifier, context, next) =>
      specifier === 'switchover/device' ? { url: device, shortCircuit: true } : next(specifier, context),
  });
}
