/**
 * What the author of a device imports: `defineDevice`, the interfaces of a device and of its surroundings, and (below)
 * properties and state fields. A device is data first (name, properties, state, regions) and one factory last. It runs
 * alone in a worker thread and sees the machine only through its `DeviceContext`.
 */

import type { DeviceConformance } from './device-conformance.ts';
import type { PropertyTable, PropertyValues } from './device-property.ts';
import type { VfioDriver } from './vfio/vfio-driver.ts';
import type { StateSchema } from './vmstate/schema.ts';

export type { DeviceConformance, TraceStep } from './device-conformance.ts';
export { choice, count, flag, rate, size, text, time, timePerMiB } from './device-property.ts';
export type { PrecopyInfo, VfioDriver } from './vfio/vfio-driver.ts';
export { field } from './vmstate/field.ts';
export { type StateOf, vmstate } from './vmstate/vmstate.ts';

/** A block of registers: `io` regions are port I/O, `memory` regions are MMIO; offsets count from its start. */
export interface DeviceRegion {
  /** Bytes. */
  readonly size: number;
  readonly bus: 'io' | 'memory';
}

/** Width of one register access (bytes). */
export type AccessSize = 1 | 2 | 4;

/** One access to a register. Values are unsigned, little-endian as the guest sees them, within the access's width. */
export interface RegisterAccess {
  /** Name of the region, a key of the definition's `regions`. */
  readonly region: string;
  /** Bytes from the region's start; the access lies inside the region. */
  readonly offset: number;
  readonly size: AccessSize;
}

/** One interrupt line of a device. */
export interface IrqLine {
  /** Sets the level; raising a raised line is nothing. */
  set(level: boolean): void;
  /** Raises and lowers: one edge. */
  pulse(): void;
}

/** A timer on the virtual clock; it fires once per `arm`, never while the machine is stopped. */
export interface DeviceTimer {
  /** Virtual time (ns) at which it fires, undefined while it is not armed. This is what a device saves. */
  readonly expiresNs: bigint | undefined;
  /** Fires at this virtual time (ns); one that has passed fires at once. Replaces an earlier time. */
  arm(expiresNs: bigint): void;
  cancel(): void;
}

/** The guest's RAM as a device sees it (DMA). Writes mark pages dirty; a device of a stopped machine must not write. */
export interface DeviceRam {
  /** Bytes of guest-physical memory, which starts at address 0. */
  readonly length: number;
  /** A copy of guest memory. Throws `ram/out-of-range`. */
  read(address: number, length: number): Uint8Array;
  /** Stores bytes and marks their pages. Throws `ram/out-of-range`, `device/stopped` when the machine is stopped. */
  write(address: number, bytes: Uint8Array): void;
  /**
   * The same for a VFIO device as hardware does it: while its DMA log is on, the log alone knows of it, and the machine
   * when it asks (spec/vfio.md §1.6).
   */
  dma(address: number, bytes: Uint8Array): void;
}

/** What a machine has for its devices to allocate from; a device that allocates for its state takes it here first. */
export interface DeviceResources {
  /** Throws `vfio/resources`, and takes nothing, when so much is not left. */
  take(bytes: number): void;
  giveBack(bytes: number): void;
}

/** What a device may say to the log; values are fields, not part of the sentence. */
export interface DeviceLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** The surroundings of one device; everything it may touch. */
export interface DeviceContext<P extends PropertyTable = PropertyTable> {
  /** Its id on the command line, unique in the machine. */
  readonly id: string;
  /** Its properties, parsed, with presets for those that were not given. */
  readonly properties: PropertyValues<P>;
  readonly ram: DeviceRam;
  readonly resources: DeviceResources;
  readonly log: DeviceLog;
  /** Virtual time (ns): how long the guest has run; stands still while the machine is stopped. */
  nowNs(): bigint;
  /** A timer of the device's own; made once, in `create`. */
  timer(callback: () => void): DeviceTimer;
  /** Interrupt line `index`, below the definition's `interrupts`. */
  irq(index?: number): IrqLine;
}

/**
 * A live device. Every method may be async; the machine calls one at a time and waits for it with a deadline. What a
 * method throws becomes an error with the device's name and the method's.
 */
export interface Device<S = unknown> {
  /** The value of a register. Without it all registers read as zero. */
  read?(access: RegisterAccess): number | Promise<number>;
  /** Stores to a register. Without it stores are ignored. */
  write?(access: RegisterAccess, value: number): void | Promise<void>;
  /** Everything the device knows, as a fresh plain object. Called while the machine is stopped. */
  save(): S | Promise<S>;
  /** Becomes the device that was saved. Called once, before `start`, on a device fresh from `create` or after `reset`. */
  load(state: S): void | Promise<void>;
  /** Back to power-on. */
  reset(): void | Promise<void>;
  /** The machine begins to run. */
  start?(): void | Promise<void>;
  /** The machine stops: when it resolves the device writes no guest memory and raises no interrupt until `start`. */
  stop?(): void | Promise<void>;
  /** Gives back files and the like; the thread ends afterwards. */
  close?(): void | Promise<void>;
  /** A VFIO-like device has a driver: its bulk state streams while the guest runs (spec/vfio.md). */
  readonly vfio?: VfioDriver;
}

/** A device as its module declares it. */
export interface DeviceDefinition<P extends PropertyTable = PropertyTable, S = unknown> {
  /** The driver's name on the command line. */
  readonly name: string;
  /** QEMU's name for devices of this type, where it is another: vmstate dumps are keyed by it. */
  readonly qemuType?: string;
  /** One line for `--help` and documentation. */
  readonly summary: string;
  readonly properties: P;
  /** The device's section on the stream; for a VFIO-like device what its CONFIG record carries. */
  readonly state: StateSchema<S>;
  readonly regions?: Readonly<Record<string, DeviceRegion>>;
  /** Number of interrupt lines; default 1. */
  readonly interrupts?: number;
  /** What the conformance suite needs to know; without it the suite says what to add. */
  readonly conformance?: DeviceConformance;
  /** True for devices with a `vfio` driver: their section is QEMU's VFIO section. */
  readonly vfio?: boolean;
  /** Makes the device, in its own thread. */
  create(context: DeviceContext<P>): Device<S> | Promise<Device<S>>;
}

/** Declares a device: the default export of a device's module. */
export function defineDevice<const P extends PropertyTable, S>(
  definition: DeviceDefinition<P, S>,
): DeviceDefinition<P, S> {
  return definition;
}
