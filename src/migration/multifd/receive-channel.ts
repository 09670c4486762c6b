/**
 * What one receiving channel does: reads its packets into RAM, and stops at each SYNC until the main channel got there as
 * well. In a worker it blocks, on a socket of its own; without native calls it takes turns with everything else.
 */

import { HarnessError } from '../../base/errors.ts';
import type { RamWindows } from '../../hw/ram-window.ts';
import { Allowance } from '../../threads/allowance.ts';
import { ERRNO, native } from '../../threads/native.ts';
import { Rendezvous, type RendezvousShare } from '../../threads/rendezvous.ts';
import type { Segments } from '../../threads/segments.ts';
import { Tally } from '../../threads/tally.ts';
import type { ByteSource } from '../transport/channel.ts';
import { type MultifdMethod, type PageDecompressor, pageDecompressor } from './compression.ts';
import { PacketReader, type PacketStep, type PacketSteps } from './packet-reader.ts';
import type { StatePacket, StateTarget } from './state-packet-reader.ts';

/** Slot of a channel's tally. */
export const RECEIVED = { BYTES: 0, SLOTS: 1 } as const;

/** What a receiving channel is started with. */
export interface ReceiveChannelData {
  /** Names the channel in errors. */
  readonly name: string;
  readonly uri: string;
  readonly index: number;
  /** Names of those whose pages may come. */
  readonly blocks: readonly string[];
  readonly method: MultifdMethod;
  readonly rendezvous: RendezvousShare;
  /** Devices whose state may come. */
  readonly targets: readonly StateTarget[];
  /** For each packet of device state. */
  readonly allowance: SharedArrayBuffer;
  readonly tally: SharedArrayBuffer;
  /** Bytes that were read together with the greeting. */
  readonly rest: Uint8Array;
}

/** What both drivers share: the reader, and the few bytes that came with the greeting. */
class ReceiveChannel implements Disposable {
  readonly steps: PacketSteps;
  readonly rendezvous: Rendezvous;
  readonly allowance: Allowance;
  readonly #decompressor: PageDecompressor | undefined;
  readonly #tally: Tally;
  #rest: Uint8Array;

  static async create(data: ReceiveChannelData, ram: RamWindows): Promise<ReceiveChannel> {
    return new ReceiveChannel(data, ram, await pageDecompressor(data.method));
  }

  private constructor(data: ReceiveChannelData, ram: RamWindows, decompressor: PageDecompressor | undefined) {
    const windows = ram.named(data.blocks);
    const { name, method, targets } = data;
    this.steps = new PacketReader({ name, windows, method, decompressor, targets }).steps();
    this.rendezvous = new Rendezvous(data.rendezvous);
    this.allowance = new Allowance(data.allowance);
    this.#decompressor = decompressor;
    this.#tally = new Tally(data.tally);
    this.#rest = data.rest;
  }

  /** Moves what was read before into `into`; returns how many bytes. */
  takeRest(into: Segments): number {
    let moved = 0;
    for (let index = 0; index < into.entryCount && this.#rest.length > 0; index++) {
      const target = into.view(index);
      const piece = this.#rest.subarray(0, target.length);
      target.set(piece);
      moved += piece.length;
      this.#rest = this.#rest.subarray(piece.length);
    }
    return moved;
  }

  counted(bytes: number): number {
    this.#tally.add(RECEIVED.BYTES, bytes);
    return bytes;
  }

  [Symbol.dispose](): void {
    this.#decompressor?.close();
  }
}

/**
 * Receives until the connection ends between two packets, blocking this thread; `onState` gets packets of device state. Throws
 * `stream/…` and `transport/closed`.
 */
export async function receiveBlocking(
  data: ReceiveChannelData & { readonly fd: number },
  ram: RamWindows,
  onState: (packet: StatePacket) => void,
): Promise<void> {
  using channel = await ReceiveChannel.create(data, ram);
  let step = channel.steps.next();
  while (step.done !== true) step = channel.steps.next(answer(step.value));
  channel.rendezvous.leave(data.index);

  function answer(wish: PacketStep): number {
    switch (wish.kind) {
      case 'read': {
        const rest = channel.takeRest(wish.into);
        return channel.counted(readAll(data, wish, rest));
      }
      case 'sync':
        return channel.rendezvous.arrive(data.index) ? 1 : 0;
      case 'room':
        return channel.allowance.take() ? 1 : 0;
      case 'state':
        onState(wish.packet);
        return 1;
      default:
        return wish satisfies never;
    }
  }
}

/** As `receiveBlocking`, over a channel of this thread. */
export async function receiveInTurns(
  data: ReceiveChannelData,
  ram: RamWindows,
  source: ByteSource,
  onState: (packet: StatePacket) => void,
): Promise<void> {
  using channel = await ReceiveChannel.create(data, ram);
  const surplus = new SmallReads(source);
  let step = channel.steps.next();
  while (step.done !== true) step = channel.steps.next(await answer(step.value));
  channel.rendezvous.leave(data.index);

  async function answer(wish: PacketStep): Promise<number> {
    switch (wish.kind) {
      case 'read': {
        const rest = channel.takeRest(wish.into);
        return channel.counted(await surplus.fill(wish, rest));
      }
      case 'sync':
        return (await channel.rendezvous.arriveLater(data.index)) ? 1 : 0;
      case 'room':
        return (await channel.allowance.takeLater()) ? 1 : 0;
      case 'state':
        onState(wish.packet);
        return 1;
      default:
        return wish satisfies never;
    }
  }
}

/** What is to be read: `atLeast` bytes, and what else there is room for if it is there. */
type ReadWish = Extract<PacketStep, { kind: 'read' }>;

function readAll({ fd, uri }: { fd: number; uri: string }, { into, atLeast }: ReadWish, already: number): number {
  let index = into.advance(0, already);
  let got = already;
  while (got < atLeast) {
    const result = native?.readv(fd, into.iovAddress + index * 16, into.entryCount - index) ?? 0;
    if (result === 0) return got;
    if (result > 0) {
      got += result;
      if (got < atLeast) index = into.advance(index, result);
    } else if (result !== -ERRNO.EINTR) {
      throw new HarnessError('transport/closed', { uri, at: got, why: `read failed with errno ${-result}` });
    }
  }
  return got;
}

/** A source's reads may bring more than was asked for here (see ByteSource); what is too much waits for the next. */
class SmallReads {
  readonly #source: ByteSource;
  readonly #buffer = new Uint8Array(65_536);
  #have: Uint8Array = new Uint8Array(0);

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Fills `into` behind the first `already` bytes; returns what is filled, less than `atLeast` only at the end. */
  async fill({ into, atLeast }: ReadWish, already: number): Promise<number> {
    let index = into.advance(0, already);
    let got = already;
    while (index < into.entryCount && (got < atLeast || this.#have.length > 0)) {
      if (this.#have.length === 0) {
        const count = await this.#source.read(this.#buffer);
        if (count === 0) return got;
        this.#have = this.#buffer.subarray(0, count);
      }
      const target = into.view(index);
      const piece = this.#have.subarray(0, target.length);
      target.set(piece);
      this.#have = this.#have.subarray(piece.length);
      index = into.advance(index, piece.length);
      got += piece.length;
    }
    return got;
  }
}
