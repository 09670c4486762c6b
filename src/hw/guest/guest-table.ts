/** The table of scripted guests: what `-object guest-NAME` and `--guest NAME` accept. */

import { BURSTS } from './bursts.ts';
import type { GuestDefinition } from './guest-program.ts';
import { HOT_SET } from './hot-set.ts';
import { IDLE } from './idle.ts';
import { RANDOM_WRITES } from './random-writes.ts';
import { SWEEP } from './sweep.ts';

/** Every guest by name. */
export const GUESTS = {
  sweep: SWEEP,
  'hot-set': HOT_SET,
  bursts: BURSTS,
  'random-writes': RANDOM_WRITES,
  idle: IDLE,
} as const satisfies Record<string, GuestDefinition>;

/** The name of a guest. */
export type GuestName = keyof typeof GUESTS;

/** The definition of a guest, with the table's literal types forgotten. */
export function guestDefinition(name: GuestName): GuestDefinition {
  return GUESTS[name];
}

/** True for the names in the table. */
export function isGuestName(name: string): name is GuestName {
  return Object.hasOwn(GUESTS, name);
}
