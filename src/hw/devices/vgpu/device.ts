/** The VFIO device `vgpu`; what it sends when is its row in hw/vfio/profiles.ts (spec/vfio.md §6). */

import { emulatedVfioDevice } from '../../vfio/emulated-device.ts';
import { PROFILES } from '../../vfio/profiles.ts';

export default emulatedVfioDevice(PROFILES['vgpu']);
