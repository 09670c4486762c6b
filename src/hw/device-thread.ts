/**
 * The machine's handle on one device in its worker thread. A device that hangs or dies is an error with its name within a
 * deadline; its thread is replaced by a new one, which gets the last state known of the device, so that the machine and
 * the next migration go on. Protocol: device-host.ts.
 */

import { HarnessError, isHarnessError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { ManagedWorker } from '../threads/managed-worker.ts';
import { workerUrl } from '../threads/worker-url.ts';
import type { DeviceDefinition, RegisterAccess } from './device.ts';
import type { DeviceRequests, SavedState } from './device-host.ts';
import { IrqLines } from './irq.ts';
import type { RamShare } from './ram.ts';
import { LARGE_STATE_BYTES } from './state-memory.ts';
import { ResourceAccount } from './vfio/resource-pool.ts';
import type { StatePlace } from './vmstate/schema.ts';

/** What workers/device.ts starts with. */
export interface DeviceThreadData {
  readonly module: string;
  readonly id: string;
  readonly properties: Readonly<Record<string, unknown>>;
  readonly ram: RamShare;
  /** The machine's ResourcePool, and the device's place in it. */
  readonly resources: SharedArrayBuffer;
  readonly index: number;
  readonly irqs: SharedArrayBuffer;
  readonly time: SharedArrayBuffer;
}

/** What a device's thread says unasked. */
export type DeviceEvent =
  | {
      readonly type: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly fields: object;
      readonly message: string;
    }
  | { readonly type: 'failure'; readonly why: string };

/** A device as a machine is configured with it. */
export interface DeviceConfig {
  readonly id: string;
  /** URL of the module that exports `definition`; the thread imports it again. */
  readonly module: string;
  readonly definition: DeviceDefinition;
  readonly properties: Readonly<Record<string, unknown>>;
}

/** What a device's thread is started with; `deadlineMs` is the longest time for one answer. */
interface DeviceThreadOptions {
  readonly config: DeviceConfig;
  readonly ram: RamShare;
  /** The machine's ResourcePool, and the device's place in it. */
  readonly resources: SharedArrayBuffer;
  readonly index: number;
  readonly time: SharedArrayBuffer;
  readonly log: Logger;
  readonly deadlineMs?: number;
}

/** Longest time a device may take to answer one request (ms). */
const DEVICE_DEADLINE_MS = 10_000;

/** One device of a machine. */
export class DeviceThread {
  readonly config: DeviceConfig;
  readonly irqs: IrqLines;
  readonly #data: DeviceThreadData;
  readonly #log: Logger;
  readonly #deadlineMs: number;
  #worker: Promise<ManagedWorker>;
  #lastState: (StatePlace & { readonly bytes: Uint8Array }) | undefined;
  #running = false;
  #closed = false;

  /** Starts the thread and creates the device in it. Throws `device/failed`, `device/module`. */
  static async start(options: DeviceThreadOptions): Promise<DeviceThread> {
    const device = new DeviceThread(options);
    await device.#worker;
    return device;
  }

  private constructor(options: DeviceThreadOptions) {
    const { config } = options;
    this.config = config;
    this.#log = options.log.child({ device: config.id });
    this.#deadlineMs = options.deadlineMs ?? DEVICE_DEADLINE_MS;
    this.irqs = new IrqLines({ count: config.definition.interrupts ?? 1 });
    this.#data = {
      module: config.module,
      id: config.id,
      properties: config.properties,
      ram: options.ram,
      resources: options.resources,
      index: options.index,
      irqs: this.irqs.share,
      time: options.time,
    };
    this.#worker = this.#spawn();
  }

  get id(): string {
    return this.config.id;
  }

  /** True between `start` and `stop`. */
  get running(): boolean {
    return this.#running;
  }

  /** The value of a register. Throws `device/access`, `device/failed`. */
  read(access: RegisterAccess): Promise<number> {
    return this.#ask('read', access);
  }

  /** Stores to a register. */
  write(access: RegisterAccess, value: number): Promise<undefined> {
    return this.#ask('write', { ...access, value });
  }

  async start(): Promise<void> {
    this.#running = true;
    await this.#ask('start', undefined);
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#ask('stop', undefined);
  }

  reset(): Promise<undefined> {
    this.#lastState = undefined;
    return this.#ask('reset', undefined);
  }

  /** A VFIO device's thread practises what a migration will ask of it (vfio/vfio-rehearsal.ts). Throws `device/failed`. */
  async rehearse(): Promise<void> {
    await this.request('rehearse', undefined);
  }

  /** Before a state that may be large is saved: memory for it, as far as its size is known by now. */
  async prepare(): Promise<void> {
    const bytes = this.config.definition.state.size ?? this.#lastState?.bytes.length ?? 0;
    if (bytes >= LARGE_STATE_BYTES) await this.#ask('prepare', { bytes });
  }

  /** The device's state, which is kept here too: it is not to be changed. The machine must be stopped. */
  async save(): Promise<SavedState> {
    const saved = await this.#ask('save', undefined);
    this.#lastState = { version: this.config.definition.state.version, bytes: saved.bytes };
    return saved;
  }

  /** Loads a state that arrived; `bytes` move to the device's thread. Throws `vmstate/…`, `device/failed`. */
  async load(state: StatePlace & { readonly bytes: Uint8Array<ArrayBuffer> }): Promise<void> {
    const kept = { ...state, bytes: state.bytes.slice() };
    await this.#ask('load', state, { transfer: [state.bytes.buffer] });
    this.#lastState = kept;
  }

  /** Any request, for VFIO's own. Throws what the device threw, `device/failed` when its thread hangs or dies. */
  async request(
    kind: string,
    payload: unknown,
    options: { transfer?: readonly ArrayBuffer[]; deadlineMs?: number } = {},
  ): Promise<unknown> {
    const asked = this.#worker;
    let worker: ManagedWorker | undefined;
    try {
      worker = await asked;
      return await this.#exchange(worker, kind, payload, options);
    } catch (error) {
      // The device refused, and is there for the next request; or its thread hangs, is gone or never came.
      if (worker === undefined || isThreadError((error as Error).cause)) this.#replace(asked, worker);
      throw error;
    }
  }

  /** Ends the thread: in order when the device lets it, otherwise at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const worker = await this.#worker.catch(() => undefined);
    if (worker === undefined) return;
    try {
      await worker.request('close', undefined, { deadlineMs: this.#deadlineMs });
    } catch (error) {
      this.#log.warn({ err: error }, 'the device did not close in order');
    }
    await worker[Symbol.asyncDispose]();
  }

  #ask<K extends keyof DeviceRequests>(
    kind: K,
    payload: DeviceRequests[K]['payload'],
    options: { transfer?: readonly ArrayBuffer[] } = {},
  ): Promise<DeviceRequests[K]['reply']> {
    return this.request(kind, payload, options) as Promise<DeviceRequests[K]['reply']>;
  }

  async #spawn(): Promise<ManagedWorker> {
    const worker = await ManagedWorker.start({
      name: this.id,
      url: workerUrl('device'),
      data: this.#data,
      onEvent: (event) => this.#heard(event as DeviceEvent), // workers/device.ts sends nothing else
    });
    try {
      await this.#exchange(worker, 'create', undefined);
      return worker;
    } catch (error) {
      await worker[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** One request; what goes wrong with the thread becomes `device/failed` with the thread's error as cause. */
  async #exchange(
    worker: ManagedWorker,
    kind: string,
    payload: unknown,
    options: { transfer?: readonly ArrayBuffer[]; deadlineMs?: number } = {},
  ): Promise<unknown> {
    const { transfer = [], deadlineMs = this.#deadlineMs } = options;
    try {
      return await worker.request(kind, payload, { deadlineMs, transfer });
    } catch (cause) {
      if (!isThreadError(cause)) throw cause;
      const why =
        cause.code === 'thread/timeout'
          ? `it did not answer within ${deadlineMs} ms`
          : `its thread ended: ${(cause as HarnessError<'thread/failed'>).details.why}`;
      throw new HarnessError('device/failed', { device: this.id, handler: kind, why }, { cause });
    }
  }

  /** A new thread instead of `asked`, unless an earlier request that failed with it has seen to that. */
  #replace(asked: Promise<ManagedWorker>, failed: ManagedWorker | undefined): void {
    if (this.#closed || this.#worker !== asked) return;
    this.#worker = this.#restart(failed);
    this.#worker.catch((error) => this.#log.error({ err: error }, 'the device could not be started again'));
  }

  async #restart(failed: ManagedWorker | undefined): Promise<ManagedWorker> {
    await failed?.[Symbol.asyncDispose]();
    for (let line = 0; line < this.irqs.count; line += 1) this.irqs.line(line).set(false);
    new ResourceAccount({ share: this.#data.resources, index: this.#data.index, device: this.id }).clear();
    const worker = await this.#spawn();
    const state = this.#lastState;
    try {
      if (state !== undefined) await this.#exchange(worker, 'load', { ...state, bytes: state.bytes.slice() });
      if (this.#running) await this.#exchange(worker, 'start', undefined);
      else if (this.config.definition.vfio === true) {
        await this.#exchange(worker, 'vfio/set-state', { target: 'stop', recover: undefined });
      }
    } catch (error) {
      await worker[Symbol.asyncDispose]();
      throw error;
    }
    this.#log.warn({ hasState: state !== undefined }, 'the device got a new thread and its last known state');
    return worker;
  }

  #heard(event: DeviceEvent): void {
    if (event.type === 'log') this.#log[event.level](event.fields, event.message);
    else this.#log.error({ why: event.why }, 'the device failed');
  }
}

function isThreadError(error: unknown): error is HarnessError<'thread/timeout'> | HarnessError<'thread/failed'> {
  return isHarnessError(error, 'thread/timeout') || isHarnessError(error, 'thread/failed');
}
