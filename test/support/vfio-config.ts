/** The VFIO devices that come with Switchover as a machine of a test is configured with them. */

import { parseProperties } from '../../src/hw/device-property.ts';
import type { DeviceConfig } from '../../src/hw/device-thread.ts';
import { emulatedVfioDevice } from '../../src/hw/vfio/emulated-device.ts';
import { PROFILES } from '../../src/hw/vfio/profiles.ts';

/** One of them; `properties` as on a command line. */
export function vfioConfig(
  profile: keyof typeof PROFILES,
  id: string,
  properties: Readonly<Record<string, string>> = {},
): DeviceConfig {
  const definition = emulatedVfioDevice(PROFILES[profile]);
  return {
    id,
    module: new URL(`../../src/hw/devices/${profile}/device.ts`, import.meta.url).href,
    // A machine knows its devices by the general type only.
    definition: definition as unknown as DeviceConfig['definition'],
    properties: parseProperties(definition.properties, new Map(Object.entries(properties)), profile),
  };
}
