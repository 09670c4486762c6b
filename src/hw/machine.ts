/** The virtual hardware: RAM, devices, vCPUs that run scripted guests, and the virtual clock that runs while they do. */

import { closeSync, fstatSync, openSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { HarnessError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { DeviceSet, type MachineDevice, type VfioStateListener } from './device-set.ts';
import type { DeviceConfig, DeviceThread } from './device-thread.ts';
import { checkGuest } from './guest/guest-check.ts';
import { type GuestOptions, guestRegion } from './guest/guest-options.ts';
import type { GuestCheck } from './guest/guest-program.ts';
import { Vcpu, type VcpuStats } from './guest/vcpu.ts';
import { RamBlock } from './ram.ts';
import type { RamFile } from './ram-file.ts';
import { startScout } from './ram-scout.ts';
import { DEFAULT_RESOURCE_BYTES } from './vfio/resource-pool.ts';
import { SharedTime } from './virtual-time.ts';

/** A file that is loaded into RAM before the guest starts (`-device loader,force-raw=on`). */
export interface RamLoaderOption {
  readonly file: string;
  /** Guest-physical address (bytes). */
  readonly address: number;
}

/** How a machine is built. */
export interface MachineConfig {
  readonly ramBlockName: string;
  readonly ramBytes: number;
  /** What RAM is in; absent for anonymous memory. */
  readonly ramFile?: RamFile | undefined;
  readonly guests: readonly GuestOptions[];
  readonly loaders: readonly RamLoaderOption[];
  readonly devices: readonly DeviceConfig[];
  readonly log: Logger;
  /** What devices may allocate for state that arrives (bytes); default DEFAULT_RESOURCE_BYTES. */
  readonly resourceBytes?: number;
  /** Longest time a device may take to answer (ms); default DEVICE_DEADLINE_MS. */
  readonly deviceDeadlineMs?: number;
  /** Told when a vCPU's thread dies by itself. */
  readonly onVcpuFailure: (error: Error) => void;
  readonly onVfioState: VfioStateListener;
}

/** One machine; created stopped. */
export class Machine {
  readonly ram: RamBlock;
  readonly guests: readonly GuestOptions[];
  readonly #time = new SharedTime();
  readonly #vcpus: Promise<readonly Vcpu[]>;
  /** The same once they are there. */
  #started: readonly Vcpu[] = [];
  /** Pages per second by vCPU. */
  readonly #limits = new Map<number, number>();
  readonly #devices: Promise<DeviceSet>;
  #scout: ReturnType<typeof startScout> | undefined;

  /**
   * Throws `option/bad-value` for a guest region or a loader file that does not fit into RAM or cannot be read, and what
   * `RamBlock.create` throws.
   */
  constructor(config: MachineConfig) {
    for (const guest of config.guests) guestRegion(guest, config.ramBytes);
    this.ram = RamBlock.create({ name: config.ramBlockName, length: config.ramBytes, file: config.ramFile });
    for (const loader of config.loaders) this.#load(loader);
    this.guests = config.guests;
    const { ram } = this;
    const start = (guest: GuestOptions) => Vcpu.create({ ram: ram.share, guest, onFailure: config.onVcpuFailure });
    this.#vcpus = Promise.all(config.guests.map(start));
    this.#vcpus.then((vcpus) => this.#vcpusStarted(vcpus), config.onVcpuFailure); // also reported by the first start
    this.#devices = DeviceSet.create({
      configs: config.devices,
      ram: ram.share,
      resourceBytes: config.resourceBytes ?? DEFAULT_RESOURCE_BYTES,
      time: this.#time.share,
      log: config.log,
      onVfioState: config.onVfioState,
      ...(config.deviceDeadlineMs === undefined ? {} : { deadlineMs: config.deviceDeadlineMs }),
    });
    this.#devices.catch(() => undefined); // reported by everybody who asks for them
  }

  /**
   * Starts a thread that looks for zero pages ahead of a migration, on a machine that has a second CPU for it. Throws what
   * keeps the thread from starting.
   */
  async scoutRam(): Promise<void> {
    if (availableParallelism() < 2) return;
    this.#scout ??= startScout({
      ram: this.ram.share,
      onEnd: () => {
        this.ram.scout = undefined;
      },
    });
    this.ram.scout = (await this.#scout).scout;
  }

  /** The devices, once all of them are there. Throws what kept one from being created. */
  async devices(): Promise<readonly MachineDevice[]> {
    return (await this.#devices).devices;
  }

  /** The device with this id. Throws `device/unknown`. */
  async device(id: string): Promise<DeviceThread> {
    return (await this.#devices).byId(id);
  }

  /** The system's numbers of the vCPUs' threads. Throws what kept one from starting. */
  async vcpuThreadIds(): Promise<number[]> {
    return (await this.#vcpus).map((vcpu) => vcpu.systemThreadId);
  }

  /** True between `start` and `stop`. */
  get running(): boolean {
    return this.#time.running;
  }

  /** Lets every device and every vCPU run. Throws `device/failed` when a device cannot; the machine is then stopped. */
  async start(): Promise<void> {
    const [vcpus, devices] = await Promise.all([this.#vcpus, this.#devices]);
    this.#time.start();
    try {
      await devices.start();
    } catch (error) {
      await devices.stop().catch(() => undefined); // the first failure is the one to tell
      this.#time.stop();
      throw error;
    }
    for (const vcpu of vcpus) vcpu.start();
  }

  /**
   * Lets a machine go on that was stopped for a migration which failed: the vCPUs run whatever becomes of the devices.
   * Resolves with the error of a device that does not run.
   */
  async goOn(): Promise<Error | undefined> {
    const [vcpus, devices] = await Promise.all([this.#vcpus, this.#devices]);
    this.#time.start();
    const failed = await devices.start().then(
      () => undefined,
      (error: Error) => error,
    );
    for (const vcpu of vcpus) vcpu.start();
    return failed;
  }

  /**
   * Stops every vCPU and every device: after it resolves not one byte of RAM changes. VFIO devices that are being
   * saved go on with that. Throws `thread/timeout`, `thread/failed` or `device/failed`.
   */
  async stop(): Promise<void> {
    const [vcpus, devices] = await Promise.all([this.#vcpus, this.#devices]);
    await Promise.all(vcpus.map((vcpu) => vcpu.stop()));
    await devices.stop();
    this.#time.stop();
  }

  /** Takes `percent` (0…99) of every vCPU's time away; 0 gives it back. */
  async throttle(percent: number): Promise<void> {
    for (const vcpu of await this.#vcpus) vcpu.throttle(percent);
  }

  /** Lets a vCPU write at most so many pages in a second; 0 = as many as it likes. */
  limitVcpu(index: number, pagesPerSecond: number): void {
    this.#limits.set(index, pagesPerSecond);
    this.#started[index]?.limit(pagesPerSecond);
  }

  /** What each vCPU did so far. */
  vcpuStats(): readonly VcpuStats[] {
    return this.#started.map((vcpu) => vcpu.stats());
  }

  #vcpusStarted(vcpus: readonly Vcpu[]): void {
    this.#started = vcpus;
    for (const [index, limit] of this.#limits) vcpus[index]?.limit(limit);
  }

  /** Every device back to power-on. */
  async reset(): Promise<void> {
    await (await this.#devices).reset();
  }

  /** The virtual clock (ns): how long the guest has run. */
  get virtualNs(): bigint {
    return this.#time.nowNs();
  }

  /** Adopts a clock that arrived with a migration; the machine must be stopped. */
  setVirtualNs(ns: bigint): void {
    this.#time.set(ns);
  }

  /** Whether each guest's RAM is as that guest must have left it. The machine must be stopped. */
  checkGuests(): readonly (GuestCheck & { readonly id: string })[] {
    return this.guests.map((guest) => ({ id: guest.id, ...checkGuest(guest, this.ram.bytes) }));
  }

  /** A copy of guest-physical memory. Throws `ram/out-of-range`. */
  readPhysical(address: number, length: number): Uint8Array {
    const { ram } = this;
    if (address < 0 || length < 0 || address + length > ram.length) {
      throw new HarnessError('ram/out-of-range', {
        ramBlock: ram.name,
        offset: address,
        length,
        blockLength: ram.length,
      });
    }
    return ram.bytes.slice(address, address + length);
  }

  #load({ file, address }: RamLoaderOption): void {
    const bad = (why: string, cause?: unknown) =>
      new HarnessError(
        'option/bad-value',
        { option: '-device loader', expected: 'a readable file that fits into RAM', actual: `'${file}': ${why}` },
        { cause },
      );
    let fd: number;
    try {
      fd = openSync(file, 'r');
    } catch (cause) {
      throw bad(messageOf(cause), cause);
    }
    try {
      const { size } = fstatSync(fd);
      if (address + size > this.ram.length)
        throw bad(`${size} bytes at address ${address}, RAM has ${this.ram.length}`);
      this.ram.readFile(fd, address, size);
    } finally {
      closeSync(fd);
    }
  }

  /** Ends the threads of vCPUs and devices and gives RAM back; nobody may use it afterwards. */
  async [Symbol.asyncDispose](): Promise<void> {
    const vcpus = await this.#vcpus.catch(() => []);
    const devices = await this.#devices.catch(() => undefined);
    const scout = await this.#scout?.catch(() => undefined);
    await Promise.all(
      [...vcpus, ...[devices, scout?.thread].filter((owner) => owner !== undefined)].map((owner) =>
        owner[Symbol.asyncDispose](),
      ),
    );
    this.ram[Symbol.dispose]();
  }
}
