/**
 * The VFIO uAPI over a vendor driver (spec/vfio.md §1): arbitrary state requests are decomposed into direct arcs, a failed
 * arc leaves the device at the vertex it had reached, data flows only inside a session, and only a reset leaves ERROR.
 * Errors carry the errno that the uAPI gives them.
 */

import { HarnessError, isHarnessError, messageOf } from '../../base/errors.ts';
import type { VfioState } from '../../wire/vfio.ts';
import { DmaLog, type DmaRange } from './dma-log.ts';
import { hasState, isPrecopy, isSaving, nextState, type VfioFeatures } from './states.ts';
import type { PrecopyInfo, VfioDriver, VfioLanding } from './vfio-driver.ts';

/** What one read of the data stream brought. */
export interface VfioRead {
  readonly bytes: Uint8Array;
  /** `no-message`: nothing for now (ENOMSG, PRE_COPY only); `end`: nothing any more. */
  readonly status: 'data' | 'no-message' | 'end';
  /** How long the driver took (ms). */
  readonly tookMs: number;
  /** They are in memory of the device's own. */
  readonly isInPlace?: boolean;
}

/** One VFIO device. */
export class VfioDevice {
  readonly #device: string;
  readonly #driver: VfioDriver;
  readonly #dmaLog = new DmaLog();
  #state: VfioState = 'running';

  /** `device` names it in errors. */
  constructor(options: { device: string; driver: VfioDriver }) {
    this.#device = options.device;
    this.#driver = options.driver;
  }

  get features(): VfioFeatures {
    return this.#driver.features;
  }

  get state(): VfioState {
    return this.#state;
  }

  /**
   * Goes to `target` arc by arc. When an arc fails it tries `recover`, and when that fails too it resets the device; then
   * `vfio/arc` is thrown, with where the device is now. Without `recover` it stays at the vertex it had reached. Throws
   * `vfio/refused` for a state that this device cannot be in or cannot reach.
   */
  async setState(target: VfioState, recover?: VfioState): Promise<void> {
    try {
      await this.#walk(target);
    } catch (error) {
      if (recover === undefined || !isHarnessError(error, 'vfio/arc')) throw error;
      await this.#recover(recover);
      throw new HarnessError('vfio/arc', { ...error.details, now: this.#state }, { cause: error });
    }
  }

  /** Bytes of the saving session. Throws `vfio/refused` (ENODEV) outside of one. */
  async read(maxBytes: number, spare?: ArrayBufferLike): Promise<VfioRead> {
    if (!isSaving(this.#state)) throw this.#refused('read', 'ENODEV', 'a state of a saving session');
    const startMs = performance.now();
    const bytes = await this.#watched(() => this.#driver.read(maxBytes, spare));
    const tookMs = performance.now() - startMs;
    if (bytes.length > 0) return { bytes, status: 'data', tookMs };
    return { bytes, status: this.#state === 'stop-copy' ? 'end' : 'no-message', tookMs };
  }

  /** Bytes for the resuming session; how long the driver took (ms). Throws `vfio/refused` (ENODEV) outside of one. */
  async write(bytes: Uint8Array): Promise<number> {
    if (this.#state !== 'resuming') throw this.#refused('write', 'ENODEV', 'resuming');
    const startMs = performance.now();
    await this.#watched(() => this.#driver.write(bytes));
    return performance.now() - startMs;
  }

  /** Where coming bytes are to be put; undefined where the driver does not say. */
  get landing(): VfioLanding | undefined {
    return this.#state === 'resuming' ? this.#driver.landing?.() : undefined;
  }

  /** Resolves once what was written is prepared. */
  async ready(): Promise<void> {
    await this.#driver.ready?.();
  }

  /** Throws `vfio/refused` (EINVAL) outside of the PRE_COPY states. */
  precopyInfo(): PrecopyInfo {
    if (!isPrecopy(this.#state)) throw this.#refused('precopy info', 'EINVAL', 'pre-copy or pre-copy-p2p');
    return this.#driver.precopyInfo();
  }

  stopCopyBytes(): number {
    return this.#driver.stopCopyBytes();
  }

  /** To RUNNING; ends every session. Throws `vfio/arc` when the driver cannot: the device is then in ERROR. */
  async reset(): Promise<void> {
    const from = this.#state;
    try {
      await this.#driver.reset();
      this.#state = 'running';
    } catch (cause) {
      this.#state = 'error';
      throw this.#failed({ from, to: 'running', target: 'running', cause });
    }
  }

  /** Starts to log which guest pages the device writes. Throws `vfio/refused`. */
  startDmaLogging(options: { pageSize: number; ranges: readonly DmaRange[] }): void {
    this.#dmaLog.start(this.#device, options);
  }

  stopDmaLogging(): void {
    this.#dmaLog.stop();
  }

  /** Told of every write of the device to guest memory. Returns whether a report will tell of it. */
  recordDma(iova: number, length: number): boolean {
    return this.#dmaLog.record(iova, length);
  }

  /** Whether a report of the DMA log would find nothing. */
  get isDmaLogClean(): boolean {
    return this.#dmaLog.isClean;
  }

  /**
   * Ors the log of a range into `bitmap` (bit n = page n of the range; a fresh one by default) and clears it. Throws
   * `vfio/refused`: then everything counts as dirty.
   */
  reportDmaLog(range: DmaRange & { pageSize: number }, bitmap?: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    return this.#dmaLog.report(this.#device, range, bitmap);
  }

  async #walk(target: VfioState): Promise<void> {
    if (target === 'error' || !hasState(target, this.features)) {
      throw this.#refused(`state ${target}`, 'EINVAL', 'a state that the device has');
    }
    while (this.#state !== target) {
      const from = this.#state;
      const to = nextState(from, target, this.features);
      if (to === undefined) throw this.#refused(`state ${target}`, 'EINVAL', 'a state that it can be reached from');
      await this.#arc(from, to, target);
      this.#state = to;
    }
  }

  async #arc(from: VfioState, to: VfioState, target: VfioState): Promise<void> {
    try {
      await this.#watched(() => this.#driver.arc(from, to));
    } catch (cause) {
      throw this.#failed({ from, to, target, cause });
    }
  }

  /** The error that led here is the one to tell; what recovering throws shows in the state. */
  async #recover(recover: VfioState): Promise<void> {
    try {
      await this.#walk(recover);
    } catch {
      await this.reset().catch(() => undefined);
    }
  }

  /** A call of the driver that throws may have left the device in an undefined state. */
  async #watched<T>(call: () => T | Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (this.#driver.isBroken === true) this.#state = 'error';
      throw error;
    }
  }

  #failed(arc: { from: VfioState; to: VfioState; target: VfioState; cause: unknown }): HarnessError {
    const { cause, ...vertices } = arc;
    const details = { device: this.#device, ...vertices, now: this.#state, why: messageOf(cause) };
    return new HarnessError('vfio/arc', details, { cause });
  }

  #refused(what: string, errno: 'EINVAL' | 'ENODEV', expected: string): HarnessError {
    return new HarnessError('vfio/refused', { device: this.#device, what, errno, expected, actual: this.#state });
  }
}
