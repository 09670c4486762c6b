/** Registers of the 16550A UART, from its data sheet (National Semiconductor PC16550D). Offsets in bytes. */

/** With DLAB set, 0 and 1 are the divisor latch. */
export const REGISTER = {
  /** Read: receiver buffer. Write: transmitter holding register. DLAB: divisor, low byte. */
  DATA: 0,
  /** Interrupt enable. DLAB: divisor, high byte. */
  IER: 1,
  /** Read: interrupt identification. */
  IIR: 2,
  /** Write: FIFO control. */
  FCR: 2,
  LCR: 3,
  MCR: 4,
  LSR: 5,
  MSR: 6,
  SCR: 7,
} as const;

/** Interrupt enable. */
export const IER = {
  RECEIVED: 0x01,
  TRANSMITTER_EMPTY: 0x02,
  LINE_STATUS: 0x04,
  MODEM_STATUS: 0x08,
  ALL: 0x0f,
} as const;

/** Interrupt identification, highest priority first. */
export const IIR = {
  LINE_STATUS: 0x06,
  TIMEOUT: 0x0c,
  RECEIVED: 0x04,
  TRANSMITTER_EMPTY: 0x02,
  MODEM_STATUS: 0x00,
  NONE: 0x01,
  ID: 0x0f,
  FIFOS_ENABLED: 0xc0,
} as const;

/** FIFO control. The two reset bits clear themselves. */
export const FCR = {
  ENABLE: 0x01,
  RESET_RECEIVER: 0x02,
  RESET_TRANSMITTER: 0x04,
  DMA_MODE: 0x08,
  KEPT: 0xc9,
  TRIGGER_SHIFT: 6,
} as const;

/** Bytes in the receiver FIFO at which it interrupts, by the two top bits of FCR. */
export const TRIGGER_LEVELS = [1, 4, 8, 14] as const;

/** Line control. */
export const LCR = { DATA_BITS: 0x03, TWO_STOP_BITS: 0x04, PARITY: 0x08, BREAK: 0x40, DLAB: 0x80 } as const;

/** Modem control. */
export const MCR = { DTR: 0x01, RTS: 0x02, OUT1: 0x04, OUT2: 0x08, LOOPBACK: 0x10, ALL: 0x1f } as const;

/** Line status. */
export const LSR = {
  DATA_READY: 0x01,
  OVERRUN: 0x02,
  PARITY: 0x04,
  FRAMING: 0x08,
  BREAK: 0x10,
  HOLDING_EMPTY: 0x20,
  TRANSMITTER_EMPTY: 0x40,
  /** What interrupts as line status. */
  ERRORS: 0x1e,
} as const;

/** Modem status; the low half says what changed since it was read. */
export const MSR = { CTS: 0x10, DSR: 0x20, RI: 0x40, DCD: 0x80, CHANGES: 0x0f } as const;

/** Bytes of either FIFO. */
export const FIFO_BYTES = 16;
/** Characters of silence after which less than a trigger level interrupts. */
export const TIMEOUT_CHARACTERS = 4;
/** Bits per second at divisor 1: a clock of 1.8432 MHz by 16. */
export const BASE_RATE = 115_200;
