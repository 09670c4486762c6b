/** Registers and bits of the teaching device, after QEMU's published description of `edu` (docs/specs/edu). */

/** Offsets in the register block (bytes). The DMA registers have 64 bits: the second half is 4 bytes further on. */
export const REGISTER = {
  IDENTIFICATION: 0x00,
  LIVENESS: 0x04,
  FACTORIAL: 0x08,
  STATUS: 0x20,
  INTERRUPT_STATUS: 0x24,
  INTERRUPT_RAISE: 0x60,
  INTERRUPT_ACKNOWLEDGE: 0x64,
  DMA_SOURCE: 0x80,
  DMA_DESTINATION: 0x88,
  DMA_COUNT: 0x90,
  DMA_COMMAND: 0x98,
} as const;

/** Bytes of the register block. */
export const REGISTERS_BYTES = 0x10_0000;
/** `0xRRrr00ed`: version RR.rr of the device. */
export const IDENTIFICATION = 0x0100_00ed;
/** Where the DMA engine sees the device's own buffer. */
export const BUFFER_START = 0x4_0000;
/** Bytes of the buffer. */
export const BUFFER_BYTES = 4096;

/** Bits of STATUS. */
export const STATUS = { COMPUTING: 0x01, INTERRUPT_WHEN_DONE: 0x80 } as const;
/** Bits of DMA_COMMAND. */
export const DMA = { RUN: 0x01, FROM_DEVICE: 0x02, INTERRUPT_WHEN_DONE: 0x04 } as const;
/** Bits of INTERRUPT_STATUS that the device sets by itself. */
export const INTERRUPT = { FACTORIAL: 0x001, DMA: 0x100 } as const;
