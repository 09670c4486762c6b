/**
 * The source's return path from its opening to the destination's final status: who listens to it, what it says about a
 * broken connection, and how long the source waits for its end (spec/wire.md §3, spec/control.md §4.1).
 */

import type { Clock } from '../base/clock.ts';
import { HarnessError, isHarnessError } from '../base/errors.ts';
import { LIMITS } from '../wire/limits.ts';
import { type ReturnPathListener, readReturnPath } from './return-path.ts';
import type { Channel } from './transport/channel.ts';

/** After a broken write: how long to listen for the destination's own account of what went wrong (ms). */
const LAST_WORDS_MS = 500;

/** One open return path. */
export class SourceReturnPath {
  readonly #clock: Clock;
  readonly #uri: string;
  readonly #reading: Promise<void>;

  /** Listens at once. `onFailure` is told when a message or the connection is bad, or the destination has failed. */
  constructor(options: {
    channel: Channel;
    clock: Clock;
    blocks: Parameters<typeof readReturnPath>[0]['blocks'];
    listener: ReturnPathListener;
    onFailure: (error: Error) => void;
  }) {
    const { channel, blocks, listener } = options;
    this.#clock = options.clock;
    this.#uri = channel.uri;
    this.#reading = readReturnPath({ source: channel.source, uri: channel.uri, blocks, listener });
    this.#reading.catch(options.onFailure);
  }

  /** Resolves once the destination has said that it loaded everything. Throws its failure, or `transport/timeout`. */
  async finalStatus(signal: AbortSignal): Promise<void> {
    const heard = new AbortController();
    const deadline = this.#clock.sleep(LIMITS.SHUT_MS, AbortSignal.any([heard.signal, signal])).then(() => {
      throw new HarnessError('transport/timeout', {
        uri: this.#uri,
        what: "the destination's final status",
        waitedMs: LIMITS.SHUT_MS,
      });
    });
    deadline.catch(() => undefined); // the loser of the race
    try {
      await Promise.race([this.#reading, deadline]);
    } finally {
      heard.abort();
    }
  }

  /** A broken connection often has a better explanation here: that, or `error` itself. */
  async explain(error: unknown): Promise<unknown> {
    if (!isHarnessError(error, 'transport/closed')) return error;
    const heard = new AbortController();
    const patience = this.#clock.sleep(LAST_WORDS_MS, heard.signal).then(
      () => error,
      () => error, // only our own abort ends it early
    );
    const words = this.#reading.then(
      () => error,
      (reason) => reason,
    );
    return Promise.race([words, patience]).finally(() => heard.abort());
  }
}
