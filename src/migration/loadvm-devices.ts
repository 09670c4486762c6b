/**
 * Devices' sections on the destination: cuts each state out of the stream and hands it to its device, which loads in its own
 * thread while the stream goes on. Devices of a lower priority wait for those above (spec/wire.md §9.7).
 */

import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { type DestinationDevice, readState } from './device-sections.ts';
import type { LedgerRecorder } from './ledger.ts';
import type { CommandLoader } from './loadvm-commands.ts';
import type { ReturnPathWriter } from './return-path.ts';
import type { StreamReader } from './transport/stream-reader.ts';
import type { StateIntake } from './vfio/state-intake.ts';
import { StateLoad } from './vfio/state-load.ts';
import { type AckPolicy, DestinationAck } from './vfio/switchover-ack.ts';
import { VfioLoad } from './vfio/vfio-load.ts';

/** The source is told again of a device's rate when it is off by more than this. */
const TELLING_SHARE = 0.1;

/** Loads the devices of one machine. */
export class DeviceLoader {
  readonly #devices: readonly DestinationDevice[];
  readonly #seen = new Set<DestinationDevice>();
  #loading: Promise<void>[] = [];
  #priority = Number.POSITIVE_INFINITY;

  readonly #ledger: LedgerRecorder;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #vfio: ReadonlyMap<string, VfioLoad>;
  readonly #intake: StateIntake;
  /** Of the devices whose last data comes over multifd channels. */
  readonly #stateLoads: readonly StateLoad[];
  readonly #ack: DestinationAck;
  readonly #commands: Pick<CommandLoader, 'returnPath' | 'peer'>;
  /** What readiness or its ack failed with; the stream is told at its next element. */
  #failure: Error | undefined;

