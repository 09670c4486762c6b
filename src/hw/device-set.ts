/**
 * All devices of a machine: started, stopped and reset together, each with its section's identity. VFIO devices stop in two
 * steps, so that none starts DMA to one that already stands (P2P quiesce, spec/vfio.md §2.2).
 */

import { HarnessError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { VfioState } from '../wire/vfio.ts';
import { type DeviceConfig, DeviceThread } from './device-thread.ts';
import type { RamShare } from './ram.ts';
import { ResourcePool } from './vfio/resource-pool.ts';
import type { VfioFeatures } from './vfio/states.ts';
import { type MigrationWishes, migrationWishes } from './vfio/vfio-properties.ts';
import { VfioClient } from './vfio/vfio-service.ts';

/** Longest time a VFIO request may take (ms): loading may allocate for many seconds. */
const VFIO_DEADLINE_MS = 60_000;
/** PCI slots 0 and 1 are a host bridge's and a display's, as in QEMU's machines. */
const FIRST_SLOT = 2;

/** Told of every state that a VFIO device with migration-events reaches. */
export type VfioStateListener = (id: string, state: VfioState) => void;

/** A VFIO device as run state and migration drive it. */
export interface MachineVfio {
  readonly client: VfioClient;
  readonly features: VfioFeatures;
  readonly wishes: MigrationWishes;
}

/** A device with its name on the stream. */
export interface MachineDevice {
  readonly thread: DeviceThread;
  /** Section name, e.g. `serial`, or `0000:00:02.0/vfio`. */
  readonly idstr: string;
  /** Counts devices of the same idstr from 0. */
  readonly instanceId: number;
  /** Undefined for a device without a VFIO driver. */
  readonly vfio: MachineVfio | undefined;
}

/** The devices of one machine, in the order of the command line. */
export class DeviceSet {
  readonly devices: readonly MachineDevice[];

  /** Starts all threads at once. Throws what the first failing device threw, after ending the others. */
  static async create(options: {
    configs: readonly DeviceConfig[];
    ram: RamShare;
    /** What all devices together may allocate (bytes). */
    resourceBytes: number;
    time: SharedArrayBuffer;
    log: Logger;
    deadlineMs?: number;
    onVfioState?: VfioStateListener;
  }): Promise<DeviceSet> {
    const { configs, resourceBytes, onVfioState = () => undefined, ...rest } = options;
    const { share } = new ResourcePool({ limitBytes: resourceBytes, deviceCount: configs.length });
    const outcomes = await Promise.allSettled(
      configs.map((config, index) => DeviceThread.start({ config, index, resources: share, ...rest })),
    );
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    const threads = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    try {
      if (failed !== undefined) throw failed.reason;
      const vfioDeadlineMs = rest.deadlineMs ?? VFIO_DEADLINE_MS;
      return new DeviceSet(
        threads,
        await Promise.all(threads.map((thread) => vfioOf(thread, vfioDeadlineMs, onVfioState))),
      );
    } catch (error) {
      await Promise.all(threads.map((thread) => thread[Symbol.asyncDispose]()));
      throw error;
    }
  }

  private constructor(threads: readonly DeviceThread[], drivers: readonly (MachineVfio | undefined)[]) {
    const used = new Map<string, number>();
    let slot = FIRST_SLOT;
    this.devices = threads.map((thread, index) => {
      const vfio = drivers[index];
      const idstr = vfio === undefined ? thread.config.definition.state.name : `${pciAddress(slot++)}/vfio`;
      const instanceId = used.get(idstr) ?? 0;
      used.set(idstr, instanceId + 1);
      return { thread, idstr, instanceId, vfio };
    });
  }

  /** The device with this id. Throws `device/unknown`. */
  byId(id: string): DeviceThread {
    const found = this.devices.find(({ thread }) => thread.id === id);
    if (found !== undefined) return found.thread;
    const known = this.devices.map(({ thread }) => thread.id);
    throw new HarnessError('device/unknown', { device: id, known });
  }

  /** The machine begins to run. Throws what the first device that cannot threw, once every device has answered. */
  start(): Promise<void> {
    return this.#all(async ({ thread, vfio }) => {
      // A device that cannot is reset, and then runs (spec/vfio.md §2.2); it is an error all the same.
      await inOrder([thread.start(), vfio?.client.setState('running', 'running')]);
    });
  }

  /**
   * The machine stops; VFIO devices that are in precopy go on to their last data (run states finish-migrate and paused).
   * Throws as `start` does.
   */
  async stop(): Promise<void> {
    await this.#all(async ({ vfio }) => {
      if (vfio?.features.p2p === true) await vfio.client.quiesce();
    });
    await this.#all(async ({ thread, vfio }) => {
      await inOrder([vfio?.client.halt(), thread.stop()]);
    });
  }

  /** Every device back to power-on. Throws as `start` does. */
  reset(): Promise<void> {
    return this.#all(async ({ thread, vfio }) => {
      await thread.reset();
      await vfio?.client.reset();
      if (!thread.running) await vfio?.client.setState('stop'); // a reset leaves it running
    });
  }

  /** Ends all threads. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.devices.map(({ thread }) => thread[Symbol.asyncDispose]()));
  }

  async #all(ask: (device: MachineDevice) => Promise<unknown>): Promise<void> {
    const outcomes = await Promise.allSettled(this.devices.map(ask));
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }
}

async function vfioOf(
  thread: DeviceThread,
  deadlineMs: number,
  onState: VfioStateListener,
): Promise<MachineVfio | undefined> {
  if (thread.config.definition.vfio !== true) return undefined;
  const wishes = migrationWishes(thread.config.properties);
  const client = new VfioClient(
    (kind, payload) => thread.request(kind, payload, { deadlineMs }),
    (state) => {
      if (wishes.events && state !== 'error') onState(thread.id, state); // QEMU's event has no such state
    },
  );
  await client.setState('stop'); // a new device runs, a new machine does not
  return { client, features: await client.features(), wishes };
}

/** Waits for requests that a device answers one after the other; they were made at once, as the guest waits for their end. */
async function inOrder(answers: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  await Promise.allSettled(answers);
  for (const answer of answers) await answer; // the first that failed is the cause of the others
}

function pciAddress(slot: number): string {
  return `0000:00:${slot.toString(16).padStart(2, '0')}.0`;
}
