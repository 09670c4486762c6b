/** Numbers and records of QEMU's VFIO device section (spec/vfio.md §1.1, §2.1, §2.6). Flags are big-endian u64. */

import { struct, u32 } from './struct.ts';

/** Records of the section; the upper word of every flag is all ones. */
export const VFIO_FLAG = {
  END_OF_STATE: 0xffff_ffff_ef10_0001n,
  DEV_CONFIG_STATE: 0xffff_ffff_ef10_0002n,
  DEV_SETUP_STATE: 0xffff_ffff_ef10_0003n,
  /** A be64 length and that many bytes follow. */
  DEV_DATA_STATE: 0xffff_ffff_ef10_0004n,
  DEV_INIT_DATA_SENT: 0xffff_ffff_ef10_0005n,
} as const;

/** Version of the section. */
export const VFIO_SECTION_VERSION = 1;
/** Most bytes one DATA record carries: the source's copy buffer. */
export const VFIO_DATA_BYTES = 1 << 20;

/** What the payload of a device-state packet begins with; the state follows, VFIO_DATA_BYTES at most. */
export const VFIO_PACKET = struct([u32('version'), u32('index'), u32('flags')]);
/** The only version of it. */
export const VFIO_PACKET_VERSION = 0;
/** Bits of its flags: the last packet brings what is a CONFIG record on the main channel. */
export const VFIO_PACKET_FLAG = { CONFIG_STATE: 1 } as const;
/** The one index that no packet may have. */
export const VFIO_PACKET_NO_INDEX = 0xffff_ffff;

/** Device states as the uAPI numbers them and QEMU's events name them. */
export const VFIO_STATE = {
  error: 0,
  stop: 1,
  running: 2,
  'stop-copy': 3,
  resuming: 4,
  'running-p2p': 5,
  'pre-copy': 6,
  'pre-copy-p2p': 7,
} as const;

/** One of the eight device states. */
export type VfioState = keyof typeof VFIO_STATE;
