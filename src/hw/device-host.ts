/**
 * Runs one device: requests become calls of its methods, one at a time, and what a method throws becomes an error that
 * names device and method. Used by workers/device.ts, and inline by tests, with the same behaviour.
 */

import { HarnessError, isHarnessError, messageOf } from '../base/errors.ts';
import type { Device, DeviceDefinition, DeviceLog, DeviceResources, DeviceTimer, RegisterAccess } from './device.ts';
import { SharedDeviceRam } from './device-ram.ts';
import type { IrqLines } from './irq.ts';
import type { RamShare } from './ram.ts';
import type { VfioService } from './vfio/vfio-service.ts';
import type { VirtualTime } from './virtual-time.ts';
import type { DescribedState, StatePlace } from './vmstate/schema.ts';

/** Requests of a machine to its device, and the replies; those of VFIO devices are in vfio/vfio-service.ts. */
export interface DeviceRequests {
  read: { payload: RegisterAccess; reply: number };
  write: { payload: RegisterAccess & { readonly value: number }; reply: undefined };
  start: { payload: undefined; reply: undefined };
  stop: { payload: undefined; reply: undefined };
  reset: { payload: undefined; reply: undefined };
  /** A migration begins: `save` will need so much memory. */
  prepare: { payload: { readonly bytes: number }; reply: undefined };
  save: { payload: undefined; reply: SavedState };
  load: { payload: StatePlace & { readonly bytes: Uint8Array }; reply: undefined };
  close: { payload: undefined; reply: undefined };
}

/** A device's state as it goes onto the stream. */
export interface SavedState {
  /** Nobody else has their ArrayBuffer, which may be larger. */
  readonly bytes: Uint8Array;
  readonly described: DescribedState;
}

/** What a host needs. */
export interface DeviceHostOptions {
  readonly definition: DeviceDefinition;
  readonly id: string;
  /** Parsed by the definition's table. */
  readonly properties: Readonly<Record<string, unknown>>;
  readonly ram: RamShare;
  readonly resources: DeviceResources;
  readonly irqs: IrqLines;
  readonly time: VirtualTime;
  readonly log: DeviceLog;
  /** Told when a timer's callback throws: nobody asked, so nobody gets the error as an answer. */
  readonly onFailure: (error: Error) => void;
}

/** One running device. */
export class DeviceHost {
  readonly #options: DeviceHostOptions;
  readonly #ram: SharedDeviceRam;
  readonly #timers: HostTimer[] = [];
  readonly #due: (() => void)[] = [];
  #device: Device | undefined;
  #vfio: VfioService | undefined;
  /** Memory for the next state. */
  #prepared: Uint8Array | undefined;
  #running = false;
  #busy = true; // until it is created
  #tail: Promise<unknown> = Promise.resolve();

  /** Loads what such a device needs beside its own module; `create` does as well, but then it is the device that is late. */
  static async prepare({ vfio }: DeviceDefinition): Promise<void> {
    if (vfio === true) await vfioService();
  }

  /** Creates the device. Throws `device/failed`. */
  static async create(options: DeviceHostOptions): Promise<DeviceHost> {
    const host = new DeviceHost(options);
    await host.#guarded('create', () => host.#create());
    host.#free();
    return host;
  }

  private constructor(options: DeviceHostOptions) {
    this.#options = options;
    this.#ram = new SharedDeviceRam(options.ram, options.id);
  }

  /** Answers one request after those before it. Throws `device/failed`, `device/access`, `vmstate/…`, `vfio/…`. */
  async request<K extends keyof DeviceRequests>(
    kind: K,
    payload: DeviceRequests[K]['payload'],
  ): Promise<DeviceRequests[K]['reply']> {
    return this.handle(kind, payload) as Promise<DeviceRequests[K]['reply']>;
  }

  /** `request` for what comes from another thread. */
  async handle(kind: string, payload: unknown): Promise<unknown> {
    const vfio = this.#vfio;
    if (vfio?.mayWait(kind) === true) return this.#guarded(kind, async () => vfio.answer(kind, payload));
    const turn = this.#tail;
    const mine = Promise.withResolvers<void>();
    this.#tail = mine.promise;
    await turn;
    this.#busy = true;
    try {
      return await this.#guarded(kind, () => this.#answer(kind, payload));
    } finally {
      this.#free();
      mine.resolve();
    }
  }

