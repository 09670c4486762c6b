/** Whether a guest's RAM is as the guest must have left it: run it on a stopped machine, or on a copy of its RAM. */

import { type GuestOptions, guestRegion } from './guest-options.ts';
import type { GuestCheck } from './guest-program.ts';
import { guestDefinition } from './guest-table.ts';

/** Checks `ram`, the whole RAM block the guest was configured for. The vCPU must be stopped. */
export function checkGuest(options: GuestOptions, ram: Uint8Array): GuestCheck {
  const { startByte, sizeBytes } = guestRegion(options, ram.length);
  const bytes = ram.subarray(startByte, startByte + sizeBytes);
  return guestDefinition(options.name).check({ bytes, seed: options.seed, settings: options.settings });
}
