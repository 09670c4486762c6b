/**
 * VFIO requests between a machine and its device's thread: the table of requests, the device's end (`createVfioService`), and
 * the machine's end (`VfioClient`), which is how run state and migration drive a VFIO device.
 */

import type { VfioState } from '../../wire/vfio.ts';
import type { DmaRange } from './dma-log.ts';
import type { VfioFeatures } from './states.ts';
import { VfioDevice, type VfioRead } from './vfio-device.ts';
import type { PrecopyInfo, VfioDriver } from './vfio-driver.ts';

/** What became of bytes that were written. */
export interface VfioWritten {
  /** How long the driver took (ms). */
  readonly tookMs: number;
  /** The bytes' buffer, to be used again. */
  readonly bytes: Uint8Array;
}

/** What a report is asked of: whole pages. */
export type DmaReportRange = DmaRange & { readonly pageSize: number };

/** Requests by kind: what is sent, and what comes back. */
interface VfioRequests {
  'vfio/set-state': {
    payload: { readonly target: VfioState; readonly recover: VfioState | undefined };
    reply: VfioState;
  };
  'vfio/state': { payload: undefined; reply: VfioState };
  'vfio/features': { payload: undefined; reply: VfioFeatures };
  'vfio/precopy-info': { payload: undefined; reply: PrecopyInfo };
  'vfio/stop-copy-bytes': { payload: undefined; reply: number };
  'vfio/read': { payload: { readonly maxBytes: number; readonly spare?: ArrayBufferLike }; reply: VfioRead };
  'vfio/write': { payload: Uint8Array; reply: VfioWritten };
  'vfio/ready': { payload: undefined; reply: undefined };
  'vfio/reset': { payload: undefined; reply: undefined };
  'vfio/dma-start': { payload: { readonly pageSize: number; readonly ranges: readonly DmaRange[] }; reply: undefined };
  'vfio/dma-stop': { payload: undefined | DmaReportRange; reply: undefined | Uint8Array<ArrayBuffer> };
  'vfio/dma-report': { payload: DmaReportRange; reply: Uint8Array<ArrayBuffer> };
}
type VfioKind = keyof VfioRequests;
type VfioRequest = { [K in VfioKind]: { readonly kind: K; readonly payload: VfioRequests[K]['payload'] } }[VfioKind];

/** The device's end. */
export interface VfioService {
  /** Answers one request. Throws what VfioDevice throws. */
  answer(kind: string, payload: unknown): unknown;
  /** Told of every write of the device to guest memory. Returns whether its log has it. */
  recordDma(address: number, length: number): boolean;
}

/** The only request that may wait while others are answered. */
export const VFIO_READY = 'vfio/ready' satisfies VfioKind;

/** Wraps a driver in its state machine and answers requests for it. */
export function createVfioService(options: { device: string; driver: VfioDriver }): VfioService {
  const device = new VfioDevice(options);
  return {
    answer: (kind, payload) => answer(device, { kind, payload } as VfioRequest),
    recordDma: (address, length) => device.recordDma(address, length),
  };
}

async function answer(device: VfioDevice, request: VfioRequest): Promise<unknown> {
  switch (request.kind) {
    case 'vfio/set-state':
      await device.setState(request.payload.target, request.payload.recover);
      return device.state;
    case 'vfio/state':
      return device.state;
    case 'vfio/features':
      return device.features;
    case 'vfio/precopy-info':
      return device.precopyInfo();
    case 'vfio/stop-copy-bytes':
      return device.stopCopyBytes();
    case 'vfio/read':
      return device.read(request.payload.maxBytes, request.payload.spare);
    case 'vfio/write':
      return { tookMs: await device.write(request.payload), bytes: request.payload };
    case VFIO_READY:
      return device.ready();
    case 'vfio/reset':
      return device.reset();
    case 'vfio/dma-start':
      return device.startDmaLogging(request.payload);
    case 'vfio/dma-stop': {
      const last = request.payload === undefined ? undefined : device.reportDmaLog(request.payload);
      device.stopDmaLogging();
      return last;
    }
    case 'vfio/dma-report':
      return device.reportDmaLog(request.payload);
    default:
      request satisfies never;
      throw new Error('it has no such handler');
  }
}

