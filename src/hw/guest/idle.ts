/** The idle guest: runs and writes nothing. A running machine whose migration converges in one round. */

import type { GuestDefinition } from './guest-program.ts';

/** `guest-idle`. */
export const IDLE: GuestDefinition = {
  programId: 5,
  help: 'runs and writes nothing',
  settings: {},
  minimumPages: 0,
  create: () => ({ restMs: Number.POSITIVE_INFINITY, resume: () => {}, run: () => 0 }),
  check: () => ({ ok: true, detail: 'an idle guest writes nothing' }),
};
