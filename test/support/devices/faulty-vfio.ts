/** The VFIO device `tiny-match`, of which any call of its driver can be told to misbehave; arcs are called `FROM>TO`. */

import { type Device, defineDevice, type StateOf } from '../../../src/hw/device.ts';
import { emulatedVfioDevice } from '../../../src/hw/vfio/emulated-device.ts';
import { PROFILES } from '../../../src/hw/vfio/profiles.ts';
import type { VfioDriver } from '../../../src/hw/vfio/vfio-driver.ts';
import { FAULTS, misbehaving } from './misbehave.ts';

const GOOD = emulatedVfioDevice(PROFILES['tiny-match']);
type State = StateOf<typeof GOOD.state>;

function faulty(good: VfioDriver, maybe: (call: string) => Promise<never> | undefined): VfioDriver {
  return {
    get features() {
      void maybe('features');
      return good.features;
    },
    get isBroken() {
      void maybe('is-broken');
      return good.isBroken ?? false;
    },
    async arc(from, to) {
      await maybe(`${from}>${to}`);
      await good.arc(from, to);
    },
    async read(maxBytes) {
      await maybe('vfio-read');
      return good.read(maxBytes);
    },
    async write(bytes) {
      await maybe('vfio-write');
      await good.write(bytes);
    },
    landing() {
      void maybe('landing');
      return good.landing?.();
    },
    precopyInfo() {
      void maybe('precopy-info');
      return good.precopyInfo();
    },
    stopCopyBytes() {
      void maybe('stop-copy-bytes');
      return good.stopCopyBytes();
    },
    async ready() {
      await maybe('ready');
      await good.ready?.();
    },
    async reset() {
      await maybe('vfio-reset');
      await good.reset();
    },
  };
}

export default defineDevice({
  ...GOOD,
  properties: { ...GOOD.properties, ...FAULTS },
  create: async (context) => {
    const good: Device<State> = await GOOD.create(context);
    const maybe = misbehaving(context.properties);
    await maybe('create');
    return {
      vfio: faulty(good.vfio!, maybe), // a VFIO device has a driver
      read: (access) => {
        void maybe('read');
        return good.read?.(access) ?? 0;
      },
      write: (access, value) => {
        void maybe('write');
        return good.write?.(access, value);
      },
      start: () => void maybe('start'),
      stop: () => void maybe('stop'),
      save: () => {
        void maybe('save');
        return good.save();
      },
      load: (state) => {
        void maybe('load');
        return good.load(state);
      },
      reset: () => good.reset(),
      close: () => {
        void maybe('close');
        return good.close?.();
      },
    };
  },
});
