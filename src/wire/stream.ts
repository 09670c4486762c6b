/** Numbers of the stream's framing: header, elements, commands, return-path messages (spec/wire.md §1–3). No behaviour. */

/** `QEVM`, the first four bytes of a stream. */
export const STREAM_MAGIC = 0x5145_564d;
/** The only version in use. */
export const STREAM_VERSION = 3;

/** Type bytes at element position (spec/wire.md §1.1). */
export const ELEMENT = {
  EOF: 0x00,
  SECTION_START: 0x01,
  SECTION_PART: 0x02,
  SECTION_END: 0x03,
  SECTION_FULL: 0x04,
  SUBSECTION: 0x05,
  VMDESCRIPTION: 0x06,
  CONFIGURATION: 0x07,
  COMMAND: 0x08,
  FOOTER: 0x7e,
} as const;

/** COMMAND elements (spec/wire.md §2): id and fixed length of the data, `undefined` where it varies. */
export const COMMANDS = {
  OPEN_RETURN_PATH: { id: 1, length: 0 },
  PING: { id: 2, length: 4 },
  POSTCOPY_ADVISE: { id: 3, length: undefined },
  POSTCOPY_LISTEN: { id: 4, length: 0 },
  POSTCOPY_RUN: { id: 5, length: 0 },
  POSTCOPY_RAM_DISCARD: { id: 6, length: undefined },
  PACKAGED: { id: 7, length: 4 },
  ENABLE_COLO: { id: 8, length: 0 },
  POSTCOPY_RESUME: { id: 9, length: 0 },
  RECV_BITMAP: { id: 10, length: undefined },
  SWITCHOVER_START: { id: 11, length: 0 },
} as const;
/** Name of a COMMAND element. */
export type CommandName = keyof typeof COMMANDS;

/** Return-path messages (spec/wire.md §3): type and fixed length, `undefined` where it varies. */
export const RETURN_PATH = {
  SHUT: { type: 1, length: 4 },
  PONG: { type: 2, length: 4 },
  REQ_PAGES_ID: { type: 3, length: undefined },
  REQ_PAGES: { type: 4, length: 12 },
  RECV_BITMAP: { type: 5, length: undefined },
  RESUME_ACK: { type: 6, length: 4 },
  SWITCHOVER_ACK: { type: 7, length: 0 },
} as const;
/** Name of a return-path message. */
export type ReturnPathName = keyof typeof RETURN_PATH;

/** Subsections of the configuration section, in the order a source sends them (spec/wire.md §1.3). */
export const CONFIGURATION_SUBSECTIONS = {
  TARGET_PAGE_BITS: 'configuration/target-page-bits',
  CAPABILITIES: 'configuration/capabilities',
  UUID: 'configuration/uuid',
} as const;
