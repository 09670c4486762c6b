/**
 * How much downtime do VFIO devices save that send their last data over multifd channels and load at the same time? The same
 * migration with x-migration-multifd-transfer on and off, where the devices' own rate is the limit, and where the processors
 * are. With switchover-ack, so that the last data is all that is left.
 */

import { switchoverMigrate } from './support/switchover-migrate.ts';
import { type ValueRow, valueBench } from './support/values.ts';

const MEMORY = '256MiB';
const STATE = '100MiB';
/** What one device can load per second: four at once leave two cores time. */
const LOAD = '200MiB';
/** Four devices one after the other take 2 s. */
const DOWNTIME_LIMIT_MS = 5000;
const CHANNELS = 4;

/** The benchmark behind `npm run bench -- multifd-devices`. */
export const multifdDevicesBench = valueBench({
  question: 'downtime of 2 and 4 VFIO devices of 100 MiB, with and without their state over multifd channels',
  rows: {
    '2-main': downtimeRow(2, 'off', LOAD),
    '2-channels': downtimeRow(2, 'on', LOAD),
    '4-main': downtimeRow(4, 'off', LOAD),
    '4-channels': downtimeRow(4, 'on', LOAD),
    '4-main-unlimited': downtimeRow(4, 'off', '0'),
    '4-channels-unlimited': downtimeRow(4, 'on', '0'),
  },
  derived: {
    '4 devices, channels / main': { unit: '×', bar: { atMost: 0.6 }, from: ratio('4-channels', '4-main') },
    '2 devices, channels / main': { unit: '×', from: ratio('2-channels', '2-main') },
    'as fast as the processors go, channels / main': {
      unit: '×',
      from: ratio('4-channels-unlimited', '4-main-unlimited'),
    },
  },
  defaultPairs: 5,
});

function downtimeRow(count: number, transfer: 'on' | 'off', load: string): ValueRow {
  const device = `mlx5-like,state=${STATE},load=${load},x-migration-multifd-transfer=${transfer}`;
  return {
    unit: 'ms',
    measure: async () => {
      const { downtimeMs } = await switchoverMigrate({
        memory: MEMORY,
        devices: Array.from({ length: count }, () => device),
        capabilities: ['return-path', 'switchover-ack', 'multifd'],
        parameters: { 'multifd-channels': CHANNELS, 'downtime-limit': DOWNTIME_LIMIT_MS },
        guest: 'sweep,rate=20MiB',
      });
      return downtimeMs;
    },
  };
}

function ratio(above: string, below: string) {
  return (medians: Readonly<Record<string, number>>) => (medians[above] ?? Number.NaN) / (medians[below] ?? Number.NaN);
}
