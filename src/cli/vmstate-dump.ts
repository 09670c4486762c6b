/**
 * `switchover vm -dump-vmstate FILE`: the formats of all devices' states in QEMU's own form, which `switchover check` and
 * QEMU's static checker compare. As in QEMU every type of device is in it, whichever the machine has.
 */

import { writeFile } from 'node:fs/promises';
import { HarnessError, messageOf } from '../base/errors.ts';
import type { DeviceDefinition } from '../hw/device.ts';
import { loadDevice } from '../hw/device-module.ts';
import { builtinDevices, deviceModule } from '../hw/device-registry.ts';

/** Writes the dump: our own devices, and those that the command line names by their files. Throws `cli/environment`. */
export async function writeVmstateDump(
  file: string,
  machine: { readonly machineType: string; readonly devices: readonly { readonly driver: string }[] },
): Promise<void> {
  const references = new Set([...builtinDevices(), ...machine.devices.map(({ driver }) => driver)]);
  const definitions: DeviceDefinition[] = [];
  for (const reference of references) definitions.push(await loadDevice(deviceModule(reference)));
  const dump = vmstateDump(machine.machineType, definitions);
  try {
    await writeFile(file, `${JSON.stringify(dump, null, 2)}\n`);
  } catch (cause) {
    throw new HarnessError('cli/environment', { text: `-dump-vmstate ${file}: ${messageOf(cause)}` }, { cause });
  }
}

function vmstateDump(machineType: string, definitions: readonly DeviceDefinition[]): object {
  const devices = definitions.map(({ name, qemuType = name, state }) => {
    const description = state.dump();
    const { version_id, minimum_version_id } = description;
    return [qemuType, { Name: qemuType, version_id, minimum_version_id, Description: description }] as const;
  });
  return { vmschkmachine: { Name: machineType }, ...Object.fromEntries(devices) };
}
