/**
 * Auto-converge's throttle of one vCPU: p percent means it sleeps p/(1−p)·10 ms in every 10/(1−p) ms (spec/control.md
 * §7.5). Runs and sleeps are noticed late, by a batch or by a timer; what they came out as is what the next sleep makes up for.
 */

/** How long a vCPU runs between two sleeps (ms). */
const RUN_MS = 10;
/** A thread that was held up for longer than this (ms) was not running meanwhile and owes no sleep for it. */
const LONGEST_RUN_MS = 20;

/** The sleep (ms) that a run of `runMs` owes at `percent` (0…99). */
export function throttleSleepMs(percent: number, runMs = RUN_MS): number {
  return (percent * runMs) / (100 - percent);
}

/** Divides one vCPU's time into runs of 10 ms and sleeps. */
export class ThrottleWindow {
  #runStartMs = 0;
  #sleepStartMs: number | undefined;
  /** Sleep owed for the runs so far (ms); negative after a sleep that took too long. */
  #owedMs = 0;
  #lostMs = 0;

  /** Milliseconds slept since the last reset. */
  get lostMs(): number {
    return this.#lostMs;
  }

  /** Begins a run at `nowMs` with nothing slept. */
  reset(nowMs: number): void {
    this.#runStartMs = nowMs;
    this.#sleepStartMs = undefined;
    this.#owedMs = 0;
    this.#lostMs = 0;
  }

  /** Milliseconds from `nowMs` to the end of this run; Infinity when there is no throttle. */
  runLeftMs(nowMs: number, percent: number): number {
    return percent === 0 ? Number.POSITIVE_INFINITY : Math.max(0, this.#runStartMs + RUN_MS - nowMs);
  }

  /** Milliseconds the vCPU must sleep from `nowMs` on; 0 when it may run. At 0 percent a sleep ends at once. */
  sleepMs(nowMs: number, percent: number): number {
    if (this.#sleepStartMs === undefined) {
      if (percent === 0) {
        this.#runStartMs = nowMs;
        this.#owedMs = 0;
        return 0;
      }
      const runMs = nowMs - this.#runStartMs;
      if (runMs < RUN_MS) return 0;
      this.#owedMs += throttleSleepMs(percent, Math.min(runMs, LONGEST_RUN_MS));
      this.#runStartMs = nowMs;
      if (this.#owedMs <= 0) return 0;
      this.#sleepStartMs = nowMs;
    }
    const sleptMs = nowMs - this.#sleepStartMs;
    if (percent > 0 && sleptMs < this.#owedMs) return this.#owedMs - sleptMs;
    this.#owedMs -= sleptMs;
    this.#lostMs += sleptMs;
    this.#sleepStartMs = undefined;
    this.#runStartMs = nowMs;
    return 0;
  }
}
