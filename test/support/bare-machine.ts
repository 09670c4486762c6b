/** A machine that has RAM and nothing else, as a stream's loader sees it. */

import type { RamBlock } from '../../src/hw/ram.ts';

/** For a loader that is driven without its migration. */
export function bareMachine(ram: RamBlock) {
  return {
    machineName: 'none',
    uuid: undefined,
    suppressDescription: false,
    ramBlocks: [ram],
    devices: async () => [],
    takeOver: () => Promise.reject(new Error('only DestinationMigration takes over')),
  };
}
