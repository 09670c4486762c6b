/** A VFIO device as migration sees it, whichever thread it runs in; hw's VfioClient is one. */

import type { VfioFeatures } from '../../hw/vfio/states.ts';
import type { VfioRead } from '../../hw/vfio/vfio-device.ts';
import type { PrecopyInfo } from '../../hw/vfio/vfio-driver.ts';
import type { VfioWritten } from '../../hw/vfio/vfio-service.ts';
import type { VfioState } from '../../wire/vfio.ts';

/** See the header; every method throws `vfio/…` or `device/failed`. */
export interface VfioPort {
  readonly features: VfioFeatures;
  setState(target: VfioState, recover?: VfioState): Promise<VfioState>;
  state(): Promise<VfioState>;
  precopyInfo(): Promise<PrecopyInfo>;
  stopCopyBytes(): Promise<number>;
  /**
   * Reads asked for at once keep their order. What is read may be in `spare` or in the device's own shared memory, which stays
   * as it is while the session lasts; with `into` it is there.
   */
  read(
    maxBytes: number,
    memory?: { readonly spare?: SharedArrayBuffer; readonly into?: SharedArrayBuffer },
  ): Promise<VfioRead>;
  /** Writes asked for at once keep their order, those that landed included. `bytes` in shared memory are not copied. */
  write(bytes: Uint8Array): Promise<VfioWritten>;
  /** Writes bytes that were put into the landing that the device told of last, from its session's byte `at` on. */
  landed(at: number, length: number): Promise<VfioWritten>;
  ready(): Promise<unknown>;
  reset(): Promise<unknown>;
}

/** What is assumed of a size that cannot be: so large that no downtime limit allows it (spec/vfio.md §2.4). */
const UNKNOWN_BYTES = 100 * 2 ** 30;

/** A size as a driver tells it, which may be garbage. */
export function trustedBytes(bytes: number): number {
  return Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : UNKNOWN_BYTES;
}
