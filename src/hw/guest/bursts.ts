/**
 * Bursts: stamps a run of pages in order, rests, stamps the next run. Its mean rate says little about its worst moment.
 * The place within a burst is in RAM; the rest is not, so a vCPU that was stopped while resting begins the next burst.
 */

import { PAGE_SIZE } from '../../wire/ram.ts';
import type { GuestDefinition } from './guest-program.ts';
import { checkStamps, STAMP_BYTES, type StampPattern, stampProgram } from './stamps.ts';

const PATTERN: StampPattern = {
  programId: 3,
  pageOf: (n, dataPages) => n % dataPages,
  rest(settings, n) {
    const burstPages = (settings['burst'] ?? PAGE_SIZE) / PAGE_SIZE;
    return { writesLeft: burstPages - (n % burstPages), restMs: settings['quiet'] ?? 0 };
  },
};

/** `guest-bursts`. */
export const BURSTS: GuestDefinition = {
  programId: PATTERN.programId,
  help: 'stamps a run of pages in order, rests, stamps the next run',
  settings: {
    bytes: STAMP_BYTES,
    burst: {
      kind: 'size',
      preset: 16 * 1024 * 1024,
      minimum: PAGE_SIZE,
      maximum: Number.MAX_SAFE_INTEGER,
      multiple: PAGE_SIZE,
      help: 'how much one burst writes',
    },
    quiet: { kind: 'time', preset: 100, minimum: 0, maximum: 3_600_000, help: 'how long it rests after a burst' },
  },
  minimumPages: 2,
  create: (context) => stampProgram(PATTERN, context),
  check: (evidence) => checkStamps(PATTERN, evidence),
};
