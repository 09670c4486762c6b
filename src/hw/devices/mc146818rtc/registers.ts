/** The real-time clock's registers, from the data sheet of the Motorola MC146818A. The PC reaches them by index and data port. */

/** Ports. */
export const PORT = { INDEX: 0, DATA: 1 } as const;

/** Registers by index; what follows up to 0x7f is RAM. */
export const REGISTER = {
  SECONDS: 0x00,
  SECONDS_ALARM: 0x01,
  MINUTES: 0x02,
  MINUTES_ALARM: 0x03,
  HOURS: 0x04,
  HOURS_ALARM: 0x05,
  DAY_OF_WEEK: 0x06,
  DAY: 0x07,
  MONTH: 0x08,
  YEAR: 0x09,
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  D: 0x0d,
  /** A place in RAM where PCs keep it. */
  CENTURY: 0x32,
} as const;

/** Registers and RAM (bytes). */
export const CMOS_BYTES = 128;

/** Register A. */
export const A = { RATE: 0x0f, DIVIDER: 0x60, DIVIDER_RESET: 0x60, UPDATE_IN_PROGRESS: 0x80, PRESET: 0x26 } as const;

/** Register B. The enable bits are where C has the flags. */
export const B = {
  HOURS_24: 0x02,
  BINARY: 0x04,
  SQUARE_WAVE: 0x08,
  UPDATE: 0x10,
  ALARM: 0x20,
  PERIODIC: 0x40,
  SET: 0x80,
} as const;

/** Register C; reading clears it. */
export const C = { UPDATED: 0x10, ALARM: 0x20, PERIODIC: 0x40, INTERRUPT: 0x80, CAUSES: 0x70 } as const;

/** Register D: the battery is good. */
export const VALID = 0x80;

/** In an hour of a 12-hour clock. */
export const PM = 0x80;
/** An alarm register of this or above matches anything. */
export const ANY = 0xc0;
/** What periods are counted in (Hz). */
export const BASE_FREQUENCY = 32_768n;
