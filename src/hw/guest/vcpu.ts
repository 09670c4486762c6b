/** The machine's handle on a vCPU: a thread that runs one scripted guest. A new one is stopped. */

import { HarnessError } from '../../base/errors.ts';
import { GateControl } from '../../threads/gate.ts';
import { ManagedWorker } from '../../threads/managed-worker.ts';
import { workerUrl } from '../../threads/worker-url.ts';
import type { RamShare } from '../ram.ts';
import { type GuestOptions, guestRegion } from './guest-options.ts';
import type { VcpuData } from './vcpu-loop.ts';

/** Longest time a vCPU may take to leave its loop (ms). A batch takes microseconds; the rest is for a busy host. */
const STOP_MS = 10_000;

/** How a vCPU is made. */
export interface VcpuOptions {
  readonly ram: RamShare;
  readonly guest: GuestOptions;
  /** Deadline of `stop` (ms). */
  readonly stopMs?: number;
  /** Called when the thread ends without being asked to. */
  readonly onFailure?: (error: Error) => void;
}

/** What a vCPU did so far. */
export interface VcpuStats {
  /** Page writes since the vCPU was made; a page written twice counts twice. */
  readonly pagesWritten: number;
  readonly throttlePercent: number;
  /** Microseconds that its limit held it back. */
  readonly limitedUs: number;
}

/** One vCPU. */
export class Vcpu {
  readonly guest: GuestOptions;
  readonly #gate: GateControl;
  readonly #worker: ManagedWorker;
  readonly #stopMs: number;

  /** Starts the thread; the guest does not run yet. Throws `option/bad-value` when the guest's region is not in RAM. */
  static async create(options: VcpuOptions): Promise<Vcpu> {
    const { ram, guest, onFailure } = options;
    guestRegion(guest, ram.length);
    const name = `vcpu ${guest.id}`;
    const gate = new GateControl(name);
    const worker = await ManagedWorker.start({
      name,
      url: workerUrl('vcpu'),
      data: { ram, guest, gate: gate.share } satisfies VcpuData,
      close: () => gate.close(),
      onEnd: (error) => {
        gate.abandon();
        if (error !== undefined) onFailure?.(error);
      },
    });
    return new Vcpu({ guest, gate, worker, stopMs: options.stopMs ?? STOP_MS });
  }

  private constructor(parts: { guest: GuestOptions; gate: GateControl; worker: ManagedWorker; stopMs: number }) {
    this.guest = parts.guest;
    this.#gate = parts.gate;
    this.#worker = parts.worker;
    this.#stopMs = parts.stopMs;
  }

  /** The system's number of its thread, as in /proc. */
  get systemThreadId(): number {
    return this.#worker.systemThreadId;
  }

  /** True between `start` and `stop`, as asked for. */
  get running(): boolean {
    return this.#gate.command === 'run';
  }

  /** Lets the guest run, from where its RAM says it is. */
  start(): void {
    this.#gate.start();
  }

  /**
   * After it resolves the guest writes not one byte until `start`. Throws `thread/timeout` past the deadline and
   * `thread/failed` when the thread is gone.
   */
  async stop(): Promise<void> {
    try {
      await this.#gate.stop(this.#stopMs);
    } catch (error) {
      const cause = this.#worker.error;
      if (cause === undefined) throw error;
      throw new HarnessError('thread/failed', { thread: this.#worker.name, why: cause.message }, { cause });
    }
  }

  /** Takes away `percent` (0…99) of the guest's time; 0 gives it back. */
  throttle(percent: number): void {
    this.#gate.throttle(percent);
  }

  /** Lets the guest write at most so many pages in a second; 0 = as many as it likes. */
  limit(pagesPerSecond: number): void {
    this.#gate.limit(pagesPerSecond);
  }

  stats(): VcpuStats {
    const { count, throttlePercent, heldUs } = this.#gate;
    return { pagesWritten: count, throttlePercent, limitedUs: heldUs };
  }

  /** Ends the thread, running or not. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#gate.close();
    await this.#worker[Symbol.asyncDispose]();
  }
}
