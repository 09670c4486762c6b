/**
 * VFIO requests between a machine and its device's thread: the table of requests, the device's end (`createVfioService`), and
 * the machine's end (`VfioClient`), which is how run state and migration drive a VFIO device.
 */

import { assert } from '../../base/assert.ts';
import { copyBytes } from '../../threads/copy.ts';
import type { VfioState } from '../../wire/vfio.ts';
import type { DmaRange } from './dma-log.ts';
import { isPrecopy, type VfioFeatures } from './states.ts';
import { VfioDevice, type VfioRead } from './vfio-device.ts';
import type { PrecopyInfo, VfioDriver, VfioLanding } from './vfio-driver.ts';

/** What became of bytes that were written. */
export interface VfioWritten {
  /** How long the driver took (ms). */
  readonly tookMs: number;
  /** Where coming bytes are to be put, when that is news. */
  readonly landing?: VfioLanding | undefined;
}

/** Bytes for a resuming session: some, or so many that are in the device's landing already, from the session's byte `at` on. */
type WrittenBytes = Uint8Array | { readonly at: number; readonly length: number };

/** What a report is asked of: whole pages. */
export type DmaReportRange = DmaRange & { readonly pageSize: number };

/** How much is to be read, and where it may or must be. */
interface VfioReadOptions {
  readonly maxBytes: number;
  /** May be filled. */
  readonly spare?: SharedArrayBuffer;
  /** Must be filled, from its start. */
  readonly into?: SharedArrayBuffer;
}

/** Requests by kind: what is sent, and what comes back. */
interface VfioRequests {
  'vfio/set-state': {
    payload: { readonly target: VfioState; readonly recover: VfioState | undefined };
    reply: VfioState;
  };
  'vfio/quiesce': { payload: undefined; reply: VfioState };
  'vfio/halt': { payload: undefined; reply: VfioState };
  'vfio/state': { payload: undefined; reply: VfioState };
  'vfio/features': { payload: undefined; reply: VfioFeatures };
  'vfio/precopy-info': { payload: undefined; reply: PrecopyInfo };
  'vfio/stop-copy-bytes': { payload: undefined; reply: number };
  'vfio/read': { payload: VfioReadOptions; reply: VfioRead };
  'vfio/write': { payload: WrittenBytes; reply: VfioWritten };
  'vfio/ready': { payload: undefined; reply: undefined };
  'vfio/reset': { payload: undefined; reply: undefined };
  'vfio/dma-start': { payload: { readonly pageSize: number; readonly ranges: readonly DmaRange[] }; reply: undefined };
  'vfio/dma-stop': { payload: undefined | DmaReportRange; reply: undefined | Uint8Array<ArrayBuffer> };
  'vfio/dma-report': { payload: DmaReportRange; reply: undefined | Uint8Array<ArrayBuffer> };
}
type VfioKind = keyof VfioRequests;
type VfioRequest = { [K in VfioKind]: { readonly kind: K; readonly payload: VfioRequests[K]['payload'] } }[VfioKind];

/** The device's end. */
export interface VfioService {
  /** Answers one request. Throws what VfioDevice throws. */
  answer(kind: string, payload: unknown): unknown;
  /** Whether a request may wait while others are answered. */
  mayWait(kind: string): boolean;
  /** Told of every write of the device to guest memory. Returns whether its log has it. */
  recordDma(address: number, length: number): boolean;
}

/** Wraps a driver in its state machine and answers requests for it. */
export function createVfioService(options: { device: string; driver: VfioDriver }): VfioService {
  const device = new VfioDevice(options);
  const write = writeTo(device);
  return {
    answer: (kind, payload) => answer(device, write, { kind, payload } as VfioRequest),
    mayWait: (kind) => kind === ('vfio/ready' satisfies VfioKind),
    recordDma: (address, length) => device.recordDma(address, length),
  };
}

/** Writes, and tells of every landing once. */
function writeTo(device: VfioDevice): (bytes: WrittenBytes) => Promise<VfioWritten> {
  let told: VfioLanding | undefined;
  return async (written) => {
    const bytes = written instanceof Uint8Array ? written : landed(told, written);
    const tookMs = await device.write(bytes);
    const { landing } = device;
    if (landing === told) return { tookMs };
    told = landing;
    return { tookMs, landing };
  };
}

/** The driver's own view of bytes that were put into its landing. */
function landed(landing: VfioLanding | undefined, { at, length }: { at: number; length: number }): Uint8Array {
  const start = at - (landing?.at ?? at);
  assert(landing !== undefined && start >= 0 && start + length <= landing.memory.length, 'bytes go where it said');
  return landing.memory.subarray(start, start + length);
}

