/**
 * Spends time in a device's thread: the thread really waits, so nothing else of the device goes on meanwhile, as with a driver
 * that waits for its hardware. Work done on the way counts towards the time that is due.
 */

const NEVER = new Int32Array(new SharedArrayBuffer(4));
/** Waiting is this much late, as a rule (ms); the rest is spent spinning. */
const SLACK_MS = 0.1;

/** Returns when `performance.now()` has reached `untilMs`. */
export function waitUntil(untilMs: number): void {
  const leftMs = untilMs - performance.now();
  if (leftMs > SLACK_MS) Atomics.wait(NEVER, 0, 0, leftMs - SLACK_MS);
  while (performance.now() < untilMs);
}

/** Makes a stream of bytes take its time: bytes may not go faster than a rate, whatever the calls' sizes. */
export class Pace {
  readonly #bytesPerMs: number;
  #dueMs = 0;

  /** `bytesPerSecond` 0 = as fast as it goes. */
  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  get isLimited(): boolean {
    return this.#bytesPerMs > 0;
  }

  /** Call after `bytes` were worked on since `startMs`: waits for the rest of the time that they take. */
  spend(bytes: number, startMs: number): void {
    if (this.#bytesPerMs === 0) return;
    this.#dueMs = Math.max(this.#dueMs, startMs) + bytes / this.#bytesPerMs;
    waitUntil(this.#dueMs);
  }
}
