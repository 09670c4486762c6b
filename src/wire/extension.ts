/**
 * What two Switchovers say to each other beyond QEMU's return path. The source probes with a PING value of its own; a real
 * QEMU answers with that same value, a Switchover with another one, and only after that answer do the messages below flow.
 * They have the return path's frame (u16 type, u16 length) and types that QEMU does not use. Times are nanoseconds of the
 * destination's monotonic clock.
 */

import { struct, u8, u32, u64 } from './struct.ts';

/** The source's probe (`SwO?`). */
export const PROBE_PING = 0x5377_4f3f;
/** How a Switchover answers it (`SwO!`). */
export const PROBE_PONG = 0x5377_4f21;

/**
 * Asks, once the probe was answered, how far the destination is behind (`SwOB`): it tells the READINESS of every device that was ready
 * before, and then answers with the same value.
 */
export const BACKLOG_PING = 0x5377_4f42;

/** Message types. Every message begins with its fixed fields; a name ends it, of the rest of its length. */
export const EXTENSION = {
  /** The clock, for what follows, and how the destination takes part in switchover-ack. */
  HELLO: {
    type: 0x5301,
    fields: struct([
      u64('nowNs'),
      /** 1 when the capability switchover-ack is on. */
      u8('hasAck'),
      /** 1 when acks are counted in legacy mode. */
      u8('isAckLegacy'),
    ]),
  },
  /** How far a device is; sent when that changes. */
  READINESS: {
    type: 0x5302,
    fields: struct([
      u64('nowNs'),
      /** 1 once the device is ready: all that it announced is allocated and prepared. */
      u8('ready'),
      /** Spent on preparation so far. */
      u64('preparationNs'),
      /** Measured while loading precopy data (bytes per second, 0 = not measured yet). */
      u64('loadBytesPerSecond'),
      /** Bytes that have arrived for it and that it has not taken. */
      u64('aheadBytes'),
      u32('instanceId'),
    ]),
  },
  /** Stretches of one kind of the downtime ledger, `count` times start and end (u64, ns); sent before the final status. */
  LEDGER_PARTS: {
    type: 0x5303,
    fields: struct([u64('nowNs'), u8('phase'), u8('count')]),
  },
} as const;

/** Name of an extension message. */
export type ExtensionName = keyof typeof EXTENSION;