async function read(device: VfioDevice, { maxBytes, spare, into }: VfioReadOptions): Promise<VfioRead> {
  const result = await device.read(maxBytes, into ?? spare);
  const { buffer } = result.bytes;
  if (into === undefined) return { ...result, isInPlace: buffer !== spare && !(buffer instanceof ArrayBuffer) };
  if (buffer === into) return result;
  const bytes = new Uint8Array(into, 0, result.bytes.length);
  copyBytes(bytes, result.bytes);
  return { ...result, bytes };
}

async function answer(
  device: VfioDevice,
  write: (bytes: WrittenBytes) => Promise<VfioWritten>,
  request: VfioRequest,
): Promise<unknown> {
  switch (request.kind) {
    case 'vfio/set-state':
      await device.setState(request.payload.target, request.payload.recover);
      return device.state;
    case 'vfio/quiesce':
      if (isHalted(device.state)) return device.state;
      await device.setState(isPrecopy(device.state) ? 'pre-copy-p2p' : 'running-p2p');
      return device.state;
    case 'vfio/halt':
      if (isHalted(device.state)) return device.state;
      await device.setState(isPrecopy(device.state) ? 'stop-copy' : 'stop', 'stop');
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
      return read(device, request.payload);
    case 'vfio/write':
      return write(request.payload);
    case 'vfio/ready':
      return device.ready();
    case 'vfio/reset':
      return device.reset();
    case 'vfio/dma-start':
      return device.startDmaLogging(request.payload);
    case 'vfio/dma-stop': {
      const last = request.payload === undefined ? undefined : dmaReport(device, request.payload);
      device.stopDmaLogging();
      return last;
    }
    case 'vfio/dma-report':
      return dmaReport(device, request.payload);
    default:
      request satisfies never;
      throw new Error('it has no such handler');
  }
}

/** Undefined when nothing was written, as is most often so: a bit for each page is much to send for that. */
function dmaReport(device: VfioDevice, range: DmaReportRange): Uint8Array<ArrayBuffer> | undefined {
  const wasClean = device.isDmaLogClean;
  const bits = device.reportDmaLog(range);
  return wasClean ? undefined : bits;
}

/** It stands already: a guest that was stopped by hand is stopped once more for the switchover. */
function isHalted(state: VfioState): boolean {
  return state === 'stop' || state === 'stop-copy';
}

/** The machine's end. Every method throws what the device threw, or `device/failed` when it hangs or dies. */
export class VfioClient {
  readonly #request: (kind: string, payload: unknown) => Promise<unknown>;
  readonly #onState: (state: VfioState) => void;
  /** As far as it is known here. */
  #state: VfioState = 'running';

  /** `request` sends to the device's thread; `onState` is told of every change of its state. */
  constructor(
    request: (kind: string, payload: unknown) => Promise<unknown>,
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

  /** The first step of stopping: no more DMA to other devices. Which state that is follows from the one that the device is in. */
  async quiesce(): Promise<VfioState> {
    return this.#reached(await this.#ask('vfio/quiesce', undefined));
  }

  /** The second step: it stands. A device in precopy goes on to its last data, whoever stopped the guest. */
  async halt(): Promise<VfioState> {
    return this.#reached(await this.#ask('vfio/halt', undefined));
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

  /** What is read may be in `spare`, in memory of the device's own, or moves here; with `into` it is there. */
  read(maxBytes: number, memory: Omit<VfioReadOptions, 'maxBytes'> = {}): Promise<VfioRead> {
    return this.#ask('vfio/read', { maxBytes, ...memory });
  }

  /** Writes to the resuming session; `bytes` are in shared memory, or copied. */
  write(bytes: Uint8Array): Promise<VfioWritten> {
    return this.#ask('vfio/write', bytes);
  }

  /** The same for bytes that were put into the landing that the device told of last, from the session's byte `at` on. */
  landed(at: number, length: number): Promise<VfioWritten> {
    return this.#ask('vfio/write', { at, length });
  }

  /** Resolves once everything written is prepared; other requests may go on meanwhile. */
  ready(): Promise<undefined> {
    return this.#ask('vfio/ready', undefined);
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

  /**
   * Pages of the range that the device wrote since the last report, one bit each; undefined when none was. When it throws, all
   * of them may be.
   */
  reportDmaLog(range: DmaReportRange): Promise<Uint8Array | undefined> {
    return this.#ask('vfio/dma-report', range);
  }

  #reached(state: VfioState): VfioState {
    if (state !== this.#state) this.#onState(state);
    this.#state = state;
    return state;
  }

  #ask<K extends VfioKind>(kind: K, payload: VfioRequests[K]['payload']): Promise<VfioRequests[K]['reply']> {
    // The device's end answers by the same table.
    return this.#request(kind, payload) as Promise<VfioRequests[K]['reply']>;
  }
}
