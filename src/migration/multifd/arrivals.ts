/**
 * Which connection is what (spec/wire.md §5.1, §5.6): the main channel begins with the stream's magic, a multifd channel
 * with its greeting; they arrive in any order, and the main channel says nothing before all are there. A connection that
 * says nothing at all holds nothing up: what counts is that main and every channel arrive in time. A main channel that
 * ends before they have means that its source is gone. When all are there, whoever came with them is heard for a moment
 * more: a source with more channels than expected is to be told so, whichever of its connections came last.
 */

import type { Clock } from '../../base/clock.ts';
import { HarnessError, messageOf } from '../../base/errors.ts';
import { LIMITS } from '../../wire/limits.ts';
import { MULTIFD_HELLO, MULTIFD_MAGIC, MULTIFD_VERSION } from '../../wire/multifd.ts';
import { STREAM_MAGIC } from '../../wire/stream.ts';
import type { ByteSource, Channel } from '../transport/channel.ts';
import type { Listener } from '../transport/transport.ts';
import { WatchedSource } from './watched-source.ts';

/** Longest piece that one read of a source may bring while a greeting is incomplete. */
const READ_BYTES = 65_536;

/** Why a connection goes that is none of the migration's. */
const NOBODYS = 'the migration has no use for this connection';

/** A connection that has said what it is, with what came behind its greeting. */
export interface Arrival {
  readonly channel: Channel;
  /** Bytes that were read and belong to what follows. */
  readonly rest: Uint8Array;
}

/** The main channel, which was listened to while others were waited for. */
interface MainArrival extends Arrival {
  /** What comes behind `rest`; to be read instead of the channel's own. */
  readonly source: ByteSource;
}

/** The connections of one incoming migration. */
export interface Arrivals {
  readonly main: MainArrival;
  /** By channel id. */
  readonly channels: readonly Arrival[];
  /** Rejects with `stream/bad-value` when one more channel of this migration greets; nothing else ever happens to it. */
  readonly surplus: Promise<never>;
  /** Hears no more connections, and lets go those that have said nothing. */
  close(): void;
}

/** What is waited for. */
export interface ArrivalOptions {
  readonly listener: Listener;
  readonly uri: string;
  /** Number of multifd channels. */
  readonly count: number;
  /** This machine's UUID; undefined counts as zeros. */
  readonly uuid: Uint8Array | undefined;
  readonly clock: Clock;
  /** From the first connection on (ms). */
  readonly arrivalMs?: number;
}

/**
 * Accepts connections until the main channel and all `count` channels have said what they are. Rejects at the first that
 * is foreign, wrong or there twice, with `transport/closed` when the main channel ends, and with `transport/timeout`; the
 * last two say who is missing. All are closed then. Later connections are heard for `LIMITS.MULTIFD_LATE_MS`.
 */
export async function awaitArrivals(options: ArrivalOptions): Promise<Arrivals> {
  const roll = new RollCall(options);
  try {
    return await roll.complete();
  } catch (error) {
    roll.dismiss();
    throw error;
  }
}

class RollCall {
  readonly #options: ArrivalOptions;
  readonly #done = Promise.withResolvers<Arrivals>();
  readonly #surplus = Promise.withResolvers<never>();
  /** Ends the wait for connections: those that have to come, and later those that are too many. */
  #patience = new AbortController();
  readonly #unknown = new Set<Channel>();
  readonly #channels: (Arrival | undefined)[];
  #main: MainArrival | undefined;
  #accepted = 0;
  /** Nobody more is expected: all are there, or it failed. */
  #over = false;
  #closed = false;

  constructor(options: ArrivalOptions) {
    this.#options = options;
    this.#channels = Array.from({ length: options.count }, () => undefined);
    this.#surplus.promise.catch(() => undefined); // it may happen when nobody waits for it any more
  }

