/**
 * What an author tells the conformance suite (src/kit) about a device: its registers, each with a value to store, and a
 * script of a guest that uses it. Data only; part of the device's definition.
 */

import type { RegisterAccess } from './device.ts';

/** One step of a scripted guest. */
export type TraceStep =
  /** Stores to a register. `later`: what it causes comes by itself, and an `until` waits for it. */
  | { readonly write: RegisterAccess; readonly value: number; readonly later?: true }
  /** Reads a register; the value is part of what the guest sees. */
  | { readonly read: RegisterAccess }
  /** Reads a register again and again, in real time, until it has this value (in the bits of `mask`, default all). */
  | { readonly until: RegisterAccess; readonly value: number; readonly mask?: number }
  /** Looks at a byte of guest RAM again and again, in real time, until it has this value. */
  | { readonly untilStored: number; readonly value: number }
  /** Lets virtual time pass. */
  | { readonly waitNs: bigint; readonly later?: true }
  /** Stores to guest RAM, of which there are 64 KiB. */
  | { readonly store: number; readonly bytes: readonly number[] | Uint8Array }
  /** Resets the device. */
  | { readonly reset: true };

/** One register and whether the state shows a store to it. */
export interface ConformanceRegister extends RegisterAccess {
  /** As the data sheet calls it. */
  readonly name: string;
  /** What to store; default all ones. The state must differ afterwards. */
  readonly poke?: number;
  /** What the guest does first, when a fresh device would not notice the store. */
  readonly before?: readonly TraceStep[];
  /** Why a store leaves the state as it is (`read only`, `starts a command that ends at once`). The state must then not differ. */
  readonly stateless?: string;
}

/** See the header. */
export interface DeviceConformance {
  /** Properties as on a command line; a function makes them, with files in an empty folder of its own, for each device. */
  readonly properties?:
    | Readonly<Record<string, string>>
    | ((folder: string) => Promise<Readonly<Record<string, string>>>);
  /**
   * Every register that takes stores. Offsets of the first 4 KiB of each region that are not named here must keep no
   * state, which is tried.
   */
  readonly registers: readonly ConformanceRegister[];
  /** The script; the guest must see the same with a migration after any step, and after every step, as without. */
  readonly trace: readonly TraceStep[];
  /** A state of each older version that the device still loads, as hex digits; blanks are free. */
  readonly older?: Readonly<Record<number, string>>;
}
