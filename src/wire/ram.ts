/** Numbers of the RAM section, version 4 (spec/wire.md §4). A record is one u64: flags in the low bits, address above. */

/** Version of the `ram` section; loaders accept no other. */
export const RAM_VERSION = 4;
/** Target page: 4 KiB on x86. */
export const PAGE_SIZE = 4096;
/** log2 of PAGE_SIZE. */
export const PAGE_BITS = 12;

/** Flags of a RAM record. After CONTINUE is masked exactly one must be set. */
export const RAM_FLAG = {
  ZERO: 0x002,
  MEM_SIZE: 0x004,
  PAGE: 0x008,
  EOS: 0x010,
  CONTINUE: 0x020,
  XBZRLE: 0x040,
  HOOK: 0x080,
  COMPRESS_PAGE: 0x100,
  MULTIFD_FLUSH: 0x200,
} as const;
