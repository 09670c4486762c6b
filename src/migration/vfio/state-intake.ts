/**
 * Where multifd channels deliver device state, and devices fetch theirs: a queue for each device, from before the first
 * packet until the last device is loaded. A channel that brought state may bring more once its device has room; so a slow
 * device slows channels down instead of filling memory.
 */

import type { Clock } from '../../base/clock.ts';
import { HarnessError } from '../../base/errors.ts';
import { giveBack } from '../../threads/shared-buffers.ts';
import { LIMITS } from '../../wire/limits.ts';
import type { DestinationDevice } from '../device-sections.ts';
import type { StatePacket, StateTarget } from '../multifd/state-packet-reader.ts';
import { StateQueue } from './state-queue.ts';
import { type TransferOptions, transferRefusal } from './transfer-policy.ts';

/** What every device may have waiting, however many there are (bytes). */
const LEAST_BYTES = 8 << 20;
/** What a packet takes besides its state, at most: a peer may send many that have next to none. */
const PACKET_BYTES = 4096;

/** A channel as the intake sees it. */
export interface StateChannel {
  /** It may bring one more packet. */
  readonly grant: () => void;
}

interface Intake {
  readonly id: string;
  readonly queue: StateQueue;
  /** Channels that may go on once there is room. */
  readonly held: { readonly channel: StateChannel; readonly packet: StatePacket }[];
  /** What waits or what the device is taking: memory (bytes), and packets. */
  bytes: number;
  loading: number;
  arrived: PromiseWithResolvers<void>;
}

/** See the header. */
export class StateIntake {
  /** All VFIO devices of the machine, as a channel's reader knows them. */
  readonly targets: readonly StateTarget[];
  readonly #devices: readonly Intake[];
  readonly #quotaBytes: number;
  readonly #mostBytes: number;
  readonly #channels = new Set<StateChannel>();
  readonly #failure = Promise.withResolvers<never>();
  /** Changes whenever a packet came or was taken. */
  #progress = 0;
  #error: Error | undefined;
  #started = false;
  #allSent = false;
  #ended = false;

