/**
 * Everything of a stream but RAM, on the source: the machine's own sections and its devices', in the order of spec/wire.md
 * §1.4, and the ledger's entries of what each took.
 */

import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { inStreamOrder, type SourceDevice } from './device-sections.ts';
import type { LedgerRecorder } from './ledger.ts';
import { describeSection, type FullSection, machineSections, type StreamFraming, type VmState } from './savevm.ts';
import type { ByteSink } from './transport/channel.ts';
import type { SourceAck } from './vfio/switchover-ack.ts';
import { type TransferOptions, transferRefusal } from './vfio/transfer-policy.ts';
import { VfioSave } from './vfio/vfio-save.ts';
import type { StateChannels } from './vfio/vfio-transfer.ts';

/** Devices' sections are numbered from here; the machine's own have QEMU's numbers, which are smaller. */
const FIRST_DEVICE_SECTION_ID = 4;
/** Payload of a VFIO section whose contents went over channels: a flag. */
const END_BYTES = 8;
/** What is around the state in a CONFIG record: two flags. */
const CONFIG_BYTES = 16;

type Saved = Awaited<ReturnType<SourceDevice['save']>> & { readonly savedMs: number };

interface SectionHeader {
  readonly id: number;
  readonly idstr: string;
  readonly instanceId: number;
  readonly version: number;
}

/** Saves the sections of one machine. */
export class SectionSaver {
  readonly #devices: readonly SourceDevice[];
  readonly #sink: ByteSink;
  readonly #framing: StreamFraming;
  readonly #ledger: LedgerRecorder;
  readonly #clock: Clock;
  readonly #vfio: readonly VfioSave[];
  /** What devices save of their ordinary state, by id. */
  readonly #saves = new Map<string, Promise<Saved>>();
  readonly #transfers: Promise<void>[] = [];

