/** The interval timer's ports and the bits of its control word, from the data sheet of the Intel 8254. */

/** Ports; a counter's are by its number. */
export const PORT = { COUNTER0: 0, COUNTER1: 1, COUNTER2: 2, CONTROL: 3 } as const;

/** Counters of the chip. */
export const CHANNELS = 3;
/** What a PC drives it with (Hz). */
export const FREQUENCY = 1_193_182n;

/** Control word. */
export const CONTROL = {
  COUNTER_SHIFT: 6,
  /** As counter: the read-back command. */
  READ_BACK: 3,
  ACCESS_SHIFT: 4,
  ACCESS: 0x03,
  MODE_SHIFT: 1,
  MODE: 0x07,
  BCD: 0x01,
} as const;

/** Read-back command; a bit for each counter from `COUNTER0` up. Latching is asked for by zeros. */
export const READ_BACK = { NO_COUNT: 0x20, NO_STATUS: 0x10, COUNTER0: 0x02 } as const;

/** How a counter is accessed; the low two bits of a state also say which byte is next. */
export const ACCESS = { LATCH: 0, LOW: 1, HIGH: 2, BOTH: 3, BOTH_HIGH: 4 } as const;

/** Status byte above the control word's bits. */
export const STATUS = { OUT: 0x80, NULL_COUNT: 0x40 } as const;
