/**
 * What a scripted guest is: a small program that writes pages in a known pattern, keeps all of its state in guest RAM,
 * and can tell from a copy of that RAM whether a migration tore it. After any migration, even through a real QEMU that
 * knows nothing of guests, a fresh vCPU goes on exactly where the old one was.
 */

import type { GuestMemory } from './guest-memory.ts';

/** How the text of one setting is read; sizes are bytes, times are milliseconds. */
export interface GuestSetting {
  readonly kind: 'size' | 'time' | 'count';
  readonly preset: number;
  readonly minimum: number;
  readonly maximum: number;
  /** Sizes only: must be a multiple of this. */
  readonly multiple?: number;
  readonly help: string;
}

/** The values of a program's settings, by name. */
export type GuestSettings = Readonly<Record<string, number>>;

/** Where a guest lives in a RAM block: whole pages, numbered from the region's start. */
export interface GuestRegion {
  /** Byte offset of the region in its RAM block. */
  readonly startByte: number;
  readonly sizeBytes: number;
}

/** What a running program gets. */
export interface GuestContext {
  readonly memory: GuestMemory;
  readonly seed: number;
  readonly settings: GuestSettings;
}

/** A program that runs on a vCPU. */
export interface GuestProgram {
  /** Milliseconds the program wants to rest before its next `run`; Infinity for ever. */
  readonly restMs: number;
  /** Finds in RAM where to go on, or sets RAM up. Called before the first `run` after every start of the vCPU. */
  resume(): void;
  /** Writes at most `maxPages` pages, marks them dirty and returns how many it wrote; 0 when it only got ready. */
  run(maxPages: number): number;
}

/** The verdict on a guest's RAM after a migration. */
export interface GuestCheck {
  readonly ok: boolean;
  /** One sentence: what was verified, or what is wrong and where. */
  readonly detail: string;
}

/** What a check reads: a copy (or view) of the guest's region, and how the guest was configured. */
export interface GuestEvidence {
  readonly bytes: Uint8Array;
  readonly seed: number;
  readonly settings: GuestSettings;
}

/** One kind of guest. */
export interface GuestDefinition {
  /** Recorded in the guest's header page; never reused. */
  readonly programId: number;
  readonly help: string;
  readonly settings: Readonly<Record<string, GuestSetting>>;
  /** Fewest pages the program works with. */
  readonly minimumPages: number;
  create(context: GuestContext): GuestProgram;
  check(evidence: GuestEvidence): GuestCheck;
}
