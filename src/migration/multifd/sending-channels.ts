/**
 * The source's side of all channels: connects them, hands each its packets through a lane, and makes them wait for each
 * other (spec/wire.md §5.4, §5.6). A channel is a thread with a socket of its own; without native calls its work is
 * done in turns on this thread.
 */

import { HarnessError } from '../../base/errors.ts';
import { Bell } from '../../threads/bell.ts';
import { LaneWriter } from '../../threads/lane.ts';
import { Tally } from '../../threads/tally.ts';
import { LIMITS } from '../../wire/limits.ts';
import {
  MULTIFD_HELLO,
  MULTIFD_MAGIC,
  MULTIFD_VERSION,
  PACKET_PAGES,
  RAM_PACKET_BYTES,
  STATE_PACKET_BYTES,
} from '../../wire/multifd.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { Address } from '../transport/address.ts';
import type { Channel } from '../transport/channel.ts';
import type { ClientTls } from '../transport/tls-channel.ts';
import { openOutgoing } from '../transport/transport.ts';
import type { StateChannels } from '../vfio/vfio-transfer.ts';
import { ChannelThread } from './channel-thread.ts';
import type { ChannelThreads } from './channel-threads.ts';
import type { MultifdMethod } from './compression.ts';
import type { PageChannels } from './multifd-save.ts';
import { ENTRY, ENTRY_KIND, SENT, type SendChannelData, sendInTurns } from './send-channel.ts';
import { type StatePacketHead, StateSlots } from './state-slots.ts';

/** Batches of packets that wait in a lane at most: enough that nobody waits for this thread to wake. */
const LANE_DEPTH = 4;
/** How often somebody who waits looks whether a channel stands still (ms). */
const LOOK_MS = 250;

/** How the channels are to be. */
export interface SendingOptions {
  readonly address: Address;
  readonly count: number;
  /** 16 bytes; undefined when none was configured. */
  readonly uuid: Uint8Array | undefined;
  /** Names, in the order in which `sendPages` numbers them. */
  readonly blocks: readonly string[];
  readonly method: MultifdMethod;
  /** Of the method. */
  readonly level: number;
  /** Channels look for zero pages. */
  readonly detectZero: boolean;
  /** Packets as QEMU up to 8.2 has them. */
  readonly oldLayout: boolean;
  /** How long a channel may write nothing while others wait for it (ms). */
  readonly stallMs?: number;
  /** VFIO devices whose last data may go over the channels. */
  readonly devices: number;
  readonly threads: ChannelThreads;
  readonly tls?: ClientTls | undefined;
  readonly signal: AbortSignal;
}

interface Sender {
  readonly uri: string;
  readonly lane: LaneWriter;
  readonly tally: Tally;
  readonly thread: ChannelThread;
}

/** The channels of one outgoing migration. `close` or `destroy` ends them. */
export class SendingChannels implements PageChannels, StateChannels {
  readonly #bell: Bell;
  readonly #slots: StateSlots;
  readonly #senders: readonly Sender[];
  readonly #stallMs: number;
  #next = 0;
  /** Resolves when everybody who waits for room so far has had it. */
  #line: Promise<void> = Promise.resolve();
  #error: Error | undefined;

  /** Connects all channels at once and greets. Rejects with `transport/connect` that names the channel. */
  static async connect(options: SendingOptions): Promise<SendingChannels> {
    const channels = await connectAll(options);
    const bell = new Bell();
    const numbers = new Tally(1);
    const slots = new StateSlots(options.devices);
    const senders = await Promise.allSettled(
      channels.map(async (channel): Promise<Sender> => {
        const lane = new LaneWriter({ depth: LANE_DEPTH, entryWords: ENTRY.WORDS, bell });
        const tally = new Tally(SENT.SLOTS);
        tally.add(SENT.BYTES, MULTIFD_HELLO.size);
        const { uri } = channel;
        const { blocks, method, level, detectZero, oldLayout } = options;
        const data: SendChannelData = {
          uri,
          blocks,
          lane: lane.share,
          tally: tally.share,
          numbers: numbers.share,
          method,
          level,
          detectZero,
          oldLayout,
          slots: slots.share,
        };
        const thread = await ChannelThread.start({
          channel,
          threads: options.threads,
          end: 'multifd-send',
          data,
          inTurns: () => sendInTurns(data, options.threads.ram, channel.sink),
          close: () => lane.close(),
          onEnd: () => bell.ring(),
        });
        return { uri, lane, tally, thread };
      }),
    );
    const started = senders.flatMap((sender) => (sender.status === 'fulfilled' ? [sender.value] : []));
    const sending = new SendingChannels({ bell, senders: started, slots, stallMs: options.stallMs });
    const failure = senders.find((sender) => sender.status === 'rejected');
    if (failure === undefined) return sending;
    await sending.destroy();
    throw failure.reason;
  }

