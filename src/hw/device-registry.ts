/** Finds a device's module: the folder `devices/NAME` of ours, or any file of an author's. */

import { existsSync, readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { HarnessError } from '../base/errors.ts';

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
