/** All devices of a machine: started, stopped and reset together, each with its section's identity. */

import { HarnessError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { type DeviceConfig, DeviceThread } from './device-thread.ts';
import type { RamShare } from './ram.ts';

/** A device with its name on the stream. */
export interface MachineDevice {
  readonly thread: DeviceThread;
  /** Section name, e.g. `serial`. */
  readonly idstr: string;
  /** Counts devices of the same idstr from 0. */
  readonly instanceId: number;
}

/** The devices of one machine, in the order of the command line. */
export class DeviceSet {
  readonly devices: readonly MachineDevice[];

  /** Starts all threads at once. Throws what the first failing device threw, after ending the others. */
  static async create(options: {
    configs: readonly DeviceConfig[];
    ram: RamShare;
    time: SharedArrayBuffer;
    log: Logger;
    deadlineMs?: number;
  }): Promise<DeviceSet> {
    const { configs, ...rest } = options;
    const outcomes = await Promise.allSettled(configs.map((config) => DeviceThread.start({ config, ...rest })));
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    const threads = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    if (failed === undefined) return new DeviceSet(threads);
    await Promise.all(threads.map((thread) => thread[Symbol.asyncDispose]()));
    throw failed.reason;
  }

  private constructor(threads: readonly DeviceThread[]) {
    const used = new Map<string, number>();
    this.devices = threads.map((thread) => {
      const idstr = thread.config.definition.state.name;
      const instanceId = used.get(idstr) ?? 0;
      used.set(idstr, instanceId + 1);
      return { thread, idstr, instanceId };
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
    return this.#all((thread) => thread.start());
  }

  /** The machine stops. Throws as `start` does. */
  stop(): Promise<void> {
    return this.#all((thread) => thread.stop());
  }

  /** Every device back to power-on. Throws as `start` does. */
  reset(): Promise<void> {
    return this.#all((thread) => thread.reset());
  }

  /** Ends all threads. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.devices.map(({ thread }) => thread[Symbol.asyncDispose]()));
  }

  async #all(ask: (thread: DeviceThread) => Promise<unknown>): Promise<void> {
    const outcomes = await Promise.allSettled(this.devices.map(({ thread }) => ask(thread)));
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }
}
