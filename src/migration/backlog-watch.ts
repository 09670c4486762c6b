/**
 * How far a destination that is a Switchover is behind with what was sent, asked while the guest runs; and, once it could be
 * stopped, the moment in which it runs on so that the destination catches up: what is on its way then would be downtime.
 */

import type { Clock } from '../base/clock.ts';
import { BACKLOG_PING } from '../wire/extension.ts';
import type { PeerKnowledge } from './peer-extension.ts';
import type { StreamFraming } from './savevm.ts';
import type { ByteSink } from './transport/channel.ts';
import type { SourceAck } from './vfio/switchover-ack.ts';

/** How long the guest may run on at a time (ms), and how often in one migration. */
const LONGEST_SETTLE_MS = 100;
const SETTLES = 5;

/** The destination has read everything; or not yet; or it is not to be waited for. */
type Settling = 'caught-up' | 'late' | 'not-asked';

/** The main channel, and how much has gone over all channels. */
export interface AskedConnection {
  readonly sink: Pick<ByteSink, 'write' | 'flush'>;
  readonly framing: Pick<StreamFraming, 'ping'>;
  bytesWritten(): number;
}

/** What a watch is made from. */
interface BacklogWatchDeps {
  readonly peer: PeerKnowledge;
  readonly ack: SourceAck;
  readonly clock: Clock;
  /** Ends a wait at once. */
  readonly signal: AbortSignal;
  readonly connection: AskedConnection;
}

/** Asks in one migration. */
export class BacklogWatch {
  readonly #deps: BacklogWatchDeps;
  #settlesLeft = SETTLES;

  constructor(deps: BacklogWatchDeps) {
    this.#deps = deps;
  }

  /** Asks behind what was sent, now and then. */
  async ask(): Promise<void> {
    const { peer, connection } = this.#deps;
    if (peer.asksForBacklog(connection.bytesWritten())) await this.#ping();
  }

  /**
   * Sends nothing until the destination has read what was sent. Without switchover-ack it is not waited for: it may be
   * preparing a device, which nobody wanted to wait for.
   */
  async settle(): Promise<Settling> {
    const { peer, ack, clock, signal, connection } = this.#deps;
    if (!ack.isOn || !peer.isSwitchover || this.#settlesLeft === 0) return 'not-asked';
    this.#settlesLeft -= 1;
    const answer = peer.asksAnyway(connection.bytesWritten()).then((): Settling => 'caught-up');
    await this.#ping();
    await connection.sink.flush();
    const over = new AbortController();
    const late = clock.sleep(LONGEST_SETTLE_MS, AbortSignal.any([over.signal, signal])).then(
      (): Settling => 'late',
      (): Settling => 'late', // the loser of the race, or a cancel, which the migration sees next
    );
    try {
      return await Promise.race([answer, late]);
    } finally {
      over.abort();
    }
  }

  #ping(): Promise<void> {
    const { sink, framing } = this.#deps.connection;
    return sink.write(framing.ping(BACKLOG_PING));
  }
}