  async #create(): Promise<void> {
    const { definition, id, properties, resources, irqs, time, log } = this.#options;
    this.#device = await definition.create({
      id,
      properties,
      ram: this.#ram,
      resources,
      log,
      nowNs: () => time.nowNs(),
      timer: (callback) => this.#timer(callback),
      irq: (index = 0) => {
        if (index >= 0 && index < irqs.count) return irqs.line(index);
        throw new Error(`interrupt line ${index}: its definition has ${irqs.count}`);
      },
    });
    if (definition.vfio !== true) return;
    if (this.#device.vfio === undefined) throw new Error('its definition says vfio, but it has no driver');
    const { createVfioService } = await vfioService();
    const vfio = createVfioService({ device: id, driver: this.#device.vfio });
    this.#ram.onWrite = (address, length) => vfio.recordDma(address, length);
    this.#vfio = vfio;
  }

  async #answer(kind: string, payload: unknown): Promise<unknown> {
    const device = this.#device!; // create comes first
    const request = { kind, payload } as Request;
    switch (request.kind) {
      case 'read':
        this.#checkAccess(request.payload);
        return (await device.read?.(request.payload)) ?? 0;
      case 'write': {
        const { value, ...access } = request.payload;
        this.#checkAccess(access);
        return device.write?.(access, value);
      }
      case 'start':
        return this.#start(device);
      case 'stop':
        return this.#stop(device);
      case 'prepare':
        return this.#prepare(request.payload.bytes);
      case 'reset':
        for (const timer of this.#timers) timer.cancel();
        return device.reset();
      case 'save':
        return this.#save(device);
      case 'load': {
        const { bytes, ...place } = request.payload;
        return device.load(this.#options.definition.state.decode(bytes, place));
      }
      case 'close':
        return device.close?.();
      default:
        request satisfies never;
        if (this.#vfio === undefined) throw new Error('it has no such handler');
        return this.#vfio.answer(kind, payload);
    }
  }

  async #prepare(bytes: number): Promise<void> {
    if ((this.#prepared?.length ?? 0) >= bytes) return;
    const { stateMemory } = await import('./state-memory.ts'); // only for devices with a large state
    this.#prepared = stateMemory(bytes);
  }

  async #start(device: Device): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    this.#ram.writable = true;
    try {
      await device.start?.();
    } catch (error) {
      // It does not run, and may be asked to start again.
      for (const timer of this.#timers) timer.hold();
      this.#running = false;
      this.#ram.writable = false;
      throw error;
    }
    for (const timer of this.#timers) timer.resume();
  }

  async #stop(device: Device): Promise<void> {
    if (!this.#running) return;
    for (const timer of this.#timers) timer.hold();
    this.#running = false;
    await device.stop?.();
    this.#ram.writable = false;
  }

  async #save(device: Device): Promise<SavedState> {
    const { state } = this.#options.definition;
    const saved = await device.save();
    const bytes = state.encode(saved, this.#prepared);
    this.#prepared = undefined; // it moves with the state
    return { bytes, described: state.describe(saved) };
  }

  #timer(callback: () => void): DeviceTimer {
    const run = () => void this.#guarded('timer', async () => callback()).catch(this.#options.onFailure);
    const timer = new HostTimer({
      time: this.#options.time,
      isRunning: () => this.#running,
      // Never in the middle of another method: authors need not think of that.
      fire: () => (this.#busy ? this.#due.push(run) : run()),
    });
    this.#timers.push(timer);
    return timer;
  }

  #free(): void {
    this.#busy = false;
    for (const run of this.#due.splice(0)) run();
  }

  #checkAccess({ region, offset, size }: RegisterAccess): void {
    const { definition, id: device } = this.#options;
    const found = definition.regions?.[region];
    const regionBytes = found?.size ?? 0;
    if (found !== undefined && offset >= 0 && offset + size <= regionBytes && [1, 2, 4].includes(size)) return;
    throw new HarnessError('device/access', { device, region, offset, size, regionBytes });
  }

  async #guarded<T>(handler: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (cause) {
      // These say more than that a handler failed.
      if (isHarnessError(cause) && /^(vmstate|vfio|device)\//.test(cause.code)) throw cause;
      throw new HarnessError('device/failed', { device: this.#options.id, handler, why: messageOf(cause) }, { cause });
    }
  }
}

/** Most devices are no VFIO devices, and there may be many of them. */
function vfioService() {
  return import('./vfio/vfio-service.ts');
}

type Request = {
  [K in keyof DeviceRequests]: { readonly kind: K; readonly payload: DeviceRequests[K]['payload'] };
}[keyof DeviceRequests];

class HostTimer implements DeviceTimer {
  readonly #time: VirtualTime;
  readonly #isRunning: () => boolean;
  readonly #fire: () => void;
  #expiresNs: bigint | undefined;
  #takeBack: (() => void) | undefined;

  constructor(options: { time: VirtualTime; isRunning: () => boolean; fire: () => void }) {
    this.#time = options.time;
    this.#isRunning = options.isRunning;
    this.#fire = options.fire;
  }

  get expiresNs(): bigint | undefined {
    return this.#expiresNs;
  }

  arm(expiresNs: bigint): void {
    this.hold();
    this.#expiresNs = expiresNs;
    if (this.#isRunning()) this.resume();
  }

  cancel(): void {
    this.hold();
    this.#expiresNs = undefined;
  }

  /** The machine stops: the time stays, the waiting ends. */
  hold(): void {
    this.#takeBack?.();
    this.#takeBack = undefined;
  }

  /** The machine runs. */
  resume(): void {
    if (this.#expiresNs === undefined) return;
    this.hold();
    this.#takeBack = this.#time.at(this.#expiresNs, () => {
      this.#takeBack = undefined;
      this.#expiresNs = undefined;
      this.#fire();
    });
  }
}
