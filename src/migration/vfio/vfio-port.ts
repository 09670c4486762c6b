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
  /** Reads asked for at once keep their order. `spare` moves, or is shared, to be filled. */
  read(maxBytes: number, spare?: ArrayBufferLike): Promise<VfioRead>;
  /**
   * `bytes` have a buffer of their own, which moves and comes back, or shared memory. Writes asked for at once keep their
   * order.
   */
  write(bytes: Uint8Array): Promise<VfioWritten>;
  ready(): Promise<unknown>;
  reset(): Promise<unknown>;
}

/** What is assumed of a size that cannot be: so large that no downtime limit allows it (spec/vfio.md §2.4). */
const UNKNOWN_BYTES = 100 * 2 ** 30;

/** A size as a driver tells it, which may be garbage. */
export function trustedBytes(bytes: number): number {
  return Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : UNKNOWN_BYTES;
}
