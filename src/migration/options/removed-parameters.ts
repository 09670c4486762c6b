/** The parameters that went with the capabilities `compress` and `block` (spec/control.md §1.4). */

/** Parameters older QEMUs had; here, as in QEMU 9.1 and later, they are unexpected. Of the capabilities of the same names. */
export const REMOVED_PARAMETERS = {
  'compress-level': {
    since: '2.4',
    removed: '9.1',
    type: 'uint8_t',
    initial: 1,
    summary: 'Level of `compress`, 0 to 9.',
  },
  'compress-threads': { since: '2.4', removed: '9.1', type: 'uint8_t', initial: 8, summary: 'Threads that compress.' },
  'compress-wait-thread': {
    since: '3.1',
    removed: '9.1',
    type: 'boolean',
    initial: true,
    summary: 'Wait for a thread rather than send a page as it is.',
  },
  'decompress-threads': { since: '2.4', removed: '9.1', type: 'uint8_t', initial: 2, summary: 'Threads that expand.' },
  'block-incremental': {
    since: '2.10',
    removed: '9.1',
    type: 'boolean',
    initial: false,
    summary: 'Migrate the top layer of images only.',
  },
} as const;