  constructor(deps: {
    ack: SourceAck;
    devices: readonly SourceDevice[];
    sink: ByteSink;
    framing: StreamFraming;
    ledger: LedgerRecorder;
    clock: Clock;
    options: TransferOptions;
    /** Channels that may carry device state; undefined without multifd. */
    stateChannels: StateChannels | undefined;
  }) {
    this.#devices = inStreamOrder(deps.devices);
    this.#sink = deps.sink;
    this.#framing = deps.framing;
    this.#ledger = deps.ledger;
    this.#clock = deps.clock;
    this.#vfio = this.#devices.flatMap((device, index) => {
      if (device.vfio === undefined) return [];
      const over = overChannels(device, index, deps);
      return [
        new VfioSave({ ...deps, ...device, port: device.vfio, sectionId: FIRST_DEVICE_SECTION_ID + index, over }),
      ];
    });
  }

  /** Devices whose state streams while the guest runs. */
  get vfio(): readonly VfioSave[] {
    return this.#vfio;
  }

  /** How long the wire took for what VFIO devices sent so far (ms). */
  get sendingMs(): number {
    return this.#vfio.reduce((sum, device) => sum + device.sendingMs, 0);
  }

  /** Bytes that VFIO devices are known to have for precopy; no question to them. */
  get pendingBytes(): number {
    return this.#vfio.reduce((sum, device) => sum + device.pendingBytes, 0);
  }

  /** Makes every device ready, and opens the sections of those that stream. */
  async setup(isRunning: boolean): Promise<void> {
    await Promise.all(this.#devices.map((device) => device.prepare()));
    for (const device of this.#vfio) await device.setup(isRunning);
  }

  /** Gives every device that streams its turn; resolves with the payload bytes sent. */
  async iterate(): Promise<number> {
    let sent = 0;
    for (const device of this.#vfio) sent += await device.iterate();
    return sent;
  }

  /** Asks every device; resolves with the bytes that are left for the time when the guest stands still. */
  async pendingExact(): Promise<number> {
    let bytes = 0;
    for (const device of this.#vfio) bytes += await device.pendingExact();
    return bytes;
  }

  /** The guest stands still: all devices save, each in its own thread, while other bytes are on their way. */
  startSaves(): void {
    for (const device of this.#devices) {
      const saving = this.#save(device);
      saving.catch(() => undefined); // reported by whoever sends it
      this.#saves.set(device.id, saving);
    }
  }

  /** The guest stands still and the destination knows: devices whose last data goes over multifd channels begin. */
  startTransfers(): void {
    for (const stream of this.#vfio) {
      if (!stream.isOverChannels) continue;
      const config = this.#saved(stream.id).then(({ bytes }) => bytes);
      config.catch(() => undefined); // the transfer looks at it, unless something fails before
      const transfer = stream.transfer(config);
      transfer.catch(() => undefined); // reported by complete
      this.#transfers.push(transfer);
    }
  }

  /** The END sections: what devices have left, the guest stands still. */
  async complete(): Promise<void> {
    for (const device of this.#vfio) {
      await this.#saved(device.id);
      await device.complete();
    }
    await Promise.all(this.#transfers);
  }

  /** However it ended: no saving session stays open. Resolves with what failed. */
  async cleanup(): Promise<unknown[]> {
    await Promise.allSettled(this.#transfers);
    const outcomes = await Promise.allSettled(this.#vfio.map((device) => device.cleanup()));
    return outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
  }

  /** The FULL sections of a stopped machine; their descriptions. Throws what a device that cannot be saved threw. */
  async full(state: VmState, options: { storeGlobalState: boolean }): Promise<object[]> {
    const [timer, ...others] = machineSections(options);
    const described: object[] = [];
    const own = async (section: FullSection) => {
      const startMs = this.#clock.nowMs();
      await this.#send({ ...section, id: section.sectionId }, section.save(state));
      this.#ledger.add('machine', 'save', startMs, this.#clock.nowMs());
      described.push(describeSection(section));
    };
    await own(timer!); // every machine has it
    await Promise.all(this.#saves.values());
    for (const [index, device] of this.#devices.entries()) {
      const { bytes, described: members, savedMs } = await this.#saved(device.id);
      const startMs = this.#clock.nowMs();
      const stream = this.#vfio.find(({ id }) => id === device.id);
      if (stream?.isOverChannels !== true) this.#ledger.add(device.id, 'queue', savedMs, startMs);
      if (stream === undefined) await this.#send({ ...device, id: FIRST_DEVICE_SECTION_ID + index }, bytes);
      else await stream.saveState(bytes);
      this.#ledger.add(device.id, 'wire', startMs, this.#clock.nowMs());
      described.push({
        name: device.idstr,
        instance_id: device.instanceId,
        ...(stream === undefined
          ? members
          : handWritten(stream.isOverChannels ? END_BYTES : CONFIG_BYTES + bytes.length)),
      });
    }
    for (const section of others) await own(section);
    await this.#sink.flush();
    for (const device of this.#vfio) await device.ended(); // before the stream says that all is well
    return described;
  }

  #saved(id: string): Promise<Saved> {
    const saving = this.#saves.get(id);
    assert(saving !== undefined, 'startSaves comes before');
    return saving;
  }

  async #save(device: SourceDevice): Promise<Saved> {
    const startMs = this.#clock.nowMs();
    const saved = await device.save();
    const savedMs = this.#clock.nowMs();
    this.#ledger.add(device.id, 'save', startMs, savedMs);
    return { ...saved, savedMs };
  }

  async #send(section: SectionHeader, payload: Uint8Array): Promise<void> {
    await this.#sink.write(this.#framing.sectionHeader('SECTION_FULL', section));
    await this.#sink.write(payload);
    await this.#sink.write(this.#framing.footer(section.id));
  }
}

/** The channels and number of a VFIO device whose last data goes over multifd; undefined for another. Throws `vfio/transfer`. */
function overChannels(
  device: SourceDevice,
  number: number,
  deps: { options: TransferOptions; stateChannels: StateChannels | undefined },
): { channels: StateChannels; device: number } | undefined {
  const isOver = transferRefusal(device, deps.options) === undefined;
  return isOver && deps.stateChannels !== undefined ? { channels: deps.stateChannels, device: number } : undefined;
}

/** Sections that no state description describes are one buffer in the vmdescription. */
function handWritten(size: number): object {
  return { size, fields: [{ name: 'data', size, type: 'buffer' }] };
}
