/**
 * From a profile to a device: its properties, two registers that its CONFIG record carries, and the
 * driver. The folders of the VFIO devices only choose a profile.
 */

import {
  count,
  type Device,
  type DeviceConformance,
  type DeviceContext,
  type DeviceDefinition,
  defineDevice,
  field,
  flag,
  type RegisterAccess,
  rate,
  type StateOf,
  size,
  time,
  timePerMiB,
  vmstate,
} from '../device.ts';
import { pick } from '../guest/prng.ts';
import { DeviceMemory } from './emulated-loader.ts';
import { EmulatedVfio } from './emulated-vfio.ts';
import { Pace } from './pace.ts';
import type { VfioProfile } from './profiles.ts';
import { BulkPattern } from './vfio-records.ts';

const DRAWS = 1 << 20;

/** What QEMU's CONFIG record carries is named so; here the device's two registers. */
const STATE = vmstate({
  name: 'VFIOPCIDevice',
  version: 1,
  fields: { command: field.u32, doorbell: field.u32 },
});
type State = StateOf<typeof STATE>;

/** Registers of 32 bits: COMMAND keeps what is stored, DOORBELL counts how often it was rung. */
const COMMAND = 0;
const DOORBELL = 4;
const REGISTER_BYTES = 4;

const CONFORMANCE = {
  registers: [
    { name: 'COMMAND', region: 'registers', offset: COMMAND, size: REGISTER_BYTES },
    { name: 'DOORBELL', region: 'registers', offset: DOORBELL, size: REGISTER_BYTES },
  ],
  trace: [
    { write: { region: 'registers', offset: COMMAND, size: REGISTER_BYTES }, value: 7 },
    { write: { region: 'registers', offset: DOORBELL, size: REGISTER_BYTES }, value: 1 },
    { read: { region: 'registers', offset: COMMAND, size: REGISTER_BYTES } },
    { read: { region: 'registers', offset: DOORBELL, size: REGISTER_BYTES } },
    { reset: true },
    { read: { region: 'registers', offset: DOORBELL, size: REGISTER_BYTES } },
  ],
} as const satisfies DeviceConformance;

function properties(profile: VfioProfile) {
  return {
    state: size(profile.stateBytes, 'size of the state', { minimum: 1, maximum: 2 ** 32 }),
    dirty: rate(0, 'how much of the state changes per second while the guest runs'),
    save: rate(0, 'how fast the state can be read; 0 is as fast as it goes'),
    load: rate(0, 'how fast the state can be written; 0 is as fast as it goes'),
    alloc: timePerMiB(0, 'what allocating on the destination costs'),
    async: flag(false, 'allocate behind the write that announces the size, and be ready later'),
    precopy: flag(true, 'whether the state can be read while the device runs'),
    p2p: flag(profile.p2p, 'whether the device can stop starting DMA before it stops'),
    reinit: time(0, 'new initial data appears after so long; 0 is never'),
    seed: count(1, 'of the contents; the same on both sides', { maximum: 0xffff_ffff }),
  };
}
type Properties = ReturnType<typeof properties>;

/** The device of one profile. */
export function emulatedVfioDevice(profile: VfioProfile): DeviceDefinition<Properties, State> {
  return defineDevice({
    name: profile.name,
    summary: profile.summary,
    properties: properties(profile),
    state: STATE,
    regions: { registers: { size: 2 * REGISTER_BYTES, bus: 'memory' } },
    vfio: true,
    conformance: CONFORMANCE,
    create: (context) => new EmulatedDevice(profile, context),
  });
}

class EmulatedDevice implements Device<State> {
  readonly vfio: EmulatedVfio;
  #command = 0;
  #doorbell = 0;

  constructor(profile: VfioProfile, context: DeviceContext<Properties>) {
    const { properties: wanted, id, resources } = context;
    const pattern = new BulkPattern(wanted.seed);
    let draw = 0;
    this.vfio = new EmulatedVfio({
      features: { precopy: wanted.precopy, p2p: wanted.p2p },
      memory: new DeviceMemory(),
      saving: {
        profile,
        stateBytes: wanted.state,
        dirtyBytesPerSecond: wanted.dirty,
        reinitMs: wanted.reinit,
        pattern,
        pace: new Pace(wanted.save),
        guestMs: () => Number(context.nowNs()) / 1e6,
        random: () => pick(wanted.seed, draw++, DRAWS) / DRAWS,
      },
      loading: {
        device: id,
        stateBytes: wanted.state,
        allocMsPerMiB: wanted.alloc,
        isAsync: wanted.async,
        loadBytesPerSecond: wanted.load,
        pattern,
        resources,
      },
    });
  }

  read({ offset, size: bytes }: RegisterAccess): number {
    if (bytes !== REGISTER_BYTES) return 0;
    return offset === COMMAND ? this.#command : offset === DOORBELL ? this.#doorbell : 0;
  }

  write({ offset, size: bytes }: RegisterAccess, value: number): void {
    if (bytes !== REGISTER_BYTES) return;
    if (offset === COMMAND) this.#command = value;
    else if (offset === DOORBELL) this.#doorbell = (this.#doorbell + 1) >>> 0;
  }

  save(): State {
    return { command: this.#command, doorbell: this.#doorbell };
  }

  load({ command, doorbell }: State): void {
    this.#command = command;
    this.#doorbell = doorbell;
  }

  /** The registers; the driver is reset by the uAPI's own request. */
  reset(): void {
    this.#command = 0;
    this.#doorbell = 0;
  }

  close(): void {
    this.vfio.free();
  }
}