/** The machine's end. Every method throws what the device threw, or `device/failed` when it hangs or dies. */
export class VfioClient {
  readonly #request: (kind: string, payload: unknown, transfer?: readonly ArrayBuffer[]) => Promise<unknown>;
  readonly #onState: (state: VfioState) => void;
  /** As far as it is known here. */
  #state: VfioState = 'running';

  /** `request` sends to the device's thread, moving the given buffers; `onState` is told of every change of its state. */
  constructor(
    request: (kind: string, payload: unknown, transfer?: readonly ArrayBuffer[]) => Promise<unknown>,
    onState: (state: VfioState) => void = () => undefined,
  ) {
    this.#request = request;
    this.#onState = onState;
  }

  features(): Promise<VfioFeatures> {
    return this.#ask('vfio/features', undefined);
  }

  /** Goes to `target`; when an arc fails, to `recover`, else the device is reset. Resolves with the state reached. */
  async setState(target: VfioState, recover?: VfioState): Promise<VfioState> {
    return this.#reached(await this.#ask('vfio/set-state', { target, recover }));
  }

  async state(): Promise<VfioState> {
    return this.#reached(await this.#ask('vfio/state', undefined));
  }

  precopyInfo(): Promise<PrecopyInfo> {
    return this.#ask('vfio/precopy-info', undefined);
  }

  /** Estimate of what STOP_COPY has to carry (bytes). */
  stopCopyBytes(): Promise<number> {
    return this.#ask('vfio/stop-copy-bytes', undefined);
  }

  /** `spare` moves to the device's thread, or is shared with it, which may fill it. */
  read(maxBytes: number, spare?: ArrayBufferLike): Promise<VfioRead> {
    return spare === undefined
      ? this.#ask('vfio/read', { maxBytes })
      : this.#ask('vfio/read', { maxBytes, spare }, movable(spare));
  }

  /**
   * Writes to the resuming session; `bytes` have a buffer of their own, which moves to the device's thread and comes back,
   * or shared memory.
   */
  write(bytes: Uint8Array): Promise<VfioWritten> {
    return this.#ask('vfio/write', bytes, movable(bytes.buffer));
  }

  /** Resolves once everything written is prepared; other requests may go on meanwhile. */
  ready(): Promise<undefined> {
    return this.#ask(VFIO_READY, undefined);
  }

  reset(): Promise<undefined> {
    return this.#ask('vfio/reset', undefined);
  }

  startDmaLogging(options: { pageSize: number; ranges: readonly DmaRange[] }): Promise<undefined> {
    return this.#ask('vfio/dma-start', options);
  }

  /** Ends logging; what was logged of `last` since the last report comes back, so that nothing is lost in between. */
  stopDmaLogging(last?: DmaReportRange): Promise<Uint8Array | undefined> {
    return this.#ask('vfio/dma-stop', last);
  }

  /** Pages of the range that the device wrote since the last report, one bit each. When it throws, all of them may be. */
  reportDmaLog(range: DmaReportRange): Promise<Uint8Array> {
    return this.#ask('vfio/dma-report', range);
  }

  #reached(state: VfioState): VfioState {
    if (state !== this.#state) this.#onState(state);
    this.#state = state;
    return state;
  }

  #ask<K extends VfioKind>(
    kind: K,
    payload: VfioRequests[K]['payload'],
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<VfioRequests[K]['reply']> {
    // The device's end answers by the same table.
    return this.#request(kind, payload, transfer) as Promise<VfioRequests[K]['reply']>;
  }
}

/** Shared memory stays where it is. */
function movable(buffer: ArrayBufferLike): ArrayBuffer[] {
  return buffer instanceof ArrayBuffer ? [buffer] : [];
}
