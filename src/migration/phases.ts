/** The named phases of a migration. Source and destination go through the same names in the same order. */

/** connect → setup → iterate → switchover → complete; `source.ts` and `destination.ts` have a method for each. */
const PHASES = ['connect', 'setup', 'iterate', 'switchover', 'complete'] as const;
/** One phase's name, as it appears in logs and progress. */
export type Phase = (typeof PHASES)[number];
