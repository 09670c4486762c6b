/**
 * A machine of one device, RAM, interrupt lines and a clock cranked by hand, all in this thread: what the conformance suite
 * drives a device with. `migrate` moves the device to a new machine that keeps the RAM, as a migration would.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import type { DeviceDefinition, TraceStep } from '../hw/device.ts';
import { DeviceHost, type SavedState } from '../hw/device-host.ts';
import { parseProperties } from '../hw/device-property.ts';
import { IrqLines } from '../hw/irq.ts';
import { RamBlock } from '../hw/ram.ts';
import { DEFAULT_RESOURCE_BYTES, ResourceAccount, ResourcePool } from '../hw/vfio/resource-pool.ts';
import { ManualTime } from '../hw/virtual-time.ts';

const RAM_BYTES = 65_536;
/** Longest time that an `until` waits (ms). */
const UNTIL_MS = 5_000;
const NO_LOG = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** What devices of one guest's life share, whichever machine it is on: RAM and files. */
export class GuestWorld implements AsyncDisposable {
  readonly ram = RamBlock.create({ name: 'ram', length: RAM_BYTES });
  readonly definition: DeviceDefinition;
  readonly properties: Readonly<Record<string, unknown>>;
  readonly #folder: string;

  /** Makes the device's files and reads its properties. Throws `option/bad-value`. */
  static async create(definition: DeviceDefinition): Promise<GuestWorld> {
    const folder = await mkdtemp(join(tmpdir(), 'switchover-conformance-'));
    const given = definition.conformance?.properties ?? {};
    const texts = typeof given === 'function' ? await given(folder) : given;
    const values = parseProperties(definition.properties, new Map(Object.entries(texts)), definition.name);
    return new GuestWorld(definition, values, folder);
  }

  private constructor(definition: DeviceDefinition, properties: Readonly<Record<string, unknown>>, folder: string) {
    this.definition = definition;
    this.properties = properties;
    this.#folder = folder;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.ram[Symbol.dispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** A state to load, and when. */
interface Origin {
  readonly bytes: Uint8Array;
  /** Default: the current one. */
  readonly version?: number;
  /** Virtual time; default 0. */
  readonly nowNs?: bigint;
  /** Do not start the device. */
  readonly paused?: true;
}

/** See the header; running once it is made. */
export class InlineMachine implements AsyncDisposable {
  readonly irqs: IrqLines;
  readonly #world: GuestWorld;
  readonly #time = new ManualTime();
  readonly #pool = new ResourcePool({ limitBytes: DEFAULT_RESOURCE_BYTES, deviceCount: 1 });
  readonly #failures: Error[] = [];
  #host!: DeviceHost; // made by create
  #closed = false;

  /** A machine whose device is fresh, or has loaded `state`. */
  static async create(world: GuestWorld, from?: Origin): Promise<InlineMachine> {
    const machine = new InlineMachine(world);
    const { definition, properties, ram } = world;
    machine.#host = await DeviceHost.create({
      definition,
      id: definition.name,
      properties,
      ram: ram.share,
      resources: new ResourceAccount({ share: machine.#pool.share, index: 0, device: definition.name }),
      irqs: machine.irqs,
      time: machine.#time,
      log: NO_LOG,
      onFailure: (error) => machine.#failures.push(error),
    });
    if (from !== undefined) {
      machine.#time.set(from.nowNs ?? 0n);
      const version = from.version ?? definition.state.version;
      await machine.#host.request('load', { version, bytes: from.bytes.slice() });
    }
    if (from?.paused !== true) await machine.#host.request('start', undefined);
    return machine;
  }

  private constructor(world: GuestWorld) {
    this.#world = world;
    this.irqs = new IrqLines({ count: world.definition.interrupts ?? 1 });
  }

  /** Virtual time. */
  nowNs(): bigint {
    return this.#time.nowNs();
  }

  /** Stops the device for as long as it takes to save it. */
  async saved(): Promise<SavedState> {
    const saved = await this.stopAndSave();
    await this.#host.request('start', undefined);
    return saved;
  }

  /** Stops the device for good and saves it. */
  async stopAndSave(): Promise<SavedState> {
    await this.#host.request('stop', undefined);
    return this.#host.request('save', undefined);
  }

  /** The device on a new machine, at the same virtual time; this one is closed. */
  async migrate(): Promise<InlineMachine> {
    const { bytes } = await this.stopAndSave();
    await this[Symbol.asyncDispose]();
    return InlineMachine.create(this.#world, { bytes, nowNs: this.#time.nowNs() });
  }

  /** Does one step; the value that a read saw. Throws what the device threw, also in a timer. */
  async perform(step: TraceStep): Promise<number | undefined> {
    let seen: number | undefined;
    if ('write' in step) await this.#host.request('write', { ...step.write, value: step.value });
    else if ('read' in step) seen = await this.#host.request('read', step.read);
    else if ('until' in step) await this.#until(step);
    else if ('untilStored' in step) await poll(step.value, async () => this.#world.ram.bytes[step.untilStored]!);
    else if ('waitNs' in step) this.#time.advance(step.waitNs);
    else if ('store' in step) this.#world.ram.write(step.store, Uint8Array.from(step.bytes));
    else await this.#host.request('reset', undefined);
    if ('waitNs' in step) await turn(); // what a timer threw is told a little later
    const [failure] = this.#failures;
    if (failure !== undefined) throw failure;
    return seen;
  }

  async #until({ until, value, mask = 0xffff_ffff }: Extract<TraceStep, { readonly until: unknown }>): Promise<void> {
    await poll(value >>> 0, async () => ((await this.#host.request('read', until)) & mask) >>> 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#host.request('stop', undefined);
    await this.#host.request('close', undefined);
  }
}

/** Looks until it sees `value`. */
async function poll(value: number, look: () => Promise<number>): Promise<void> {
  const endMs = performance.now() + UNTIL_MS;
  for (;;) {
    const seen = await look();
    if (seen === value) return;
    if (performance.now() > endMs) throw new Error(`it stayed 0x${seen.toString(16)} for ${UNTIL_MS} ms`);
    await turn();
  }
}
