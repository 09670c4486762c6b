/** Every folder of src/hw/devices, as it is there, passes the conformance suite. */

import { builtinDevices } from '../../../src/hw/device-registry.ts';
import { testDevice } from '../../../src/kit/vitest.ts';

for (const name of builtinDevices()) await testDevice(name);