  private constructor(deps: {
    bell: Bell;
    senders: readonly Sender[];
    slots: StateSlots;
    stallMs: number | undefined;
  }) {
    this.#bell = deps.bell;
    this.#senders = deps.senders;
    this.#slots = deps.slots;
    this.#stallMs = deps.stallMs ?? LIMITS.MULTIFD_STALL_MS;
  }

  /** Bytes, data pages and zero pages that all channels sent so far, and how many SYNCs there were behind data. */
  sent(): { bytes: number; normalPages: number; zeroPages: number; copiedSyncs: number } {
    const sum = (slot: number) => this.#senders.reduce((total, { tally }) => total + tally.read(slot), 0);
    return {
      bytes: sum(SENT.BYTES),
      normalPages: sum(SENT.NORMAL_PAGES),
      zeroPages: sum(SENT.ZERO_PAGES),
      copiedSyncs: sum(SENT.COPIED_SYNCS),
    };
  }

  get count(): number {
    return this.#senders.length;
  }

  /** Waits until a channel has room for a batch of packets. */
  async room(): Promise<void> {
    for (;;) {
      const seen = this.#bell.count;
      this.check();
      if (this.#senders.some(({ lane }) => lane.claim() !== undefined)) return;
      await this.#progress(seen);
    }
  }

  /** Hands pages of a batch to the next channel with room; waits until there is one. */
  sendPages(blockIndex: number, list: Uint32Array, count: number): Promise<void> {
    return this.#publish((entry) => {
      entry[ENTRY.KIND] = ENTRY_KIND.PAGES;
      entry[ENTRY.BLOCK] = blockIndex;
      entry[ENTRY.COUNT] = count;
      entry.set(list.subarray(0, count), ENTRY.PAGES);
    });
  }

  /** A slot for the state of a device, and its memory; waits until one is free. */
  async claimSlot(device: number): Promise<{ slot: number; data: SharedArrayBuffer }> {
    for (;;) {
      const seen = this.#bell.count;
      this.check();
      const slot = this.#slots.claim(device);
      if (slot !== undefined) return { slot, data: this.#slots.data(slot) };
      await this.#progress(seen);
    }
  }

  /** Hands a filled slot to the next channel with room; waits until there is one. */
  async sendState(slot: number, head: StatePacketHead): Promise<void> {
    this.#slots.begin(slot, head);
    await this.#publish((entry) => {
      entry[ENTRY.KIND] = ENTRY_KIND.STATE;
      entry[ENTRY.BLOCK] = slot;
      entry[ENTRY.COUNT] = head.byteLength;
    });
  }

  /** Gives back a slot that was not sent. */
  releaseSlot(slot: number): void {
    this.#slots.release(slot);
  }

  /** Fills and publishes in one go, because several may wait for room; first come, first served, so that none starves. */
  async #publish(fill: (entry: Uint32Array) => void): Promise<void> {
    const before = this.#line;
    const mine = Promise.withResolvers<void>();
    this.#line = mine.promise;
    await before;
    try {
      await this.#publishNow(fill);
    } finally {
      mine.resolve();
    }
  }

  async #publishNow(fill: (entry: Uint32Array) => void): Promise<void> {
    for (;;) {
      const seen = this.#bell.count;
      this.check();
      for (let step = 0; step < this.#senders.length; step++) {
        const index = (this.#next + step) % this.#senders.length;
        const { lane } = this.#senders[index]!;
        const entry = lane.claim();
        if (entry === undefined) continue;
        this.#next = (index + 1) % this.#senders.length;
        fill(entry);
        lane.publish();
        return;
      }
      await this.#progress(seen);
    }
  }

  /** Bytes of packets that were handed over and may still be sent, at most. */
  get queuedBytes(): number {
    return this.#senders.reduce((sum, { lane }) => sum + lane.sumUnreleased(mostBytes), 0);
  }

  /** Waits until a channel has sent a packet, if any has one to send. */
  async progress(): Promise<void> {
    const seen = this.#bell.count;
    this.check();
    if (this.#senders.some(({ lane }) => lane.unreleased > 0)) await this.#progress(seen);
  }

  /** Makes every channel say that the others are to be waited for; resolves when all have. */
  async sync(): Promise<void> {
    const marks: number[] = [];
    for (const { lane } of this.#senders) {
      let entry = lane.claim();
      while (entry === undefined) {
        await this.progress();
        entry = lane.claim();
      }
      entry[ENTRY.KIND] = ENTRY_KIND.SYNC;
      lane.publish();
      marks.push(lane.mark);
    }
    // What devices send meanwhile is not waited for.
    while (this.#senders.some(({ lane }, index) => !lane.isReleased(marks[index]!))) await this.progress();
    this.check();
  }

  /** Throws what a channel failed with. */
  check(): void {
    if (this.#error !== undefined) throw this.#error;
    const failed = this.#senders.find(({ thread }) => thread.ended);
    if (failed === undefined) return;
    throw failed.thread.error ?? new HarnessError('transport/closed', { uri: failed.uri, at: 0, why: 'closed' });
  }

  /** Ends all channels in good order: what was handed over is sent. */
  async close(): Promise<void> {
    await Promise.all(this.#senders.map(({ thread }) => thread.close()));
  }

  /** Ends all channels at once; whoever waits for them gets `transport/closed`. */
  async destroy(): Promise<void> {
    this.#error ??= new HarnessError('transport/closed', {
      uri: this.#senders[0]?.uri ?? '',
      at: 0,
      why: 'the migration is over',
    });
    this.#bell.ring();
    await Promise.all(this.#senders.map(({ thread }) => thread.destroy()));
  }

  async #progress(seen: number): Promise<void> {
    let before = this.sent().bytes;
    let sinceMs = performance.now();
    for (;;) {
      await this.#bell.wait(seen, Math.min(LOOK_MS, this.#stallMs));
      this.check();
      if (this.#bell.count !== seen) return;
      const [sent, nowMs] = [this.sent().bytes, performance.now()];
      if (sent !== before) [before, sinceMs] = [sent, nowMs]; // slow, but not still
      if (nowMs - sinceMs < this.#stallMs) continue;
      const stuck = this.#senders.find(({ lane }) => lane.unreleased > 0);
      const what = 'the destination to take a packet';
      throw new HarnessError('transport/timeout', {
        uri: stuck?.uri ?? '',
        what,
        waitedMs: Math.round(nowMs - sinceMs),
      });
    }
  }
}

/** What an entry becomes at most. */
function mostBytes(entry: Uint32Array): number {
  const count = entry[ENTRY.COUNT]!;
  switch (entry[ENTRY.KIND]) {
    case ENTRY_KIND.SYNC:
      return RAM_PACKET_BYTES;
    case ENTRY_KIND.STATE:
      return STATE_PACKET_BYTES + count;
    default:
      return Math.ceil(count / PACKET_PAGES) * RAM_PACKET_BYTES + count * PAGE_SIZE;
  }
}

async function connectAll(options: SendingOptions): Promise<Channel[]> {
  const { address, count, signal } = options;
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const connecting = Array.from({ length: count }, async (_, id) => {
    const channel = await openOutgoing(
      { ...address, uri: `${address.uri} (multifd channel ${id})` },
      either,
      options.tls,
    );
    try {
      const uuid = options.uuid ?? new Uint8Array(16);
      await channel.sink.write(MULTIFD_HELLO.encode({ magic: MULTIFD_MAGIC, version: MULTIFD_VERSION, uuid, id }));
      await channel.sink.flush();
    } catch (error) {
      channel.destroy('it could not greet');
      throw error;
    }
    return channel;
  });
  for (const one of connecting) one.catch((error) => failed.abort(error)); // the others need not go on
  const ends = await Promise.allSettled(connecting);
  const refused = ends.some((end) => end.status === 'rejected');
  const channels = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
  if (!refused) return channels;
  for (const channel of channels) channel.destroy('another channel could not connect');
  throw signal.aborted ? signal.reason : failed.signal.reason;
}
