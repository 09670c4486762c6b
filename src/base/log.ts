/** Logging: pino to stderr, level from SWITCHOVER_LOG (default `warn`). Data goes to stdout, never through here. */

import { type DestinationStream, destination, type Logger, pino } from 'pino';

export type { Logger };

/** A root logger. Components take children: `log.child({ component: 'source' })`. */
export function createLogger(options: { level?: string; stream?: DestinationStream } = {}): Logger {
  const level = options.level ?? process.env['SWITCHOVER_LOG'] ?? 'warn';
  return pino({ level, base: null }, options.stream ?? destination({ fd: 2, sync: true }));
}

/** A logger that says nothing, for tests and for libraries. */
export const silentLogger: Logger = pino({ level: 'silent' });
