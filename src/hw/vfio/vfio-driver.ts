/**
 * What a VFIO-like device implements: its vendor driver. The state machine around it (vfio-device.ts) walks the arcs, keeps
 * the sessions and checks who may ask what when (spec/vfio.md §1).
 */

import type { VfioState } from '../../wire/vfio.ts';
import type { VfioFeatures } from './states.ts';

/** VFIO_MIG_GET_PRECOPY_INFO (spec/vfio.md §1.5); bytes. */
export interface PrecopyInfo {
  /** What should be read before PRE_COPY is left: metadata, resource descriptions, a first image. */
  readonly initialBytes: number;
  /** Data that changed after the initial set. */
  readonly dirtyBytes: number;
  /** New initial data appeared: readiness has to be judged again. */
  readonly reinit: boolean;
}

/** A vendor driver. Calls come one at a time, except `ready`, which may wait while others come. */
export interface VfioDriver {
  readonly features: VfioFeatures;
  /** True once the device is in an undefined state that only a reset leaves. */
  readonly isBroken?: boolean;
  /** Goes along one direct arc. Throwing leaves the device where it was. */
  arc(from: VfioState, to: VfioState): void | Promise<void>;
  /**
   * The next bytes of the saving session, at most `maxBytes`, in a buffer that is given away. None: in PRE_COPY for now, in
   * STOP_COPY for good. `spare` is a buffer that may be used for it, from its start, whatever is in it.
   */
  read(maxBytes: number, spare?: ArrayBufferLike): Uint8Array | Promise<Uint8Array>;
  /** Takes the next bytes of the stream in RESUMING; they are gone when it has resolved, and may be shared memory. Throws for bytes that cannot be or that it has no room for. */
  write(bytes: Uint8Array): void | Promise<void>;
  /** Only asked in PRE_COPY states. */
  precopyInfo(): PrecopyInfo;
  /** Estimate of what STOP_COPY would have to carry now (bytes). */
  stopCopyBytes(): number;
  /** Resolves once everything that arrived is prepared, allocations behind `write` included. Without it: at once. */
  ready?(): Promise<void>;
  /** To RUNNING, whatever the state. */
  reset(): void | Promise<void>;
}