  /** Throws `vfio/transfer`. */
  constructor(options: { devices: readonly DestinationDevice[]; options: TransferOptions }) {
    const devices = options.devices.filter(({ vfio }) => vfio !== undefined);
    this.targets = devices.map((device) => ({
      idstr: device.idstr,
      instanceId: device.instanceId,
      refusal: transferRefusal(device, options.options),
    }));
    this.#devices = devices.map(({ id, transfer }) => ({
      id,
      queue: new StateQueue({ device: id, maximumBytes: transfer?.maxQueuedBytes ?? Number.POSITIVE_INFINITY }),
      held: [],
      bytes: 0,
      loading: 0,
      arrived: Promise.withResolvers(),
    }));
    const count = this.targets.filter(({ refusal }) => refusal === undefined).length;
    this.#quotaBytes = Math.max(LEAST_BYTES, Math.floor(LIMITS.STATE_QUEUED_BYTES / Math.max(1, count)));
    this.#mostBytes = this.#quotaBytes * Math.max(1, count) + LIMITS.STATE_ENTANGLED_BYTES;
    this.#failure.promise.catch(() => undefined); // somebody may look later, or never
  }

  /** Rejects with what was wrong with a packet, or what a device failed with while it took one; never resolves. */
  get failure(): Promise<never> {
    return this.#failure.promise;
  }

  /** Whether a device's state comes over channels: the number by which it fetches. */
  targetOf(idstr: string, instanceId: number): number | undefined {
    const target = this.targets.findIndex((one) => one.idstr === idstr && one.instanceId === instanceId);
    return this.targets[target]?.refusal === undefined && target >= 0 ? target : undefined;
  }

  fail(error: Error): void {
    this.#error ??= error;
    this.#failure.reject(error);
    this.end();
  }

  /** Throws what it failed with. */
  check(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  /** Nobody waits any more. */
  end(): void {
    this.#ended = true;
    for (const device of this.#devices) device.arrived.resolve();
  }

  // ── channels ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** A channel that may bring packets. */
  join(channel: StateChannel): void {
    this.#channels.add(channel);
  }

  /** It will bring none any more. */
  leave(channel: StateChannel): void {
    this.#channels.delete(channel);
    this.#lookForGap();
  }

  /** Takes a packet of this channel; what is wrong with it is `failure`. */
  accept(channel: StateChannel, packet: StatePacket): void {
    const device = this.#devices[packet.target]!;
    try {
      device.queue.add(packet);
    } catch (error) {
      this.fail(error as Error); // the queue throws nothing else
      return;
    }
    this.#progress += 1;
    device.bytes += PACKET_BYTES + packet.bytes.length;
    device.arrived.resolve();
    if (device.bytes <= this.#quotaBytes) channel.grant();
    else device.held.push({ channel, packet });
    this.#lookForGap();
  }

  // ── devices ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Devices begin to fetch. */
  start(): void {
    this.#started = true;
  }

  /**
   * The main channel has come to its end. Rejects when what is missing can no more come, or does not come for so long (ms); never
   * resolves.
   */
  async stall(clock: Clock, signal: AbortSignal, stallMs: number = LIMITS.MULTIFD_STALL_MS): Promise<never> {
    this.#allSent = true;
    this.#lookForGap();
    for (;;) {
      const before = this.#progress;
      await clock.sleep(stallMs, signal);
      const isIdle = this.#devices.every(({ loading }) => loading === 0);
      if (!isIdle || this.#progress !== before) continue;
      throw new HarnessError('transport/timeout', { uri: 'multifd', what: this.#missing(), waitedMs: stallMs });
    }
  }

  /** The device's next packet, once it is there; undefined when everything has ended. */
  async fetch(target: number): Promise<StatePacket | undefined> {
    const device = this.#devices[target]!;
    for (;;) {
      if (this.#ended) return undefined;
      const packet = device.queue.take();
      if (packet !== undefined) {
        device.loading += 1;
        return packet;
      }
      device.arrived = Promise.withResolvers();
      this.#lookForGap();
      await device.arrived.promise;
    }
  }

  /** The device has taken a packet that it fetched. */
  taken(packet: StatePacket): void {
    const device = this.#devices[packet.target]!;
    this.#progress += 1;
    device.loading -= 1;
    device.bytes -= PACKET_BYTES + packet.bytes.length;
    giveBack(packet.bytes);
    while (device.held.length > 0 && device.bytes <= this.#quotaBytes) device.held.shift()?.channel.grant();
    this.#lookForGap();
  }

  #queuedBytes(): number {
    return this.#devices.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  #missing(): string {
    const device = this.#devices.find(({ queue }, target) => this.#isOn(target) && !queue.isComplete);
    return device === undefined ? 'devices to load' : this.#packetText(device);
  }

  #isOn(target: number): boolean {
    return this.targets[target]?.refusal === undefined;
  }

  #packetText({ id, queue }: Intake): string {
    return `packet ${queue.next} of the state of device '${id}'`;
  }

  /**
   * When every channel stands still, or is gone, and no device is taking anything, what is missing is behind a packet of another
   * device, or cannot come any more: those that stand still bring one more packet each, up to a limit.
   */
  #lookForGap(): void {
    if (this.#ended || !this.#started) return;
    const held = new Set(this.#devices.flatMap((device) => device.held.map(({ channel }) => channel)));
    if ([...this.#channels].some((channel) => !held.has(channel))) return;
    if (this.#devices.some(({ loading, queue }) => loading > 0 || queue.hasNext)) return;
    const gap = this.#devices.find(
      ({ queue }, target) => this.#isOn(target) && !queue.isComplete && (queue.bytes > 0 || this.#allSent),
    );
    if (gap === undefined) return;
    if (held.size > 0 && this.#queuedBytes() <= this.#mostBytes) {
      for (const channel of held) channel.grant();
      for (const device of this.#devices) device.held.length = 0;
      return;
    }
    const held1 = gap.held[0]?.packet;
    const { at, section } = held1?.place ?? { at: 0, section: 'multifd channels' };
    const expected = `${this.#packetText(gap)}, for which ${gap.queue.bytes} bytes wait`;
    const actual = held.size === 0 ? 'the end of all channels' : 'no channel that could still bring it';
    this.fail(new HarnessError('stream/bad-value', { at, section, field: 'device state', expected, actual }));
  }
}
