/**
 * Loads one VFIO device from multifd packets, in their order, at its own pace (spec/vfio.md §2.6): from SWITCHOVER_START on it
 * fetches packet after packet, some ahead of the device; the last brings the device's ordinary state.
 */

import type { Clock } from '../../base/clock.ts';
import { VFIO_PACKET } from '../../wire/vfio.ts';
import type { LedgerRecorder } from '../ledger.ts';
import type { StatePacket } from '../multifd/state-packet-reader.ts';
import { bytesSource } from '../transport/bytes-source.ts';
import { StreamReader } from '../transport/stream-reader.ts';
import type { StateIntake } from './state-intake.ts';
import type { VfioLoad } from './vfio-load.ts';

/** Packets that the device's thread has at once, so that it need not wait for the next. */
const AHEAD = 3;

/** See the header. */
export class StateLoad {
  readonly #target: number;
  readonly #intake: StateIntake;
  readonly #load: Pick<VfioLoad, 'id' | 'take' | 'config'>;
  readonly #ledger: LedgerRecorder;
  readonly #clock: Clock;
  #work: Promise<void> | undefined;

  constructor(deps: {
    /** The device's number at the intake. */
    target: number;
    intake: StateIntake;
    load: Pick<VfioLoad, 'id' | 'take' | 'config'>;
    ledger: LedgerRecorder;
    clock: Clock;
  }) {
    this.#target = deps.target;
    this.#intake = deps.intake;
    this.#load = deps.load;
    this.#ledger = deps.ledger;
    this.#clock = deps.clock;
  }

  /** True from `start` on. */
  get isStarted(): boolean {
    return this.#work !== undefined;
  }

  /** Begins; does nothing the second time. What goes wrong is the intake's failure. */
  start(): void {
    this.#work ??= this.#run().catch((error: Error) => this.#intake.fail(error));
  }

  /** Resolves once the device has everything, or the intake has ended. */
  async ended(): Promise<void> {
    await this.#work;
  }

  async #run(): Promise<void> {
    const taking: Promise<void>[] = [];
    for (;;) {
      const sinceMs = this.#clock.nowMs();
      const packet = await this.#intake.fetch(this.#target);
      if (packet === undefined) return;
      this.#ledger.add(this.#load.id, 'wire', sinceMs, this.#clock.nowMs());
      if (packet.isConfig) {
        await Promise.all(taking);
        await this.#config(packet);
        return;
      }
      const taken = this.#load.take(packet.bytes).then(() => this.#intake.taken(packet));
      // At once: no other packet may come, in whose turn it would be looked at.
      taken.catch((error: Error) => this.#intake.fail(error));
      taking.push(taken);
      if (taking.length >= AHEAD) await taking.shift();
    }
  }

  async #config(packet: StatePacket): Promise<void> {
    const { at, section } = packet.place;
    const reader = new StreamReader(bytesSource(packet.bytes), { offset: at + VFIO_PACKET.size });
    reader.section = `state of '${this.#load.id}' on ${section}`;
    await this.#load.config(reader);
    this.#intake.taken(packet);
  }
}
