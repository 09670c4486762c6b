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

/** A place for bytes of the resuming session, in memory that other threads can write to. */
export interface VfioLanding {
  /** Which byte of the session is the first that goes there. */
  readonly at: number;
  readonly memory: Uint8Array<SharedArrayBuffer>;
}

/** A vendor driver. Calls come one at a time, except `ready`, which may wait while others come. */
export interface VfioDriver {
  readonly features: VfioFeatures;
  /** True once the device is in an undefined state that only a reset leaves. */
  readonly isBroken?: boolean;
  /** Goes along one direct arc. Throwing leaves the device where it was. */
  arc(from: VfioState, to: VfioState): void | Promise<void>;
  /**
   * The next bytes of the saving session, at most `maxBytes`. None: in PRE_COPY for now, in STOP_COPY for good. They are in a
   * buffer that is given away, or in shared memory that nobody writes to while the session lasts. `spare` is a buffer that may
   * be used for them, from its start, whatever is in it.
   */
  read(maxBytes: number, spare?: ArrayBufferLike): Uint8Array | Promise<Uint8Array>;
  /** Takes the next bytes of the stream in RESUMING; they are gone when it has resolved, and may be shared memory. Throws for bytes that cannot be or that it has no room for. */
  write(bytes: Uint8Array): void | Promise<void>;
  /**
   * Where coming bytes are to be put, if the device has a place for them already: they are then not copied. `write` gets them
   * there all the same. Asked after every `write`; another object for another place.
   */
  landing?(): VfioLanding | undefined;
  /** Only asked in PRE_COPY states. */
  precopyInfo(): PrecopyInfo;
  /** Estimate of what STOP_COPY would have to carry now (bytes). */
  stopCopyBytes(): number;
  /** Resolves once everything that arrived is prepared, allocations behind `write` included. Without it: at once. */
  ready?(): Promise<void>;
  /** To RUNNING, whatever the state. */
  reset(): void | Promise<void>;
}
