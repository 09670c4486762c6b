/**
 * Is a migration over several channels, compressed or not, as fast between two of our machines as between two QEMUs? The
 * same RAM content, no bandwidth limit; beside it the speed of one thread of the same compressors (`limits`).
 */

import type { MigrationSettings } from './support/migrate-once.ts';
import { type MigrationRow, migrationBench } from './support/migration-pairs.ts';
import { measureRawLimits, printRawLimits } from './support/raw-limits.ts';

const MEMORY_BYTES = 2 * 1024 ** 3;
const CONTENTS = ['random', 'zero', 'guest'] as const;
const TRANSPORTS = ['tcp', 'unix'] as const;

interface Way {
  readonly name: string;
  readonly settings: MigrationSettings;
  /** What ours promises on each content, as a multiple of QEMU's speed. */
  readonly leastSpeed: Readonly<Record<(typeof CONTENTS)[number], number>>;
}

const EVERYWHERE = { random: 1, zero: 1, guest: 1 };
const WAYS: readonly Way[] = [
  { name: 'single', settings: {}, leastSpeed: EVERYWHERE },
  { name: 'none-1ch', settings: multifd(1), leastSpeed: EVERYWHERE },
  { name: 'none-2ch', settings: multifd(2), leastSpeed: EVERYWHERE },
  { name: 'none-4ch', settings: multifd(4), leastSpeed: EVERYWHERE },
  { name: 'none-8ch', settings: multifd(8), leastSpeed: EVERYWHERE },
  { name: 'zstd-2ch', settings: multifd(2, 'zstd'), leastSpeed: EVERYWHERE },
  { name: 'zlib-2ch', settings: multifd(2, 'zlib'), leastSpeed: { random: 1.2, zero: 1, guest: 1.2 } },
];

/** Both compressors at level 1, which is the default. */
function multifd(channels: number, compression: 'none' | 'zlib' | 'zstd' = 'none'): MigrationSettings {
  const level = compression === 'none' ? {} : { [`multifd-${compression}-level`]: 1 };
  return {
    capabilities: ['multifd'],
    parameters: { 'multifd-channels': channels, 'multifd-compression': compression, ...level },
    channels,
  };
}

const rows = CONTENTS.flatMap((content) =>
  WAYS.flatMap(({ name, settings, leastSpeed }) =>
    TRANSPORTS.map(
      (transport): MigrationRow => ({
        name: `${content}-${name}-${transport}`,
        content,
        memoryBytes: MEMORY_BYTES,
        transport,
        settings,
        leastSpeed: leastSpeed[content],
      }),
    ),
  ),
);

/** The benchmark behind `npm run bench -- multifd`. */
export const multifdBench = migrationBench({
  question: 'ours→ours against QEMU→QEMU: 1 to 8 channels, uncompressed, zstd and zlib, 2 GiB',
  rows,
  defaultPairs: 9,
  before: async () => {
    const rawLimitsBytesPerSecond = await measureRawLimits();
    printRawLimits(rawLimitsBytesPerSecond);
    return { rawLimitsBytesPerSecond };
  },
});
