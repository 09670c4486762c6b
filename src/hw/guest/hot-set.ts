/**
 * The hot set: most writes go to a small part of the region, the rest anywhere. Like a database with a working set: it
 * converges when the hot part fits into the downtime, and only then.
 */

import { PAGE_SIZE } from '../../wire/ram.ts';
import type { GuestDefinition } from './guest-program.ts';
import { pick } from './prng.ts';
import { checkStamps, STAMP_BYTES, type StampPattern, stampProgram } from './stamps.ts';

/** The draw that decides between hot and cold must not follow from the draw of the page. */
const SHARE_SEED = 0x5eed_5a1e;

const PATTERN: StampPattern = {
  programId: 2,
  pageOf(n, dataPages, { seed, settings }) {
    const hotPages = Math.min(dataPages, (settings['hot'] ?? PAGE_SIZE) / PAGE_SIZE);
    const isHot = pick(seed ^ SHARE_SEED, n, 100) < (settings['share'] ?? 100);
    return pick(seed, n, isHot ? hotPages : dataPages);
  },
};

/** `guest-hot-set`. */
export const HOT_SET: GuestDefinition = {
  programId: PATTERN.programId,
  help: 'stamps a small hot part of its region most of the time, the rest of it now and then',
  settings: {
    bytes: STAMP_BYTES,
    hot: {
      kind: 'size',
      preset: 16 * 1024 * 1024,
      minimum: PAGE_SIZE,
      maximum: Number.MAX_SAFE_INTEGER,
      multiple: PAGE_SIZE,
      help: 'size of the hot part',
    },
    share: {
      kind: 'count',
      preset: 90,
      minimum: 0,
      maximum: 100,
      help: 'percent of the writes that go to the hot part',
    },
  },
  minimumPages: 2,
  create: (context) => stampProgram(PATTERN, context),
  check: (evidence) => checkStamps(PATTERN, evidence),
};
