/**
 * What a vCPU's thread does: looks at its gate, sleeps if it is throttled, waits for pages to become due and for its limit to
 * allow them, lets the guest write one batch, and again. Nothing is half done between two steps, so a stop is exact.
 */

import { type Clock, systemClock } from '../../base/clock.ts';
import { GateLoop } from '../../threads/gate.ts';
import type { RamShare } from '../ram.ts';
import { GuestMemory } from './guest-memory.ts';
import { type GuestOptions, guestRegion } from './guest-options.ts';
import type { GuestProgram } from './guest-program.ts';
import { guestDefinition } from './guest-table.ts';
import { Pacer } from './pacer.ts';
import { ThrottleWindow } from './throttle-window.ts';
import { VcpuLimit } from './vcpu-limit.ts';

/** What a vCPU's thread is started with. */
export interface VcpuData {
  readonly ram: RamShare;
  readonly guest: GuestOptions;
  readonly gate: SharedArrayBuffer;
}

/** One vCPU, a step at a time. */
export class VcpuLoop {
  readonly #gate: GateLoop;
  readonly #program: GuestProgram;
  readonly #clock: Clock;
  readonly #pacer: Pacer;
  readonly #throttle = new ThrottleWindow();
  readonly #limit = new VcpuLimit();
  #running = false;
  #closed = false;
  /** In the guest's own time. */
  #restEndMs = 0;

  constructor(data: VcpuData, clock: Clock = systemClock) {
    const { ram, guest } = data;
    const memory = new GuestMemory(ram, guestRegion(guest, ram.length));
    this.#gate = new GateLoop(data.gate);
    this.#program = guestDefinition(guest.name).create({ memory, seed: guest.seed, settings: guest.settings });
    this.#clock = clock;
    this.#pacer = new Pacer(guest.rateBytes);
  }

  /** True once the owner closed the gate: there is no next step. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Writes at most one batch. Returns how long to wait before the next step (ms): 0 = go on, Infinity = until the owner
   * asks for something. The wait may end early.
   */
  step(): number {
    const command = this.#gate.poll();
    if (command !== 'run') {
      this.#running = false;
      this.#closed = command === 'close';
      return Number.POSITIVE_INFINITY;
    }
    const nowMs = this.#clock.nowMs();
    if (!this.#running) this.#begin(nowMs);
    const { throttlePercent } = this.#gate;
    const sleepMs = this.#throttle.sleepMs(nowMs, throttlePercent);
    if (sleepMs > 0) return sleepMs;
    const waitMs = this.#write(nowMs - this.#throttle.lostMs);
    // A guest that waits is running all the same: its run ends in time. Only one that waits for good need not wake.
    return Number.isFinite(waitMs) ? Math.min(waitMs, this.#throttle.runLeftMs(nowMs, throttlePercent)) : waitMs;
  }

  /** Blocks this thread for what `step` returned. */
  wait(ms: number): void {
    if (ms > 0) this.#gate.block(ms);
  }

  #begin(nowMs: number): void {
    this.#running = true;
    this.#throttle.reset(nowMs);
    this.#pacer.reset(nowMs);
    this.#limit.reset(nowMs);
    this.#restEndMs = 0;
    this.#program.resume();
  }

  #write(guestMs: number): number {
    if (this.#restEndMs > 0) {
      if (guestMs < this.#restEndMs) return this.#restEndMs - guestMs;
      this.#restEndMs = 0;
      this.#pacer.reset(guestMs);
    }
    const due = this.#pacer.pagesDue(guestMs);
    if (due === 0) return this.#pacer.waitMs;
    const pages = this.#limit.pagesAllowed(due, { nowMs: guestMs, perSecond: this.#gate.limit });
    if (pages === 0) return this.#limit.waitMs;
    const written = this.#program.run(pages);
    this.#pacer.spend(written);
    const heldMs = this.#limit.spend(written);
    if (heldMs > 0) this.#gate.addHeld(heldMs * 1000);
    if (written > 0) this.#gate.addCount(written);
    const { restMs } = this.#program;
    if (restMs > 0) this.#restEndMs = guestMs + restMs;
    return restMs;
  }
}

/** Runs a vCPU on this thread until its gate is closed. `onReady` is called before the first step. */
export function runVcpu(data: VcpuData, onReady: () => void): void {
  const loop = new VcpuLoop(data);
  onReady();
  while (!loop.closed) {
    const waitMs = loop.step();
    if (!loop.closed) loop.wait(waitMs);
  }
}
