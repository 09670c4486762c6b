/** Emulated VFIO devices inline, without a machine: one to be saved, one to be loaded, and the bytes between them. */

import { DeviceMemory } from '../../src/hw/vfio/emulated-loader.ts';
import { EmulatedVfio } from '../../src/hw/vfio/emulated-vfio.ts';
import { Pace } from '../../src/hw/vfio/pace.ts';
import { PROFILES, type VfioProfile } from '../../src/hw/vfio/profiles.ts';
import { VfioDevice } from '../../src/hw/vfio/vfio-device.ts';
import { BulkPattern } from '../../src/hw/vfio/vfio-records.ts';

/** Names of the emulated devices. */
export type ProfileName = keyof typeof PROFILES;
/** All of them. */
export const PROFILE_NAMES = Object.keys(PROFILES) as ProfileName[];

const PATTERNS = new Map<number, BulkPattern>();

/** What a device is made with; everything has a default. */
export interface EmulatedOptions {
  readonly stateBytes?: number;
  readonly dirtyBytesPerSecond?: number;
  readonly reinitMs?: number;
  readonly allocMsPerMiB?: number;
  readonly isAsync?: boolean;
  readonly seed?: number;
  readonly resources?: { take(bytes: number): void; giveBack(bytes: number): void };
  /** Arcs (`from to`) that fail for as long as they are in it. */
  readonly failing?: ReadonlySet<string>;
  /** Draws for noise; default 0.5, which is no noise. */
  readonly random?: () => number;
}

/** One emulated device behind the uAPI, with the guest's clock in the caller's hand. */
export function emulated(name: ProfileName, options: EmulatedOptions = {}) {
  const profile: VfioProfile = PROFILES[name];
  const { seed = 1, stateBytes = Math.min(profile.stateBytes, 100_000) } = options;
  const pattern = PATTERNS.get(seed) ?? new BulkPattern(seed);
  PATTERNS.set(seed, pattern);
  const guest = { nowMs: 0 };
  const memory = new DeviceMemory();
  const driver = new EmulatedVfio({
    features: { precopy: true, p2p: true },
    memory,
    saving: {
      profile,
      stateBytes,
      dirtyBytesPerSecond: options.dirtyBytesPerSecond ?? 0,
      reinitMs: options.reinitMs ?? 0,
      pattern,
      pace: new Pace(0),
      guestMs: () => guest.nowMs,
      random: options.random ?? (() => 0.5),
    },
    loading: {
      device: 'd0',
      stateBytes,
      allocMsPerMiB: options.allocMsPerMiB ?? 0,
      isAsync: options.isAsync ?? false,
      loadBytesPerSecond: 0,
      pattern,
      resources: options.resources ?? { take: () => {}, giveBack: () => {} },
    },
  });
  const along = driver.arc.bind(driver);
  driver.arc = async (from, to) => {
    if (options.failing?.has(`${from} ${to}`) === true) throw new Error('told to fail');
    await along(from, to);
  };
  return { device: new VfioDevice({ device: 'd0', driver }), guest, memory, stateBytes };
}

/** Everything that the saving session has now, in pieces of at most `pieceBytes`. */
export async function readAll(device: VfioDevice, pieceBytes = 1 << 20): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for (;;) {
    const { bytes, status } = await device.read(pieceBytes);
    if (status !== 'data') return Buffer.concat(pieces);
    pieces.push(bytes);
  }
}

/** Writes everything to the resuming session, in pieces of at most `pieceBytes`. */
export async function writeAll(device: VfioDevice, bytes: Uint8Array, pieceBytes = 1 << 20): Promise<void> {
  for (let at = 0; at < bytes.length; at += pieceBytes) await device.write(bytes.slice(at, at + pieceBytes));
}

/** The whole stream of a device: precopy to its end, then STOP_COPY. */
export async function wholeStream(name: ProfileName, options?: EmulatedOptions): Promise<Buffer> {
  const { device } = emulated(name, options);
  await device.setState('pre-copy');
  const precopy = await readAll(device);
  await device.setState('stop-copy');
  return Buffer.concat([precopy, await readAll(device)]);
}
