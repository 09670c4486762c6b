/** Auto-converge's throttle of one vCPU: p percent means it sleeps p/(1−p)·10 ms in every 10/(1−p) ms (spec/control.md §7.5). */

/** How long a vCPU runs between two sleeps (ms). */
const RUN_MS = 10;

/** The sleep of every window (ms) at `percent` (0…99). */
export function throttleSleepMs(percent: number): number {
  return (percent * RUN_MS) / (100 - percent);
}

/** Divides one vCPU's time into runs of 10 ms and sleeps. */
export class ThrottleWindow {
  #runStartMs = 0;
  #sleepStartMs: number | undefined;
  #sleepEndMs = 0;
  #lostMs = 0;

  /** Milliseconds slept since the last reset. */
  get lostMs(): number {
    return this.#lostMs;
  }

  /** Begins a run at `nowMs` with nothing slept. */
  reset(nowMs: number): void {
    this.#runStartMs = nowMs;
    this.#sleepStartMs = undefined;
    this.#lostMs = 0;
  }

  /** Milliseconds the vCPU must sleep from `nowMs` on; 0 when it may run. At 0 percent a sleep ends at once. */
  sleepMs(nowMs: number, percent: number): number {
    if (this.#sleepStartMs === undefined) {
      if (percent === 0) {
        this.#runStartMs = nowMs;
        return 0;
      }
      if (nowMs - this.#runStartMs < RUN_MS) return 0;
      this.#sleepStartMs = nowMs;
      this.#sleepEndMs = nowMs + throttleSleepMs(percent);
    }
    if (percent > 0 && nowMs < this.#sleepEndMs) return this.#sleepEndMs - nowMs;
    this.#lostMs += nowMs - this.#sleepStartMs;
    this.#sleepStartMs = undefined;
    this.#runStartMs = nowMs;
    return 0;
  }
}
