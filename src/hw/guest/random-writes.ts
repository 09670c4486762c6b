/** Random writes: every write stamps a page chosen evenly from the whole region. The worst case for XBZRLE and prefetch. */

import type { GuestDefinition } from './guest-program.ts';
import { pick } from './prng.ts';
import { checkStamps, STAMP_BYTES, type StampPattern, stampProgram } from './stamps.ts';

const PATTERN: StampPattern = {
  programId: 4,
  pageOf: (n, dataPages, { seed }) => pick(seed, n, dataPages),
};

/** `guest-random-writes`. */
export const RANDOM_WRITES: GuestDefinition = {
  programId: PATTERN.programId,
  help: 'stamps pages chosen evenly from its region',
  settings: { bytes: STAMP_BYTES },
  minimumPages: 2,
  create: (context) => stampProgram(PATTERN, context),
  check: (evidence) => checkStamps(PATTERN, evidence),
};
