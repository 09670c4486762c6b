/** Logging: pino to stderr, level from SWITCHOVER_LOG (default `warn`). Data goes to stdout, never through here. */

import { type DestinationStream, destination, type Logger, pino } from 'pino';
import { HarnessError } from './errors.ts';

export type { Logger };

const LEVELS = [...Object.keys(pino.levels.values), 'silent'];

/** A root logger; throws `option/bad-value` for a level that pino has not. Components take children: `log.child({ component: 'source' })`. */
export function createLogger(options: { level?: string; stream?: DestinationStream } = {}): Logger {
  const level = options.level ?? process.env['SWITCHOVER_LOG'] ?? 'warn';
  if (!LEVELS.includes(level)) {
    throw new HarnessError('option/bad-value', {
      option: 'SWITCHOVER_LOG',
      expected: LEVELS.join(', '),
      actual: `'${level}'`,
    });
  }
  return pino({ level, base: null }, options.stream ?? destination({ fd: 2, sync: true }));
}

/** A logger that says nothing, for tests and for libraries. */
export const silentLogger: Logger = pino({ level: 'silent' });
