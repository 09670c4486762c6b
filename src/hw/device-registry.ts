/**
 * Finds a device's module: the folder `devices/NAME` of ours, or any file of an author's. Either is imported the same way,
 * here for its data and once more in the device's thread. Authors import `switchover/device`, wherever their file is.
 */

import { existsSync, readdirSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { HarnessError, messageOf } from '../base/errors.ts';
import type { DeviceDefinition } from './device.ts';

const FOLDER = new URL('./devices/', import.meta.url);
/** `.ts` in the sources, `.js` in dist. */
const ENDING = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

/** Names of the devices that come with Switchover. */
export function builtinDevices(): string[] {
  return readdirSync(FOLDER, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(new URL(`${entry.name}/device.${ENDING}`, FOLDER)))
    .map((entry) => entry.name)
    .sort();
}

/** The module URL of a built-in name or of a path to a file. Throws `device/module` when there is none. */
export function deviceModule(reference: string): string {
  if (/[./\\]/.test(reference)) {
    const path = resolve(reference);
    if (!existsSync(path)) throw new HarnessError('device/module', { module: reference, why: `no file '${path}'` });
    return pathToFileURL(path).href;
  }
  if (builtinDevices().includes(reference)) return new URL(`${reference}/device.${ENDING}`, FOLDER).href;
  const why = `no such device; there are ${builtinDevices().join(', ')}, and any file by its path (./my-device.ts)`;
  throw new HarnessError('device/module', { module: reference, why });
}

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
  const device = new URL(`./device.${ENDING}`, import.meta.url).href;
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === 'switchover/device' ? { url: device, shortCircuit: true } : next(specifier, context),
  });
}
