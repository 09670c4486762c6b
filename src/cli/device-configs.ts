/** The devices of a command line. */

import type { DeviceConfig } from '../hw/device-thread.ts';
import type { DeviceOption } from './vm-option-table.ts';

/** The configurations of these devices. Throws `device/module` and `option/bad-value`. */
export async function deviceConfigs(options: readonly DeviceOption[]): Promise<DeviceConfig[]> {
  if (options.length === 0) return [];
  const { deviceConfig } = await import('../hw/device-config.ts'); // machines without devices start faster without it
  return Promise.all(options.map(deviceConfig));
}
