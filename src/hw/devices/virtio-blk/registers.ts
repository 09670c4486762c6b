/**
 * Numbers of the block device: register block of a virtio device over MMIO (virtio 1.2, §4.2.2), its features and
 * configuration space (§5.2.4), and the requests (§5.2.6).
 */

/** Offsets in the register block (bytes). */
export const REGISTER = {
  MAGIC: 0x000,
  VERSION: 0x004,
  DEVICE_ID: 0x008,
  VENDOR_ID: 0x00c,
  DEVICE_FEATURES: 0x010,
  DEVICE_FEATURES_SELECT: 0x014,
  DRIVER_FEATURES: 0x020,
  DRIVER_FEATURES_SELECT: 0x024,
  QUEUE_SELECT: 0x030,
  QUEUE_SIZE_MAX: 0x034,
  QUEUE_SIZE: 0x038,
  QUEUE_READY: 0x044,
  QUEUE_NOTIFY: 0x050,
  INTERRUPT_STATUS: 0x060,
  INTERRUPT_ACKNOWLEDGE: 0x064,
  STATUS: 0x070,
  QUEUE_DESCRIPTORS: 0x080,
  QUEUE_DRIVER: 0x090,
  QUEUE_DEVICE: 0x0a0,
  SHARED_MEMORY_LENGTH: 0x0b0,
  SHARED_MEMORY_BASE: 0x0b8,
  CONFIG_GENERATION: 0x0fc,
  CONFIG: 0x100,
} as const;

/** Bytes of the register block. */
export const REGISTERS_BYTES = 0x200;
/** `virt`, little-endian. */
export const MAGIC = 0x7472_6976;
/** The register layout of virtio 1. */
export const VERSION = 2;
/** A block device. */
export const DEVICE_ID = 2;
/** `SWOV`, little-endian: not a PCI vendor. */
export const VENDOR_ID = 0x564f_5753;
/** Longest queue. */
export const QUEUE_SIZE_MAX = 128;

/** Bits of STATUS. */
export const STATUS = {
  ACKNOWLEDGE: 0x01,
  DRIVER: 0x02,
  DRIVER_OK: 0x04,
  FEATURES_OK: 0x08,
  NEEDS_RESET: 0x40,
  FAILED: 0x80,
} as const;

/** Bits of INTERRUPT_STATUS. */
export const INTERRUPT = { USED_BUFFER: 0x1, CONFIGURATION: 0x2 } as const;

/** Feature bits. */
export const FEATURE = {
  SEGMENTS_MAX: 1n << 2n,
  READ_ONLY: 1n << 5n,
  BLOCK_SIZE: 1n << 6n,
  FLUSH: 1n << 9n,
  VERSION_1: 1n << 32n,
} as const;

/** Types of requests. */
export const REQUEST = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8 } as const;
/** What the last byte of a request becomes. */
export const RESULT = { OK: 0, IO_ERROR: 1, UNSUPPORTED: 2 } as const;

/** Bytes of a sector, the unit of capacity and positions whatever the block size is. */
export const SECTOR_BYTES = 512;
/** Bytes of a request's header: type, reserved, sector. */
export const HEADER_BYTES = 16;
/** Bytes of the answer to GET_ID. */
export const ID_BYTES = 20;
/** Most data of one request (bytes). */
export const MAX_DATA_BYTES = 16 << 20;

/** The configuration space, little-endian: capacity, size_max, seg_max, geometry (none), blk_size. */
export function configurationSpace(capacitySectors: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(24));
  view.setBigUint64(0, BigInt(capacitySectors), true);
  view.setUint32(12, QUEUE_SIZE_MAX - 2, true); // header and result take a descriptor each
  view.setUint32(20, SECTOR_BYTES, true);
  return new Uint8Array(view.buffer);
}
