/** What can be told about a guest from a copy of its machine's RAM, without asking the machine. */

import { checkGuest } from '../hw/guest/guest-check.ts';
import { GuestHeader, hashSettings } from '../hw/guest/guest-header.ts';
import { type GuestOptions, guestRegion } from '../hw/guest/guest-options.ts';
import { guestDefinition } from '../hw/guest/guest-table.ts';
import { PAGE_SIZE } from '../wire/ram.ts';
import { readWholeFile } from './read-whole-file.ts';
import type { GuestOutcome } from './verdict.ts';

/** True for a guest that writes; only the idle one needs no page. */
export function guestWrites(guest: GuestOptions): boolean {
  return guestDefinition(guest.name).minimumPages > 0;
}

/** True once the guest has set its region up and runs its program; `firstPage` is that of its region. */
export function guestReady(guest: GuestOptions, firstPage: Uint8Array, ramBytes: number): boolean {
  const identity = {
    programId: guestDefinition(guest.name).programId,
    seed: guest.seed,
    pageCount: guestRegion(guest, ramBytes).sizeBytes / PAGE_SIZE,
    settingsHash: hashSettings(guest.settings),
  };
  return new GuestHeader(firstPage).matches(identity);
}

/** Checks every guest's invariant in a file that holds the machine's RAM. */
export async function checkGuestsInFile(guests: readonly GuestOptions[], file: string): Promise<GuestOutcome[]> {
  const ram = await readWholeFile(file);
  return guests.map((guest) => ({ guest: guest.id, ...checkGuest(guest, ram) }));
}
