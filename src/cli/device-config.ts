/** From the words of `-device` to a device that a machine can start: its module is imported and its properties are read. */

import type { DeviceConfig } from '../hw/device-thread.ts';
import type { DeviceOption } from './vm-option-table.ts';

/** The configurations of these devices. Throws `device/module` and `option/bad-value`. */
export async function deviceConfigs(options: readonly DeviceOption[]): Promise<DeviceConfig[]> {
  if (options.length === 0) return [];
  // Machines without devices start faster without this.
  const { deviceModule, loadDevice } = await import('../hw/device-registry.ts');
  const { parseDeviceProperties } = await import('../hw/vfio/vfio-properties.ts');
  return Promise.all(
    options.map(async ({ driver, id, properties }) => {
      const module = deviceModule(driver);
      const definition = await loadDevice(module);
      return { id, module, definition, properties: parseDeviceProperties(definition, properties, definition.name) };
    }),
  );
}
