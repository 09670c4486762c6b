/** From the words of a command line to a device that a machine can start: its module is imported and its properties are read. */

import { loadDevice } from './device-module.ts';
import { deviceModule } from './device-registry.ts';
import type { DeviceConfig } from './device-thread.ts';
import { parseDeviceProperties } from './vfio/vfio-properties.ts';

/** `driver` is a device's name or the path of its module. Throws `device/module` and `option/bad-value`. */
export async function deviceConfig(device: {
  readonly driver: string;
  readonly id: string;
  readonly properties: ReadonlyMap<string, string>;
}): Promise<DeviceConfig> {
  const module = deviceModule(device.driver);
  const definition = await loadDevice(module);
  const properties = parseDeviceProperties(definition, device.properties, definition.name);
  return { id: device.id, module, definition, properties };
}
