/**
 * What one sending channel does: takes entries from its lane, makes packets of each, and writes them. In a worker it
 * blocks, on a socket of its own; without native calls it takes turns with everything else in the main thread.
 */

import { HarnessError } from '../../base/errors.ts';
import type { RamWindows } from '../../hw/ram-window.ts';
import { LaneReader, type LaneShare } from '../../threads/lane.ts';
import { ERRNO, IOV_MAX, native } from '../../threads/native.ts';
import { advanceEntries, type GatherList, Segments } from '../../threads/segments.ts';
import { Tally } from '../../threads/tally.ts';
import { MULTIFD_HELLO } from '../../wire/multifd.ts';
import type { ByteSink } from '../transport/channel.ts';
import { type MultifdMethod, type PageCompressor, pageCompressor } from './compression.ts';
import { BATCH_PAGES } from './packet-batch.ts';
import { PacketWriter } from './packet-writer.ts';
import { StateSlots, type StateSlotsShare } from './state-slots.ts';

/** Words of a lane's entry: kind, block, number of pages, then those of a few packets. */
export const ENTRY = { KIND: 0, BLOCK: 1, COUNT: 2, PAGES: 3, WORDS: 3 + BATCH_PAGES } as const;
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
  /** Names, in the order in which entries number them. */
  readonly blocks: readonly string[];
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

class SendChannel implements Disposable {
  readonly lane: LaneReader;
  readonly #packets: PacketWriter;
  readonly #compressor: PageCompressor | undefined;
  readonly #slots: StateSlots;
  readonly #segments = new Segments(2);
  readonly #tally: Tally;
  /** Of the entry that was begun. */
  #kind = 0;
  /** The one packet of an entry that is not pages, until it was given. */
  #single: GatherList | undefined;
  /** Since the last SYNC. */
  #hasData = false;

  static async create(data: SendChannelData, ram: RamWindows): Promise<SendChannel> {
    return new SendChannel(data, ram, await pageCompressor(data.method, data.level));
  }

  private constructor(data: SendChannelData, ram: RamWindows, compressor: PageCompressor | undefined) {
    this.#compressor = compressor;
    this.lane = new LaneReader(data.lane);
    this.#tally = new Tally(data.tally);
    this.#slots = new StateSlots(data.slots);
    this.#packets = new PacketWriter({
      windows: ram.named(data.blocks),
      compressor,
      detectZero: data.detectZero,
      oldLayout: data.oldLayout,
      numbers: new Tally(data.numbers),
    });
  }

  /** Begins with an entry: `next` gives what is to be written for it. */
  begin(entry: Uint32Array): void {
    this.#kind = entry[ENTRY.KIND]!;
    if (this.#kind === ENTRY_KIND.PAGES) {
      this.#packets.begin(entry[ENTRY.BLOCK]!, entry.subarray(ENTRY.PAGES), entry[ENTRY.COUNT]!);
    } else this.#single = this.#singlePacket(entry);
  }

  /** What is to be written next, valid until the next call; undefined when all of the entry has been given. */
  next(): GatherList | undefined {
    if (this.#kind === ENTRY_KIND.PAGES) return this.#packets.next();
    const single = this.#single;
    this.#single = undefined;
    return single;
  }

  /** What `next` gave last, so many bytes, is out. */
  sent(bytes: number): void {
    this.#tally.add(SENT.BYTES, bytes);
    if (this.#kind === ENTRY_KIND.PAGES) this.#pagesSent(this.#packets.normalPages, this.#packets.zeroPages);
    else if (this.#kind === ENTRY_KIND.SYNC && this.#hasData) {
      this.#tally.add(SENT.COPIED_SYNCS, 1);
      this.#hasData = false;
    }
  }

  /** All of the entry is out. */
  release(entry: Uint32Array): void {
    if (this.#kind === ENTRY_KIND.STATE) this.#slots.release(entry[ENTRY.BLOCK]!);
    // Somebody waits for it: a device for its slot, and for every SYNC the main channel, before which the destination reads nothing here.
    this.lane.release(this.#kind !== ENTRY_KIND.PAGES);
  }

  [Symbol.dispose](): void {
    this.#compressor?.close();
  }

  #singlePacket(entry: Uint32Array): GatherList {
    return this.#kind === ENTRY_KIND.SYNC
      ? this.#packets.sync()
      : this.#slots.packet(entry[ENTRY.BLOCK]!, entry[ENTRY.COUNT]!, this.#segments);
  }

  #pagesSent(normalPages: number, zeroPages: number): void {
    if (normalPages > 0) {
      this.#hasData = true;
      this.#tally.add(SENT.NORMAL_PAGES, normalPages);
    }
    if (zeroPages > 0) this.#tally.add(SENT.ZERO_PAGES, zeroPages);
  }
}

/** Sends until the lane is closed, blocking this thread. Throws `transport/closed`. */
export async function sendBlocking(data: SendChannelData & { readonly fd: number }, ram: RamWindows): Promise<void> {
  using channel = await SendChannel.create(data, ram);
  let sent: number = MULTIFD_HELLO.size;
  for (let entry = channel.lane.take(); entry !== undefined; entry = channel.lane.take()) {
    channel.begin(entry);
    for (let batch = channel.next(); batch !== undefined; batch = channel.next()) {
      const bytes = batch.byteLength;
      writeAll(data, batch, sent);
      sent += bytes;
      channel.sent(bytes);
    }
    channel.release(entry);
  }
}

/** As `sendBlocking`, over a channel of this thread. */
export async function sendInTurns(data: SendChannelData, ram: RamWindows, sink: ByteSink): Promise<void> {
  using channel = await SendChannel.create(data, ram);
  for (let entry = await channel.lane.takeLater(); entry !== undefined; entry = await channel.lane.takeLater()) {
    channel.begin(entry);
    for (let batch = channel.next(); batch !== undefined; batch = channel.next()) {
      const bytes = batch.byteLength;
      await sink.writeBatch(batch);
      channel.sent(bytes);
    }
    channel.release(entry);
  }
}

/** `sent`: bytes of the connection before this batch. */
function writeAll({ fd, uri }: { fd: number; uri: string }, batch: GatherList, sent: number): void {
  let index = 0;
  let left = batch.byteLength;
  while (left > 0) {
    const entries = Math.min(IOV_MAX, batch.entryCount - index);
    const result = native?.writev(fd, batch.iovAddress + index * 16, entries) ?? -ERRNO.EPIPE;
    if (result === left) return;
    if (result >= 0) {
      left -= result;
      index = advanceEntries(batch.entries, index, result);
    } else if (result !== -ERRNO.EINTR) {
      const why = result === -ERRNO.EPIPE ? 'Broken pipe' : `write failed with errno ${-result}`;
      throw new HarnessError('transport/closed', { uri, at: sent + batch.byteLength - left, why });
    }
  }
}
