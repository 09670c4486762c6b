/**
 * What one sending channel does: takes entries from its lane, makes a packet of each, and writes it. In a worker it
 * blocks, on a socket of its own; without native calls it takes turns with everything else in the main thread.
 */

import { HarnessError } from '../../base/errors.ts';
import type { RamShare } from '../../hw/ram.ts';
import { RamWindow } from '../../hw/ram-window.ts';
import { LaneReader, type LaneShare } from '../../threads/lane.ts';
import { ERRNO, native } from '../../threads/native.ts';
import { Segments } from '../../threads/segments.ts';
import { Tally } from '../../threads/tally.ts';
import { MULTIFD_HELLO } from '../../wire/multifd.ts';
import type { ByteSink } from '../transport/channel.ts';
import { type MultifdMethod, type PageCompressor, pageCompressor } from './compression.ts';
import { PacketWriter } from './packet-writer.ts';
import { StateSlots, type StateSlotsShare } from './state-slots.ts';

/** Words of a lane's entry: kind, block, number of pages, then up to 128 pages. */
export const ENTRY = { KIND: 0, BLOCK: 1, COUNT: 2, PAGES: 3, WORDS: 3 + 128 } as const;
/** What an entry asks for. */
export const ENTRY_KIND = {
  PAGES: 0,
  SYNC: 1,
  /** The state of a device: BLOCK is its slot, COUNT its bytes. */
  STATE: 2,
} as const;
/** Slots of a channel's tally. */
export const SENT = {
  BYTES: 0,
  NORMAL_PAGES: 1,
  ZERO_PAGES: 2,
  /** SYNCs behind data, which the kernel has always copied: what zero-copy-send counts as missed. */
  COPIED_SYNCS: 3,
  SLOTS: 4,
} as const;

/** What a sending channel is started with. */
export interface SendChannelData {
  /** Names the channel in errors. */
  readonly uri: string;
  readonly blocks: readonly RamShare[];
  readonly lane: LaneShare;
  readonly tally: SharedArrayBuffer;
  /** One packet counter for all channels. */
  readonly numbers: SharedArrayBuffer;
  readonly method: MultifdMethod;
  readonly level: number;
  readonly detectZero: boolean;
  readonly oldLayout: boolean;
  readonly slots: StateSlotsShare;
}

class SendChannel {
  readonly lane: LaneReader;
  readonly #packets: PacketWriter;
  readonly #slots: StateSlots;
  readonly #segments = new Segments(2);
  readonly #tally: Tally;
  /** Since the last SYNC. */
  #hasData = false;

  static async create(data: SendChannelData): Promise<SendChannel> {
    return new SendChannel(data, await pageCompressor(data.method, data.level));
  }

  private constructor(data: SendChannelData, compressor: PageCompressor) {
    this.lane = new LaneReader(data.lane);
    this.#tally = new Tally(data.tally);
    this.#slots = new StateSlots(data.slots);
    this.#packets = new PacketWriter({
      windows: data.blocks.map((share) => new RamWindow(share)),
      compressor,
      detectZero: data.detectZero,
      oldLayout: data.oldLayout,
      numbers: new Tally(data.numbers),
    });
  }

  packet(entry: Uint32Array): Segments {
    switch (entry[ENTRY.KIND]) {
      case ENTRY_KIND.SYNC:
        return this.#packets.sync();
      case ENTRY_KIND.STATE:
        return this.#slots.packet(entry[ENTRY.BLOCK]!, entry[ENTRY.COUNT]!, this.#segments);
      default:
        return this.#packets.pages(entry[ENTRY.BLOCK]!, entry.subarray(ENTRY.PAGES), entry[ENTRY.COUNT]!);
    }
  }

  /** The packet of `entry`, which had `bytes`, is out. */
  sent(entry: Uint32Array, bytes: number): void {
    this.#tally.add(SENT.BYTES, bytes);
    const isState = entry[ENTRY.KIND] === ENTRY_KIND.STATE;
    if (isState) this.#slots.release(entry[ENTRY.BLOCK]!);
    else this.#pagesSent();
    this.lane.release(isState); // its device waits for the slot
  }

  #pagesSent(): void {
    if (this.#packets.normalPages > 0) this.#hasData = true;
    else if (this.#packets.zeroPages === 0 && this.#hasData) {
      this.#tally.add(SENT.COPIED_SYNCS, 1);
      this.#hasData = false;
    }
    if (this.#packets.normalPages > 0) this.#tally.add(SENT.NORMAL_PAGES, this.#packets.normalPages);
    if (this.#packets.zeroPages > 0) this.#tally.add(SENT.ZERO_PAGES, this.#packets.zeroPages);
  }
}

/** Sends until the lane is closed, blocking this thread. Throws `transport/closed`. */
export async function sendBlocking(data: SendChannelData & { readonly fd: number }): Promise<void> {
  const channel = await SendChannel.create(data);
  let sent: number = MULTIFD_HELLO.size;
  for (;;) {
    const entry = channel.lane.take();
    if (entry === undefined) return;
    const packet = channel.packet(entry);
    const bytes = packet.byteLength;
    writeAll(data, packet, sent);
    sent += bytes;
    channel.sent(entry, bytes);
  }
}

/** As `sendBlocking`, over a channel of this thread. */
export async function sendInTurns(data: SendChannelData, sink: ByteSink): Promise<void> {
  const channel = await SendChannel.create(data);
  for (;;) {
    const entry = await channel.lane.takeLater();
    if (entry === undefined) return;
    const packet = channel.packet(entry);
    const bytes = packet.byteLength;
    await sink.writeBatch(packet);
    channel.sent(entry, bytes);
  }
}

/** `sent`: bytes of the connection before this packet. */
function writeAll({ fd, uri }: { fd: number; uri: string }, packet: Segments, sent: number): void {
  const end = sent + packet.byteLength;
  let index = 0;
  while (index < packet.entryCount) {
    const result = native?.writev(fd, packet.iovAddress + index * 16, packet.entryCount - index) ?? -ERRNO.EPIPE;
    if (result >= 0) index = packet.advance(index, result);
    else if (result !== -ERRNO.EINTR) {
      const why = result === -ERRNO.EPIPE ? 'Broken pipe' : `write failed with errno ${-result}`;
      throw new HarnessError('transport/closed', { uri, at: end - packet.byteLength, why });
    }
  }
}
