/**
 * The VFIO device `tiny-match` with DMA as hardware does it: storing into DOORBELL writes the value into guest memory, at the
 * page that COMMAND says, and nothing but its DMA log knows.
 */

import { type Device, defineDevice, type StateOf } from '../../../src/hw/device.ts';
import { emulatedVfioDevice } from '../../../src/hw/vfio/emulated-device.ts';
import { PROFILES } from '../../../src/hw/vfio/profiles.ts';

const GOOD = emulatedVfioDevice(PROFILES['tiny-match']);
type State = StateOf<typeof GOOD.state>;
const DOORBELL = 4;

export default defineDevice({
  ...GOOD,
  create: async (context) => {
    const good: Device<State> = await GOOD.create(context);
    let page = 0;
    return {
      vfio: good.vfio!, // a VFIO device has a driver
      read: (access) => good.read?.(access) ?? 0,
      write: (access, value) => {
        if (access.offset === DOORBELL) context.ram.dma(page * 4096, Uint8Array.of(value));
        else page = value;
        return good.write?.(access, value);
      },
      save: () => good.save(),
      load: (state) => good.load(state),
      reset: () => good.reset(),
      close: () => good.close?.(),
    };
  },
});