  get #uuid(): Uint8Array {
    return this.#options.uuid ?? new Uint8Array(16);
  }

  complete(): Promise<Arrivals> {
    this.#acceptNext();
    return this.#done.promise;
  }

  /** It failed: everybody goes. */
  dismiss(): void {
    this.#over = true;
    this.#close();
    for (const arrival of [this.#main, ...this.#channels]) {
      arrival?.channel.destroy('not all connections of the migration came');
    }
  }

  #close(): void {
    this.#closed = true;
    this.#patience.abort();
    for (const channel of this.#unknown) channel.destroy(NOBODYS);
  }

  #acceptNext(): void {
    this.#options.listener.accept().then(
      (channel) => this.#arrived(channel),
      (error) => this.#done.reject(error),
    );
  }

  #arrived(channel: Channel): void {
    this.#accepted += 1;
    if (this.#closed) {
      channel.destroy(NOBODYS);
    } else {
      if (this.#accepted === 1) this.#startPatience();
      this.#unknown.add(channel);
      this.#identify(channel, this.#accepted).catch((error) => this.#done.reject(error));
    }
    if (this.#accepted < this.#options.count + 1 + LIMITS.MULTIFD_STRAY_CONNECTIONS) this.#acceptNext();
  }

  async #identify(channel: Channel, ordinal: number): Promise<void> {
    const section = `connection ${ordinal}`;
    const { bytes, length } = await beginning(channel, section, () => this.#soFar());
    if (this.#over) {
      this.#heardLate(channel, bytes, section);
      return;
    }
    const magic = new DataView(bytes.buffer).getUint32(0);
    let watched: WatchedSource | undefined;
    if (magic === STREAM_MAGIC) {
      const again = this.#main !== undefined;
      if (again) throw bad(section, 'magic', 0, 'one main channel', 'a second one');
      watched = new WatchedSource(channel.source, LIMITS.MULTIFD_MAIN_AHEAD_BYTES);
      this.#main = { channel, rest: bytes.slice(0, length), source: watched };
    } else {
      const id = this.#greeting(bytes, section);
      this.#channels[id] = { channel, rest: bytes.slice(MULTIFD_HELLO.size, length) };
    }
    this.#unknown.delete(channel);
    this.#finishIfComplete();
    if (watched !== undefined && !this.#over) await this.#watch(channel.uri, watched, length);
  }

  /** One more channel of this migration is an error; anybody else has nothing to do with it. */
  #heardLate(channel: Channel, bytes: Uint8Array, section: string): void {
    if (this.#closed) return;
    const { magic, uuid } = MULTIFD_HELLO.decode(bytes);
    try {
      if (magic === MULTIFD_MAGIC && Buffer.compare(this.#uuid, uuid) === 0) this.#greeting(bytes, section);
    } catch (error) {
      this.#surplus.reject(error);
    }
    this.#unknown.delete(channel);
    channel.destroy(NOBODYS);
  }

  /** The source closes its main channel last. Who had sent all it has may have others on their way, for a moment. */
  async #watch(uri: string, source: WatchedSource, length: number): Promise<void> {
    let how = 'its sender closed it';
    try {
      if (!(await source.end())) return;
      await this.#options.clock.sleep(LIMITS.MULTIFD_LATE_MS, this.#patience.signal);
    } catch (error) {
      how = messageOf(error);
    }
    if (this.#over) return;
    const why = `${how}, and ${this.#missing()} did not come (${this.#soFar()})`;
    throw new HarnessError('transport/closed', {
      uri: `${uri} (main channel)`,
      at: length + source.aheadBytes,
      why,
    });
  }

  /** The checked channel id. */
  #greeting(bytes: Uint8Array, section: string): number {
    const { magic, version, uuid, id } = MULTIFD_HELLO.decode(bytes);
    const at = (field: string, offset: number, expected: string, actual: string) =>
      bad(`greeting of ${section}`, field, offset, expected, actual);
    const either = `0x${STREAM_MAGIC.toString(16)} (main channel) or 0x${MULTIFD_MAGIC.toString(16)} (multifd channel)`;
    if (magic !== MULTIFD_MAGIC) throw at('magic', 0, either, `0x${magic.toString(16)}`);
    if (version !== MULTIFD_VERSION) throw at('version', 4, `${MULTIFD_VERSION}`, `${version}`);
    const own = this.#uuid;
    if (Buffer.compare(own, uuid) !== 0) {
      throw at(`uuid of multifd channel ${id}`, 8, Buffer.from(own).toString('hex'), Buffer.from(uuid).toString('hex'));
    }
    const { count } = this.#options;
    if (id >= count) throw at('channel id', 24, `0 to ${count - 1}`, `${id}`);
    if (this.#channels[id] !== undefined) throw at('channel id', 24, 'one that is not there yet', `${id} again`);
    return id;
  }

  #finishIfComplete(): void {
    const channels = this.#channels.filter((arrival) => arrival !== undefined);
    if (this.#main === undefined || channels.length < this.#options.count) return;
    this.#over = true;
    this.#done.resolve({ main: this.#main, channels, surplus: this.#surplus.promise, close: () => this.#close() });
    this.#startLateness();
  }

  #startLateness(): void {
    this.#patience.abort();
    this.#patience = new AbortController();
    this.#options.clock.sleep(LIMITS.MULTIFD_LATE_MS, this.#patience.signal).then(
      () => this.#close(),
      () => undefined, // the migration has ended
    );
  }

  #startPatience(): void {
    const { clock, uri, arrivalMs = LIMITS.MULTIFD_ARRIVAL_MS } = this.#options;
    clock.sleep(arrivalMs, this.#patience.signal).then(
      () => {
        const what = `${this.#missing()} (${this.#soFar()})`;
        this.#done.reject(new HarnessError('transport/timeout', { uri, what, waitedMs: arrivalMs }));
      },
      () => undefined, // everybody is there, or it failed
    );
  }

  #missing(): string {
    const { count } = this.#options;
    const missing = this.#channels.flatMap((arrival, id) => (arrival === undefined ? [id] : []));
    const parts = [
      ...(this.#main === undefined ? ['the main channel'] : []),
      ...(missing.length === 0 ? [] : [`multifd channel ${missing.join(', ')} of ${count}`]),
    ];
    return parts.join(' and ');
  }

  #soFar(): string {
    return `${this.#accepted} connections came, ${this.#unknown.size} said nothing`;
  }
}

/** The first bytes: enough to know what it is, and all of a greeting. */
async function beginning(
  channel: Channel,
  section: string,
  soFar: () => string,
): Promise<{ bytes: Uint8Array; length: number }> {
  const bytes = new Uint8Array(MULTIFD_HELLO.size + READ_BYTES);
  const view = new DataView(bytes.buffer);
  let length = 0;
  while (length < 4 || (length < MULTIFD_HELLO.size && view.getUint32(0) !== STREAM_MAGIC)) {
    const count = await channel.source.read(bytes.subarray(length));
    if (count === 0) {
      const hint = `the sender closed this connection; look for its own error (${soFar()})`;
      const [field, needed] = [MULTIFD_HELLO.fieldAt(length), MULTIFD_HELLO.size - length];
      const details = { at: length, section: `greeting of ${section}`, field, needed, available: 0, hint };
      throw new HarnessError('stream/truncated', details);
    }
    length += count;
    if (length >= 4 && ![STREAM_MAGIC, MULTIFD_MAGIC].includes(view.getUint32(0))) break; // foreign: no need for more
  }
  return { bytes, length };
}

function bad(section: string, field: string, at: number, expected: string, actual: string): HarnessError {
  return new HarnessError('stream/bad-value', { at, section, field, expected, actual });
}