  constructor(deps: {
    devices: readonly DestinationDevice[];
    ledger: LedgerRecorder;
    clock: Clock;
    log: Logger;
    ack: AckPolicy;
    commands: Pick<CommandLoader, 'returnPath' | 'peer'>;
    intake: StateIntake;
  }) {
    this.#devices = deps.devices;
    this.#ledger = deps.ledger;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#commands = deps.commands;
    const streaming = deps.devices.filter((device) => device.vfio !== undefined);
    this.#intake = deps.intake;
    this.#vfio = new Map(streaming.map((device) => [device.id, this.#vfioLoad(device)]));
    this.#stateLoads = streaming.flatMap(({ id, idstr, instanceId }) => {
      const target = deps.intake.targetOf(idstr, instanceId);
      const load = this.#vfio.get(id);
      return target === undefined || load === undefined ? [] : [new StateLoad({ ...deps, target, load })];
    });
    const waiting = streaming.filter(({ vfio }) => vfio?.features.precopy === true).map(({ id }) => id);
    this.#ack = new DestinationAck({ ...deps.ack, devices: waiting });
  }

  /** Before the stream: devices that stream take state from now on. */
  async setup(): Promise<void> {
    await Promise.all([...this.#vfio.values()].map((device) => device.setup()));
  }

  /** The source has opened the return path: acknowledges at once where no device needs preparation. */
  async returnPathOpened(returnPath: ReturnPathWriter): Promise<void> {
    if (this.#ack.opened()) await returnPath.send('SWITCHOVER_ACK');
  }

  /** The source has stopped its guest. */
  switchover(): void {
    for (const device of this.#vfio.values()) device.switchover();
    this.#intake.start();
    for (const load of this.#stateLoads) load.start();
  }

  /** After a load that failed: no resuming session stays open. */
  async cleanup(): Promise<void> {
    this.#intake.end();
    await Promise.all(this.#stateLoads.map((load) => load.ended()));
    const outcomes = await Promise.allSettled([...this.#vfio.values()].map((device) => device.cleanup()));
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') this.#log.warn({ err: outcome.reason }, 'a device did not end its loading');
    }
  }

  /** Between two elements: throws what a device failed with behind the stream's back. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Whether a device's last data comes over multifd channels. */
  isOverChannels({ idstr, instanceId }: DestinationDevice): boolean {
    return this.#intake.targetOf(idstr, instanceId) !== undefined;
  }

  /** The section of a device that streams. */
  async stream(reader: StreamReader, device: DestinationDevice): Promise<void> {
    const load = this.#vfio.get(device.id);
    await load?.load(reader);
    if (load?.rateIsNews(TELLING_SHARE) === true) await this.#tell(device, load);
  }

  /** The source asks how far the devices are that it has heard of. */
  async tellBacklog(): Promise<void> {
    for (const device of this.#devices) {
      const load = this.#vfio.get(device.id);
      if (load?.isKnown === true) await this.#tell(device, load);
    }
  }

  /** The device that owns a section. */
  find(idstr: string, instanceId: number): DestinationDevice | undefined {
    return this.#devices.find((device) => device.idstr === idstr && device.instanceId === instanceId);
  }

  /** Their sections, for errors. */
  names(): string[] {
    return this.#devices.map((device) => `'${device.idstr}' instance ${device.instanceId}`);
  }

  /** Reads the payload of a device's FULL section and starts its load. Throws for a second section of the same device. */
  async load(reader: StreamReader, device: DestinationDevice, version: number): Promise<void> {
    const { offset } = reader;
    if (this.#seen.has(device)) {
      const expected = `one section of device '${device.id}'`;
      throw reader.bad({ at: offset, field: 'section', expected, actual: 'a second' });
    }
    this.#seen.add(device);
    await this.#loadState(reader, device, version);
  }

  async #loadState(reader: StreamReader, device: DestinationDevice, version: number): Promise<void> {
    if (device.priority < this.#priority) await this.#settle();
    this.#priority = device.priority;
    await this.#cutState(reader, device, version);
  }

  async #cutState(reader: StreamReader, device: DestinationDevice, version: number): Promise<void> {
    const { section, offset } = reader;
    const place = { version, offset, section };
    const bytes = await readState(reader, device, place);
    const arrivedMs = this.#clock.nowMs();
    const loading = device.load({ ...place, bytes }).then(() => {
      this.#ledger.add(device.id, 'load', arrivedMs, this.#clock.nowMs());
    });
    loading.catch(() => undefined); // reported by #settle
    this.#loading.push(loading);
  }

  /** After EOF: waits for every device. Throws the first one's error, or for a device that got no state. */
  async finish(reader: StreamReader): Promise<void> {
    await this.#overChannels(reader);
    const finishing = [...this.#vfio.values()].map((device) => device.finish());
    for (const end of finishing) end.catch(() => undefined); // what a load threw comes first
    await this.#settle();
    await Promise.all(finishing);
    const missing = this.#devices.filter((device) => !this.#seen.has(device));
    if (missing.length === 0) return;
    throw reader.bad({
      at: reader.offset,
      field: 'sections of devices',
      expected: missing.map((device) => `'${device.idstr}' instance ${device.instanceId}`).join(', '),
      actual: 'EOF',
      hint: `this machine has ${missing.map((device) => `device '${device.id}'`).join(', ')}, which the source has not`,
    });
  }

  /** Waits for devices whose last data comes over channels. */
  async #overChannels(reader: StreamReader): Promise<void> {
    if (this.#stateLoads.length === 0) return;
    if (this.#stateLoads.some((load) => !load.isStarted)) {
      const expected = 'SWITCHOVER_START before it, for the devices whose state comes over multifd channels';
      throw reader.bad({ at: reader.offset, field: 'EOF', expected, actual: 'none' });
    }
    const gone = new AbortController();
    try {
      await Promise.race([
        Promise.all(this.#stateLoads.map((load) => load.ended())),
        this.#intake.failure,
        this.#intake.stall(this.#clock, gone.signal),
      ]);
    } finally {
      gone.abort();
    }
    this.#intake.check();
  }

  #vfioLoad(device: DestinationDevice): VfioLoad {
    const { id, vfio } = device;
    const isOverChannels = this.isOverChannels(device);
    assert(vfio !== undefined, 'only devices with a VFIO driver stream');
    const load: VfioLoad = new VfioLoad({
      id,
      port: vfio,
      clock: this.#clock,
      ledger: this.#ledger,
      loadConfig: async (reader) => {
        this.#seen.add(device);
        // From a channel it is loaded when it comes, whatever the main channel has got to; as in QEMU.
        if (isOverChannels) await this.#cutState(reader, device, device.stateVersion);
        else await this.#loadState(reader, device, device.stateVersion);
      },
      onInitDataSent: ({ reader, at }) => {
        const why = this.#ack.initDataSent(id);
        if (why !== undefined) {
          const expected = `no DEV_INIT_DATA_SENT: ${why}`;
          const hint = 'set switchover-ack, and devices with precopy, the same on both sides';
          throw reader.bad({ at, field: 'VFIO flag', expected, actual: 'one', hint });
        }
        void this.#whenReady(device, load).catch((error: Error) => this.#fail(error));
      },
      onFailure: (error) => this.#fail(error),
      isOverChannels,
    });
    return load;
  }

  #fail(error: Error): void {
    this.#failure ??= error;
  }

  /** Tells the source once the device has prepared everything. */
  async #whenReady(device: DestinationDevice, load: VfioLoad): Promise<void> {
    await load.ready();
    this.#log.info({ device: device.id, preparationMs: load.preparationMs }, 'device ready');
    await this.#tell(device, load);
    if (this.#ack.ready(device.id)) await this.#commands.returnPath?.send('SWITCHOVER_ACK');
  }

  /** Tells a Switchover at the other end how fast the device takes its data, and what it has yet to take. */
  async #tell({ idstr, instanceId }: DestinationDevice, load: VfioLoad): Promise<void> {
    const { preparationMs, aheadBytes } = load;
    const loadBytesPerSecond = load.tellRate();
    const device = { idstr, instanceId, ready: true, preparationMs, loadBytesPerSecond, aheadBytes };
    await this.#commands.peer?.readiness(device);
  }

  async #settle(): Promise<void> {
    const loading = this.#loading;
    this.#loading = [];
    await Promise.all(loading);
  }
}
