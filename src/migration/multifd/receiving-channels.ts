/**
 * The destination's side of all channels: starts them, keeps the main channel in step with them (spec/wire.md §5.4), and
 * knows at once when one fails. A channel that ended is missed only when the main channel waits for it.
 */

import { HarnessError } from '../../base/errors.ts';
import { Allowance } from '../../threads/allowance.ts';
import { Rendezvous } from '../../threads/rendezvous.ts';
import { Tally } from '../../threads/tally.ts';
import { LIMITS } from '../../wire/limits.ts';
import { MULTIFD_HELLO } from '../../wire/multifd.ts';
import type { RamSync } from '../ram/ram-load.ts';
import type { StateIntake } from '../vfio/state-intake.ts';
import type { Arrival } from './arrivals.ts';
import { ChannelThread } from './channel-thread.ts';
import type { ChannelThreads } from './channel-threads.ts';
import type { MultifdMethod } from './compression.ts';
import { RECEIVED, type ReceiveChannelData, receiveInTurns } from './receive-channel.ts';
import type { StatePacket } from './state-packet-reader.ts';

/** How often somebody who waits looks whether a channel stands still (ms). */
const LOOK_MS = 250;

/** How the channels are to be. */
export interface ReceivingOptions {
  /** By channel id. */
  readonly arrivals: readonly Arrival[];
  readonly uri: string;
  /** Names of those whose pages may come. */
  readonly blocks: readonly string[];
  readonly method: MultifdMethod;
  /** The style of machine types up to 8.0: the end marker of every RAM section counts as sync record. */
  readonly flushEachSection: boolean;
  readonly threads: ChannelThreads;
  /** Where device state goes. */
  readonly intake: StateIntake;
  /** How long a channel may receive nothing while the main channel waits for it (ms). */
  readonly stallMs?: number;
}

interface Receiver {
  readonly uri: string;
  readonly tally: Tally;
  readonly thread: ChannelThread;
}

/** The channels of one incoming migration. `close` ends them. */
export class ReceivingChannels implements RamSync {
  readonly #rendezvous: Rendezvous;
  readonly #receivers: Receiver[] = [];
  readonly #failure = Promise.withResolvers<never>();
  readonly #flushEachSection: boolean;
  readonly #stallMs: number;

  /** Starts all; what one failed to start with is thrown after the others were ended. */
  static async start(options: ReceivingOptions): Promise<ReceivingChannels> {
    const channels = new ReceivingChannels(options);
    const starting = await Promise.allSettled(
      options.arrivals.map((arrival, index) => channels.#start(options, arrival, index)),
    );
    const failed = starting.find((one) => one.status === 'rejected');
    for (const one of starting) if (one.status === 'fulfilled') channels.#receivers.push(one.value);
    if (failed === undefined) return channels;
    await channels.close();
    throw failed.reason;
  }

  private constructor(options: ReceivingOptions) {
    this.#rendezvous = new Rendezvous(options.arrivals.length);
    this.#flushEachSection = options.flushEachSection;
    this.#stallMs = options.stallMs ?? LIMITS.MULTIFD_STALL_MS;
    this.#failure.promise.catch(() => undefined); // somebody may look later, or never
  }

  /** Rejects with the error of the first channel that fails; never resolves. */
  get failure(): Promise<never> {
    return this.#failure.promise;
  }

  /** MULTIFD_FLUSH on the main channel: waits until every channel has said SYNC, then lets all go on. */
  async flush(): Promise<void> {
    let progress = { bytes: -1, atMs: performance.now() };
    for (;;) {
      const seen = this.#rendezvous.arrivals.count;
      const absent = this.#receivers.findIndex((_, index) => !this.#rendezvous.isHere(index));
      if (absent < 0) break;
      const receiver = this.#receivers[absent]!;
      if (receiver.thread.error !== undefined) throw receiver.thread.error;
      if (this.#rendezvous.hasLeft(absent)) {
        const [at, why] = [receiver.tally.read(RECEIVED.BYTES), 'it ended, and the main channel waits for its SYNC'];
        throw new HarnessError('transport/closed', { uri: receiver.uri, at, why });
      }
      await this.#rendezvous.arrivals.wait(seen, Math.min(LOOK_MS, this.#stallMs));
      const bytes = receiver.tally.read(RECEIVED.BYTES);
      if (bytes !== progress.bytes) progress = { bytes, atMs: performance.now() };
      const waitedMs = Math.round(performance.now() - progress.atMs);
      if (waitedMs >= this.#stallMs) {
        const what =
          'the SYNC that the main channel waits for; do both sides agree on multifd-flush-after-each-section?';
        throw new HarnessError('transport/timeout', { uri: receiver.uri, what, waitedMs });
      }
    }
    this.#rendezvous.release();
  }

  /** The end of a RAM section. */
  async sectionEnd(): Promise<void> {
    if (this.#flushEachSection) await this.flush();
  }

  /** Ends all channels, wherever they are. */
  async close(): Promise<void> {
    await Promise.all(this.#receivers.map(({ thread }) => thread.destroy()));
  }

  async #start(options: ReceivingOptions, { channel, rest }: Arrival, index: number): Promise<Receiver> {
    const name = `multifd channel ${index}`;
    const uri = `${options.uri} (${name})`;
    const tally = new Tally(RECEIVED.SLOTS);
    tally.add(RECEIVED.BYTES, MULTIFD_HELLO.size);
    const { blocks, method, intake } = options;
    const allowance = new Allowance(1);
    const state = { grant: () => allowance.grant() };
    const onState = (packet: StatePacket) => intake.accept(state, packet);
    intake.join(state);
    const data: ReceiveChannelData = {
      name,
      uri,
      index,
      blocks,
      method,
      rendezvous: this.#rendezvous.share,
      targets: intake.targets,
      allowance: allowance.share,
      tally: tally.share,
      rest,
    };
    const thread = await ChannelThread.start({
      channel,
      threads: options.threads,
      end: 'multifd-receive',
      data,
      inTurns: () => receiveInTurns(data, options.threads.ram, channel.source, onState),
      close: () => {
        this.#rendezvous.end();
        allowance.end();
      },
      onEvent: (packet) => onState(packet as StatePacket), // receiveBlocking emits nothing else
      onEnd: (error) => {
        intake.leave(state);
        if (error !== undefined && !this.#rendezvous.hasLeft(index)) this.#failure.reject(error);
        this.#rendezvous.arrivals.ring();
      },
    });
    return { uri, tally, thread };
  }
}
