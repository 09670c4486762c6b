/** Numbers and structs of the multifd channels (spec/wire.md §5). Big-endian; the table of offsets follows the header. */

import { buffer, padding, struct, u8, u32, u64 } from './struct.ts';

/** First word of a greeting and of every packet. */
export const MULTIFD_MAGIC = 0x1122_3344;
/** The only version of both. */
export const MULTIFD_VERSION = 1;

/** What each channel says once, before its first packet. */
export const MULTIFD_HELLO = struct([
  u32('magic'),
  u32('version'),
  buffer('uuid', 16),
  u8('id'),
  padding('reserved', 39, 'unused_buffer'),
]);

/** Bits of a packet's flags. */
export const MULTIFD_FLAG = {
  SYNC: 0x01,
  /** Where the compression method is. */
  METHOD_MASK: 0x3e,
  DEVICE_STATE: 0x40,
} as const;

/** Compression methods of this build, as they are in a packet's flags. */
export const MULTIFD_METHOD = { none: 0, zlib: 0x02, zstd: 0x04 } as const;

/** Pages of one packet at most; also the length of its table, whatever it holds. */
export const PACKET_PAGES = 128;

/** What every packet begins with; only then is known which kind it is. */
export const PACKET_START = struct([u32('magic'), u32('version'), u32('flags')]);

/** The rest of the header of a RAM packet. QEMU up to 8.2 knows `zeroPages` as reserved and sends 0. */
export const RAM_PACKET_REST = struct([
  u32('pagesAlloc'),
  u32('normalPages'),
  u32('dataBytes'),
  u64('packetNumber'),
  u32('zeroPages'),
  padding('reserved', 28, 'unused_buffer'),
  buffer('ramBlock', 256),
]);

/** Bytes of a RAM packet before its data: header and table. */
export const RAM_PACKET_BYTES = PACKET_START.size + RAM_PACKET_REST.size + PACKET_PAGES * 8;

/** The rest of the header of a device-state packet (§5.3); `dataBytes` of payload follow. */
export const STATE_PACKET_REST = struct([buffer('idstr', 256), u32('instanceId'), u32('dataBytes')]);

/** Bytes of a device-state packet before its payload. */
export const STATE_PACKET_BYTES = PACKET_START.size + STATE_PACKET_REST.size;

/** Offsets of a device-state packet's fields, for errors. */
export const STATE_PACKET_OFFSET = { FLAGS: 8, IDSTR: 12, INSTANCE_ID: 268, DATA_BYTES: 272, PAYLOAD: 276 } as const;

/** Offsets of a RAM packet's fields, for those who write one in place. */
export const RAM_PACKET_OFFSET = {
  MAGIC: 0,
  VERSION: 4,
  FLAGS: 8,
  PAGES_ALLOC: 12,
  NORMAL_PAGES: 16,
  DATA_BYTES: 20,
  PACKET_NUMBER: 24,
  ZERO_PAGES: 32,
  RAM_BLOCK: 64,
  TABLE: 320,
} as const;
