/**
 * Is a migration between two of our machines as fast as one between two QEMUs? One channel, no bandwidth limit, the same
 * RAM content, over TCP and unix sockets.
 */

import { verdict } from './support/bench.ts';
import { type MigrationRow, migrationBench } from './support/migration-pairs.ts';
import { measureRawLimits, printRawLimits } from './support/raw-limits.ts';
import { startUpMs } from './support/start-up.ts';
import { medianOf, spreadOf } from './support/statistics.ts';

const GIB = 1024 ** 3;
const START_UPS = 9;
const START_UP_BAR_MS = 250;
const CONTENTS = [
  { content: 'random', memoryBytes: GIB },
  { content: 'zero', memoryBytes: GIB },
  { content: 'mixed', memoryBytes: 4 * GIB },
] as const;

const rows = CONTENTS.flatMap(({ content, memoryBytes }) =>
  (['tcp', 'unix'] as const).map(
    (transport): MigrationRow => ({ name: `${content}-${transport}`, content, memoryBytes, transport, leastSpeed: 1 }),
  ),
);

/** The benchmark behind `npm run bench -- stream`. */
export const streamBench = migrationBench({
  question: 'ours→ours against QEMU→QEMU: one channel, no limit, random, zero and mixed RAM',
  rows,
  defaultPairs: 7,
  before: async () => {
    const startUp = await measureStartUps();
    const rawLimitsBytesPerSecond = await measureRawLimits();
    printRawLimits(rawLimitsBytesPerSecond);
    return { startUpMs: startUp, rawLimitsBytesPerSecond };
  },
});

async function measureStartUps(): Promise<object> {
  const times = { qemu: [] as number[], switchover: [] as number[], cold: [] as number[] };
  for (let n = 0; n < START_UPS; n += 1) {
    for (const kind of ['qemu', 'switchover'] as const) times[kind].push(await startUpMs(kind));
    times.cold.push(await startUpMs('switchover', { cold: true }));
  }
  const [qemu, ours, cold] = [times.qemu, times.switchover, times.cold].map(medianOf) as [number, number, number];
  console.log(
    `Start to QMP greeting (median of ${START_UPS}): QEMU ${qemu.toFixed(0)} ms, ours ${ours.toFixed(0)} ms ` +
      `(bar ${START_UP_BAR_MS} ms: ${verdict(ours, { atMost: START_UP_BAR_MS })}), and ${cold.toFixed(0)} ms ` +
      `where it never ran before (${verdict(cold, { atMost: START_UP_BAR_MS })})`,
  );
  return { qemu: spreadOf(times.qemu), switchover: spreadOf(times.switchover), cold: spreadOf(times.cold) };
}
