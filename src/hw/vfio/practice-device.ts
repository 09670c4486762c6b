/** The device that a machine with VFIO devices, and each of their threads, rehearses a migration with. */

/** As on a command line. Its state is large enough to be read where it is, as large states are. */
export const PRACTICE_DEVICE = {
  driver: 'setup-then-state',
  id: 'practice',
  properties: new Map([['state', '192KiB']]),
} as const;
