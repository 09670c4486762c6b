/**
 * One migration between two processes of one kind, measured. Both kinds get the same: the source is loaded, then a
 * helper process touches as much memory as the destination will need and ends, then `migrate` is sent at once.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Peer, PeerKind } from '../../test/support/peer.ts';
import { startPeer } from '../../test/support/switchover-vm.ts';
import { tempDir } from '../../test/support/temp.ts';
import type { Content } from './content.ts';
import { cpuSeconds, machineSeconds, memoryUse, quietMachine } from './proc.ts';

const MIB = 1024 ** 2;
const WARM_UP = fileURLToPath(new URL('warm-up.ts', import.meta.url));
/** Touched beyond the destination's RAM: socket buffers, the processes' own. */
const WARM_UP_EXTRA_BYTES = 512 * MIB;
const LONGEST_MS = 120_000;
/** How often it is asked whether the migration is over: seldom, because whoever answers has less CPU for the migration. */
const POLL_MS = 50;
const LONGEST_WAIT_FOR_QUIET_MS = 15_000;
/** A run is disturbed when others had more CPU than this share of its time, and more than /proc's ticks can blur. */
const DISTURBED_SHARE = 0.2;
const DISTURBED_SECONDS = 0.06;

/** Which socket lies between the two. */
export type TransportKind = 'tcp' | 'unix';

/** What one process needed. */
export interface SideUse {
  /** CPU time of the migration alone. */
  readonly cpuSeconds: number;
  /** Largest resident size less what guest RAM holds of it. */
  readonly overheadBytes: number;
}

/** Capabilities and parameters of both sides, and how many channels they make. */
export interface MigrationSettings {
  readonly capabilities?: readonly string[];
  readonly parameters?: Readonly<Record<string, string | number>>;
  /** Multifd channels; 0 or absent without. */
  readonly channels?: number;
}

/** One migration's numbers. Milliseconds unless the name says otherwise. */
export interface Run {
  /** `total-time` of query-migrate on the source. */
  readonly totalTime: number;
  readonly downtime: number;
  /** From sending `migrate` until the destination says completed, seen from outside (to about 50 ms). */
  readonly wallTime: number;
  readonly source: SideUse;
  readonly destination: SideUse;
  /** CPU seconds of everybody else while it ran, and what the host took: reasons for noise. */
  readonly othersCpuSeconds: number;
  readonly stolenSeconds: number;
}

/** True when so much else ran during the migration that its times say little; judged without looking at them. */
export function isDisturbed({ othersCpuSeconds, stolenSeconds, wallTime }: Run): boolean {
  return othersCpuSeconds + stolenSeconds > Math.max(DISTURBED_SECONDS, (DISTURBED_SHARE * wallTime) / 1000);
}

/** Migrates `content` once from one fresh process to another; with `verify` both sides' RAM must be equal after. */
export async function migrateOnce(options: {
  source: PeerKind;
  destination: PeerKind;
  transport: TransportKind;
  settings: MigrationSettings;
  content: Content;
  verify: boolean;
}): Promise<Run> {
  const { transport, settings, content, verify } = options;
  await using dir = await tempDir();
  const memory = `${content.memoryBytes / MIB}M`;
  const incoming = transport === 'unix' ? `unix:${dir.file('migrate.sock')}` : 'tcp:127.0.0.1:0';
  await using source = await startPeer(options.source, { memory, args: content.loaderArgs });
  await using destination = await startPeer(options.destination, { memory, incoming: 'defer' });
  for (const peer of [source, destination]) await configure(peer, settings);
  await destination.qmp.execute('migrate-incoming', { uri: incoming });
  const uri = transport === 'unix' ? incoming : `tcp:127.0.0.1:${await listeningPort(destination)}`;
  await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
  await quietMachine(LONGEST_WAIT_FOR_QUIET_MS);
  await warmUp(content.memoryBytes + WARM_UP_EXTRA_BYTES);

  const peers = [source, destination];
  const cpuBefore = peers.map((peer) => cpuSeconds(peer.pid));
  const machineBefore = machineSeconds();
  const start = performance.now();
  await source.qmp.execute('migrate', { uri });
  await destination.waitStatus('completed', LONGEST_MS, POLL_MS);
  const wallTime = performance.now() - start;
  const info = await source.waitStatus('completed', LONGEST_MS);
  const machineAfter = machineSeconds();
  const [sourceUse, destinationUse] = peers.map((peer, index) => useOf(peer, cpuBefore[index] ?? 0)) as [
    SideUse,
    SideUse,
  ];
  if (verify) await compareRam(source, destination);
  const own = sourceUse.cpuSeconds + destinationUse.cpuSeconds;
  return {
    totalTime: Number(info['total-time']),
    downtime: Number(info['downtime']),
    wallTime: Math.round(wallTime),
    source: sourceUse,
    destination: destinationUse,
    othersCpuSeconds: Math.max(0, machineAfter.busy - machineBefore.busy - own),
    stolenSeconds: machineAfter.stolen - machineBefore.stolen,
  };
}

async function configure(peer: Peer, { capabilities = [], parameters = {} }: MigrationSettings): Promise<void> {
  await peer.setCapabilities(Object.fromEntries(capabilities.map((name) => [name, true])));
  await peer.qmp.execute('migrate-set-parameters', parameters);
}

async function listeningPort(destination: Peer): Promise<string> {
  // QMP's reply is trusted here: a driver of benchmarks, not a product.
  const info = (await destination.qmp.execute('query-migrate')) as { 'socket-address'?: { port?: string }[] };
  const port = info['socket-address']?.[0]?.port;
  if (port === undefined) throw new Error(`${destination.kind} does not say on which port it listens`);
  return port;
}

async function warmUp(bytes: number): Promise<void> {
  const args = ['--disable-warning=ExperimentalWarning', WARM_UP, String(bytes)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`the warm-up of ${bytes} bytes ended with ${code}`);
}

function useOf(peer: Peer, cpuBefore: number): SideUse {
  const cpu = cpuSeconds(peer.pid) - cpuBefore;
  // Guest RAM is by far the largest mapping; what of it is resident was touched.
  const { highWaterBytes, largestMappingBytes } = memoryUse(peer.pid);
  return { cpuSeconds: cpu, overheadBytes: highWaterBytes - largestMappingBytes };
}

async function compareRam(source: Peer, destination: Peer): Promise<void> {
  const sent = await source.ramSha256();
  const received = await destination.ramSha256();
  if (sent !== received) throw new Error(`${source.kind} delivered other bytes: RAM ${sent} became ${received}`);
}
