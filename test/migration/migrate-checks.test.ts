/** What `migrate` refuses, and in which order (spec/control.md §8.3). */

import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { type MigrateContext, refuseMigrate, warnOfClamps } from '../../src/migration/migrate-checks.ts';
import { IDLE_CONTEXT } from '../../src/migration/options/capabilities.ts';
import { MigrationOptions } from '../../src/migration/options/options.ts';
import { INITIAL_PROPERTIES } from '../../src/migration/options/properties.ts';
import { parseUri } from '../../src/migration/transport/address.ts';

/** Everything that can be wrong, and each thing with the text that is told when it is the first. */
const ALL_WRONG: readonly (readonly [
  mend: Partial<MigrateContext> & { resume?: boolean; uri?: string },
  text: string,
])[] = [
  [{ uri: 'file:/nowhere' }, 'Migration requires seekable transport (e.g. file)'],
  [{ resume: false }, 'Cannot resume if there is no paused migration'],
  [{ status: 'failed' }, "There's a migration process in progress"],
  [{ runState: 'postmigrate' }, 'Guest is waiting for an incoming migration'],
  [{ runState: 'running' }, "Can't migrate the vm that was paused due to previous migration"],
  [{ blocker: undefined }, 'blocked'],
  [{}, 'Cannot use TLS with mapped-ram'],
];

function mappedWithTls(): MigrationOptions {
  const options = new MigrationOptions();
  options.setParameters({ 'tls-creds': 'creds' });
  options.setCapabilities([{ capability: 'mapped-ram', state: true }], IDLE_CONTEXT);
  return options;
}

describe('of several things that are wrong, the first is told', () => {
  test.for(ALL_WRONG.map(([, text], index) => [text, index] as const))('%s', ([text, index]) => {
    const mended = Object.assign({}, ...ALL_WRONG.slice(0, index).map(([mend]) => mend)) as (typeof ALL_WRONG)[0][0];
    const { resume = true, uri = 'exec:cat', ...rest } = mended;
    const context: MigrateContext = {
      options: mappedWithTls(),
      status: 'active',
      runState: 'inmigrate',
      blocker: { reason: 'r', refusal: 'blocked' },
      ...rest,
    };
    expect(() => refuseMigrate(parseUri(uri), resume, context)).toThrow(text);
  });
});

test.for([
  [5, 'clear_bitmap_shift (5) too small, using min value (6)'],
  [6, undefined],
  [31, undefined],
  [32, 'clear_bitmap_shift (32) too big, using max value (31)'],
] as const)('a clear-bitmap-shift of %i is told when a migration starts: %s', ([shift, text]) => {
  const lines: string[] = [];
  const log = pino({ base: null }, { write: (line) => void lines.push(JSON.parse(line).msg) });
  warnOfClamps({ properties: { ...INITIAL_PROPERTIES, 'x-clear-bitmap-shift': shift } }, log);
  expect(lines).toEqual(text === undefined ? [] : [text]);
});
