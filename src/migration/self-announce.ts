/**
 * Self-announcement (spec/control.md §5.9): after a migration a machine tells the network in several rounds where its cards are
 * now. Machines here have no cards, so a round sends nothing; rounds, their delays and their timers are QEMU's, and the log
 * tells each, so that a test of a management tool sees what its parameters mean.
 */

import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { AnnounceParameters } from './options/options.ts';

/** The delay (ms) after round `k`, from 0 on. */
function announceDelayMs({ initial, max, step }: AnnounceParameters, k: bigint): number {
  const delay = initial + k * step;
  return Number(delay < 0n || delay > max ? max : delay);
}

/** The timers of one machine. Dispose of it to stop all. */
export class SelfAnnouncer implements Disposable {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #timers = new Map<string, AbortController>();

  constructor(deps: { clock: Clock; log: Logger }) {
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /**
   * Starts the rounds, the first at once. `id` names the timer: announcing again under it begins anew. `interfaces` would
   * choose cards. The promise within is their end.
   */
  announce(
    parameters: AnnounceParameters,
    { id = '', interfaces }: { id?: string | undefined; interfaces?: readonly string[] | undefined } = {},
  ): { readonly done: Promise<void> } {
    this.#timers.get(id)?.abort();
    const timer = new AbortController();
    this.#timers.set(id, timer);
    const done = this.#rounds(parameters, timer.signal, { id, interfaces }).finally(() => {
      if (this.#timers.get(id) === timer) this.#timers.delete(id);
    });
    return { done };
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers.values()) timer.abort();
  }

  async #rounds(parameters: AnnounceParameters, signal: AbortSignal, about: object): Promise<void> {
    for (let round = 0n; round < parameters.rounds; round++) {
      this.#log.info({ ...about, round: Number(round) + 1, cards: 0 }, 'self-announcement');
      if (round + 1n >= parameters.rounds) return;
      try {
        await this.#clock.sleep(Math.max(0, announceDelayMs(parameters, round)), signal);
      } catch (error) {
        if (!signal.aborted) throw error;
        return;
      }
    }
  }
}
