/**
 * Limits of a QMP connection beside those in `wire/limits.ts`: what one client can make us hold, keep waiting or
 * queue. QEMU's own bounds where it has one.
 */

/** What one QMP client may ask of us; counts, bytes and milliseconds as each line says. */
export const QMP_LIMITS = {
  /** Tokens of one JSON value, as QEMU's parser. */
  TOKENS: 2 * 1024 * 1024,
  /** In-band commands read ahead while one runs; then reading stops, as in QEMU. */
  QUEUED_COMMANDS: 8,
  /** Unread output (bytes) from which on no further command of the client runs and nothing more is read from it. */
  UNREAD_REPLY_BYTES: 1024 * 1024,
  /** Unread output (bytes) at which a client is cut off: events keep coming even when it sends no command. */
  UNREAD_OUTPUT_BYTES: 16 * 1024 * 1024,
  /** Clients that wait for their turn at one socket; more are turned away. */
  WAITING_CLIENTS: 16,
  /** How long a closing monitor waits for its client to take the last replies (ms). */
  FLUSH_MS: 1000,
  /** One message to our client (bytes); query-qmp-schema of QEMU 10 is 200 KB. */
  CLIENT_MESSAGE_BYTES: 64 * 1024 * 1024,
} as const;
