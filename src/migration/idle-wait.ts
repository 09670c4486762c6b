/** What a source does while there is nothing to send: the guest writes on, a device prepares, or only the ack is missing. */

import type { Clock } from '../base/clock.ts';
import { HarnessError } from '../base/errors.ts';
import type { SourceAck } from './vfio/switchover-ack.ts';

/** How often RAM and devices are looked at again (ms). */
const IDLE_POLL_MS = 5;

/** The waiting of one migration. */
export class IdleWait {
  readonly #ack: SourceAck;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #ackLimitMs: number;
  /** Since when only the next ack is missing, and how many had come by then. */
  #missing: { readonly sinceMs: number; readonly acks: number } | undefined;

  /** `ackLimitMs` 0 = waits for the ack without limit; `signal` ends a wait at once. */
  constructor(deps: { ack: SourceAck; clock: Clock; signal: AbortSignal; ackLimitMs: number }) {
    this.#ack = deps.ack;
    this.#clock = deps.clock;
    this.#signal = deps.signal;
    this.#ackLimitMs = deps.ackLimitMs;
  }

  /** Only the ack is missing, though the guest may go on writing. Throws `vfio/ack` when that lasts longer than the limit. */
  ackIsMissing(): void {
    const { acks } = this.#ack;
    // Every ack begins another wait, as for a device that asks for one again (REINIT).
    if (this.#missing?.acks !== acks) this.#missing = { sinceMs: this.#clock.nowMs(), acks };
    const waitedMs = this.#clock.nowMs() - this.#missing.sinceMs;
    if (this.#ackLimitMs === 0 || waitedMs <= this.#ackLimitMs) return;
    const names = this.#ack.withheldBy.join(', ') || 'the destination';
    throw new HarnessError('vfio/ack', { why: `none after ${Math.round(waitedMs)} ms, withheld by ${names}` });
  }

  /** Waits a little, or until an ack comes. */
  async moment(): Promise<void> {
    const heard = new AbortController();
    const pause = this.#clock.sleep(IDLE_POLL_MS, AbortSignal.any([heard.signal, this.#signal])).catch(() => {
      // The loser of the race, or a cancel, which the migration sees next.
    });
    await Promise.race([pause, this.#ack.changed]);
    heard.abort();
  }
}
