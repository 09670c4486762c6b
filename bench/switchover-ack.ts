/**
 * How much downtime does switchover-ack save, and does the source know before it stops the guest how long it will be
 * stopped? One emulated mlx5 whose destination allocates before it can load, with and without the capability, for three costs
 * of allocation; then six mixes of devices, each judged by the downtime that was expected at the switchover.
 */

import { memoryToMemoryMs, socketSpeed } from './support/raw-limits.ts';
import { type MigrationVerdict, switchoverMigrate } from './support/switchover-migrate.ts';
import { type ValueRow, valueBench } from './support/values.ts';

const MIB = 1024 ** 2;
const MEMORY = '64MiB';
const STATE_MIB = 300;
const ACK = ['return-path', 'switchover-ack'];
const NO_ACK = ['return-path'];
/** What the destination's allocation costs (ms per MiB). */
const ALLOCATIONS = [0, 5, 20] as const;
const MIXES: Readonly<Record<string, readonly string[]>> = {
  nic: ['mlx5-like,state=300MiB,alloc=5ms/MiB'],
  'slow-nic': ['mlx5-like,state=100MiB,alloc=20ms/MiB,load=500MiB'],
  'two-nics': ['mlx5-like,state=100MiB,alloc=5ms/MiB,load=1GiB', 'mlx5-like,state=50MiB,alloc=5ms/MiB,load=500MiB'],
  vgpu: ['vgpu,state=256MiB,dirty=50MiB,load=500MiB'],
  crypto: ['setup-then-state,alloc=5ms/MiB', 'tiny-match,p2p=on'],
  mixed: [
    'mlx5-like,state=64MiB,alloc=5ms/MiB,load=500MiB',
    'full-resend,state=16MiB,load=200MiB',
    'tiny-match,p2p=on',
  ],
};

/** The benchmark behind `npm run bench -- switchover-ack`. */
export const switchoverAckBench = valueBench({
  question: 'downtime with and without switchover-ack, and expected against measured downtime',
  rows: {
    'without-ack-5': downtimeRow(5, NO_ACK),
    ...Object.fromEntries(ALLOCATIONS.map((alloc) => [`with-ack-${alloc}`, downtimeRow(alloc, ACK)])),
    'socket-300MiB': { unit: 'ms', measure: socketMilliseconds },
    'memory-300MiB': { unit: 'ms', measure: () => memoryToMemoryMs(STATE_MIB * MIB) },
    ...Object.fromEntries(
      Object.entries(MIXES).flatMap(([name, devices]) => {
        const { estimate, byRam } = offRows(devices);
        return [
          [`estimate-${name}`, estimate],
          [`by-ram-${name}`, byRam],
        ];
      }),
    ),
  },
  derived: {
    'without / with, 5 ms/MiB': {
      unit: '×',
      bar: { atLeast: 4.5 },
      from: (medians) => part(medians, 'without-ack-5') / part(medians, 'with-ack-5'),
    },
    'with ack / the bytes alone on a socket': {
      unit: '×',
      bar: { atMost: 1.15 },
      from: (medians) => part(medians, 'with-ack-5') / part(medians, 'socket-300MiB'),
    },
    'with ack / the bytes alone from memory to memory': {
      unit: '×',
      from: (medians) => part(medians, 'with-ack-5') / part(medians, 'memory-300MiB'),
    },
    'largest / least, by allocation cost': {
      unit: '×',
      bar: { atMost: 1.1 },
      from: (medians) => {
        const downtimes = ALLOCATIONS.map((alloc) => part(medians, `with-ack-${alloc}`));
        return Math.max(...downtimes) / Math.min(...downtimes);
      },
    },
  },
});

function downtimeRow(allocation: number, capabilities: readonly string[]): ValueRow {
  const devices = [`mlx5-like,state=${STATE_MIB}MiB,alloc=${allocation}ms/MiB`];
  return {
    unit: 'ms',
    measure: async () => (await switchoverMigrate({ memory: MEMORY, devices, capabilities })).downtimeMs,
  };
}

/** How far two expectations of one migration's downtime were off, as a share of the measured one; `byRam` is QEMU's rule. */
function offRows(devices: readonly string[]): { readonly estimate: ValueRow; readonly byRam: ValueRow } {
  /** Measured for one row, not yet judged by the other. */
  const unjudged = new Map<'estimate' | 'byRam', MigrationVerdict>();
  const verdictFor = async (row: 'estimate' | 'byRam') => {
    const known = unjudged.get(row);
    unjudged.clear();
    if (known !== undefined) return known;
    const fresh = await switchoverMigrate({ memory: MEMORY, devices, capabilities: ACK, guest: 'sweep,rate=20MiB' });
    unjudged.set(row === 'estimate' ? 'byRam' : 'estimate', fresh);
    return fresh;
  };
  const estimate = async () => {
    const verdict = await verdictFor('estimate');
    return offPercent(verdict.expectedDowntimeMs, verdict);
  };
  const byRam = async () => {
    const verdict = await verdictFor('byRam');
    return offPercent(verdict.expectedDowntimeByRamMs, verdict);
  };
  return { estimate: { unit: '%', bar: { atMost: 15 }, measure: estimate }, byRam: { unit: '%', measure: byRam } };
}

function offPercent(expectedMs: number, { downtimeMs }: MigrationVerdict): number {
  return (Math.abs(expectedMs - downtimeMs) / downtimeMs) * 100;
}

/** What 300 MiB take on TCP between two processes that do nothing else, and keep nothing: the same MiB again and again. */
async function socketMilliseconds(): Promise<number> {
  return ((STATE_MIB * MIB) / (await socketSpeed('tcp'))) * 1000;
}

function part(medians: Readonly<Record<string, number>>, name: string): number {
  return medians[name] ?? Number.NaN;
}
