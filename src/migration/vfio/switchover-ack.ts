/**
 * Who may release a source from holding off switchover, counted (spec/vfio.md §3). Legacy mode: the destination counts its
 * devices and sends one ack. Re-usable mode: the source counts requests, the destination acks each one. Pure: no stream.
 */

import { HarnessError } from '../../base/errors.ts';

/** How acks are counted: as QEMU 8.1 to 11.0 does, or as 11.1 does. */
export type AckMode = 'legacy' | 'reusable';

/** How one side takes part in switchover-ack. */
export interface AckPolicy {
  readonly mode: AckMode;
  /** Whether the capability is on. */
  readonly isOn: boolean;
}

/** The source's account of acks. */
export class SourceAck {
  readonly mode: AckMode;
  readonly #isOn: boolean;
  /** Devices that have asked for an ack which has not come, in the order in which they asked. */
  readonly #waiting: string[] = [];
  /** Devices that asked and whose initial data has not all been sent. */
  readonly #sending = new Set<string>();
  #acks = 0;
  #decided = false;
  #changed = Promise.withResolvers<void>();

  constructor(policy: AckPolicy) {
    this.mode = policy.mode;
    this.#isOn = policy.isOn;
  }

  /**
   * How the destination does it, which only a Switchover tells. Throws `vfio/ack` where the source would wait for an ack that
   * never comes, or for another number of them than are sent.
   */
  compare(destination: AckPolicy): void {
    if (!this.#isOn) return;
    if (!destination.isOn) {
      throw ackError('the capability is on at the source and off at the destination: set it the same on both sides');
    }
    if (destination.mode === this.mode) return;
    const ours = `${this.mode} here, ${destination.mode} at the destination`;
    throw ackError(`acks are counted in different ways, ${ours}: set switchover-ack-legacy the same on both sides`);
  }

  /** Whether the capability is on. */
  get isOn(): boolean {
    return this.#isOn;
  }

  /** Whether nothing withholds switchover from a running guest. */
  get isGranted(): boolean {
    if (!this.#isOn) return true;
    return this.mode === 'legacy' ? this.#acks > 0 : this.#waiting.length === 0;
  }

  /** The devices that withhold the ack; in legacy mode the destination does not tell which of those it has not acked. */
  get withheldBy(): readonly string[] {
    return this.isGranted ? [] : [...this.#waiting];
  }

  /** How many have come. */
  get acks(): number {
    return this.#acks;
  }

  /** Resolves with the next ack. */
  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  /**
   * A device will send initial data (again): one more ack is needed. Throws `vfio/ack` after the decision to switch over:
   * the destination could not prepare in time any more.
   */
  request(device: string): void {
    if (!this.#isOn) return;
    if (this.#decided) throw ackError(`device '${device}' asked for a switchover-ack during switchover`);
    this.#waiting.push(device);
    this.#sending.add(device);
    if (this.mode === 'legacy' && this.#acks > 0) throw this.#tooEarly();
  }

  /** A device's initial data has all been sent. */
  sent(device: string): void {
    this.#sending.delete(device);
  }

  /** Switchover has been decided: nobody may ask for an ack from here on. */
  decide(): void {
    this.#decided = true;
  }

  /** An ack arrived. Returns the devices it releases. Throws `vfio/ack` for one that nobody asked for. */
  acked(): readonly string[] {
    if (!this.#isOn) return []; // an early ack of a destination that has the capability: harmless, as in QEMU
    this.#acks += 1;
    const released = this.mode === 'legacy' ? this.#legacyAck() : [this.#reusableAck()];
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
    return released;
  }

  #legacyAck(): readonly string[] {
    if (this.#acks > 1) throw ackError('a second switchover-ack arrived; in legacy mode there is one');
    if (this.#sending.size > 0) throw this.#tooEarly();
    return this.#waiting.splice(0);
  }

  #tooEarly(): HarnessError {
    const names = [...this.#sending].map((device) => `'${device}'`).join(', ');
    return ackError(
      `a switchover-ack arrived before the initial data of ${names} was sent: ` +
        'the destination has fewer devices with precopy, or another switchover-ack-legacy',
    );
  }

  #reusableAck(): string {
    const released = this.#waiting.find((device) => !this.#sending.has(device));
    if (released === undefined)
      throw ackError('Switchover ack pending num underflowed: an ack that no device asked for');
    this.#waiting.splice(this.#waiting.indexOf(released), 1);
    return released;
  }
}

/** The destination's account: when to send an ack. */
export class DestinationAck {
  readonly #mode: AckMode;
  readonly #isOn: boolean;
  readonly #waiting: Set<string>;
  readonly #heard = new Set<string>();

  /** `devices`: those that support precopy, by id. */
  constructor(options: { mode: AckMode; isOn: boolean; devices: readonly string[] }) {
    this.#mode = options.mode;
    this.#isOn = options.isOn;
    this.#waiting = new Set(options.devices);
  }

  /** The return path is open: true when an ack has to go out at once, because no device needs preparation. */
  opened(): boolean {
    return this.#isOn && this.#mode === 'legacy' && this.#waiting.size === 0;
  }

  /** INIT_DATA_SENT of a device arrived. Returns why it may not, if so. */
  initDataSent(device: string): string | undefined {
    if (!this.#isOn) return 'the switchover-ack capability is off here';
    if (!this.#waiting.has(device) && !this.#heard.has(device)) return 'the device has no precopy here';
    if (this.#mode === 'legacy' && this.#heard.has(device)) return 'the device has sent its initial data before';
    this.#heard.add(device);
    return undefined;
  }

  /** The device is ready: true when an ack has to go out now. */
  ready(device: string): boolean {
    if (this.#mode === 'reusable') return true;
    this.#waiting.delete(device);
    return this.#waiting.size === 0;
  }
}

function ackError(why: string): HarnessError {
  return new HarnessError('vfio/ack', { why });
}
