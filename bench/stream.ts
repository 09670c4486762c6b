/**
 * Is a migration between two of our machines as fast as one between two QEMUs? One channel, no bandwidth limit, the same
 * RAM content, over TCP and unix sockets; interleaved pairs, so that what disturbs the machine disturbs both alike.
 */

import { rmSync } from 'node:fs';
import { assert } from '../src/base/assert.ts';
import { formatSize } from '../src/base/units.ts';
import type { PeerKind } from '../test/support/peer.ts';
import { whyNoQemu } from '../test/support/qemu.ts';
import { tempDir } from '../test/support/temp.ts';
import type { Bench } from './support/bench.ts';
import { type Content, type Mix, writeContent } from './support/content.ts';
import { describeMachine, type Machine, machineLine } from './support/machine.ts';
import { isDisturbed, migrateOnce, type Run, type SideUse, type TransportKind } from './support/migrate-once.ts';
import { measureRawLimits, type RawLimits } from './support/raw-limits.ts';
import { startUpMs } from './support/start-up.ts';
import { mannWhitneyP, medianOf, NOISY_SPREAD, quartileSpread, type Spread, spreadOf } from './support/statistics.ts';
import { formatTable } from './support/table.ts';

const GIB = 1024 ** 3;
const SEED = 1;
const START_UPS = 9;
/** How often a pair is measured when others use the machine meanwhile; the last one counts in any case. */
const ATTEMPTS = 4;
const KINDS = ['qemu', 'switchover'] as const satisfies readonly PeerKind[];
const TRANSPORTS = ['tcp', 'unix'] as const satisfies readonly TransportKind[];
/** What `switchover` promises of itself. */
const BARS = { overheadBytes: 120 * 1024 ** 2, startUpMs: 250 };

/** RAM contents; `mixed` is what a guest that has worked for a while holds. */
const CONTENTS: Readonly<Record<string, { memoryBytes: number; mix: Mix }>> = {
  random: { memoryBytes: GIB, mix: { zero: 0, random: 1, text: 0 } },
  zero: { memoryBytes: GIB, mix: { zero: 1, random: 0, text: 0 } },
  mixed: { memoryBytes: 4 * GIB, mix: { zero: 0.45, random: 0.35, text: 0.2 } },
};

type PerKind<T> = Record<(typeof KINDS)[number], T>;

/** One row of the result: every run, and what follows from them. */
interface Row {
  readonly name: string;
  readonly memoryBytes: number;
  readonly dataBytes: number;
  readonly runs: PerKind<readonly Run[]>;
  /** Pairs that were measured again, and pairs that count although they were disturbed. */
  readonly repeatedPairs: number;
  readonly disturbedPairs: number;
  readonly medianMs: PerKind<number>;
  /** QEMU's time over ours: above 1 ours is faster. */
  readonly ratio: number;
  /** The same for each pair. */
  readonly pairRatio: Spread;
  readonly mannWhitneyP: number | undefined;
  readonly isNoisy: boolean;
}

/** The benchmark behind `npm run bench -- stream`. */
export const streamBench: Bench = {
  question: 'ours→ours against QEMU→QEMU: one channel, no limit, random, zero and mixed RAM',
  rows: Object.keys(CONTENTS).flatMap((content) => TRANSPORTS.map((transport) => `${content}-${transport}`)),
  defaultPairs: 7,
  run,
};

async function run({ pairs, rows }: { pairs: number; rows: readonly string[] }): Promise<object> {
  const why = whyNoQemu();
  if (why !== undefined) throw new Error(why);
  const machine = describeMachine();
  console.log(machineLine(machine));
  const startUp = await measureStartUps();
  printStartUps(startUp);
  const limits = await measureRawLimits();
  printLimits(limits);

  const results: Row[] = [];
  for (const [name, { memoryBytes, mix }] of Object.entries(CONTENTS)) {
    const transports = TRANSPORTS.filter((transport) => rows.includes(`${name}-${transport}`));
    if (transports.length === 0) continue;
    await using dir = await tempDir();
    // Gigabytes: they must go too when the benchmark is interrupted (main.ts turns signals into an exit).
    process.once('exit', () => rmSync(dir.path, { recursive: true, force: true }));
    const content = await writeContent({ directory: dir.path, name, memoryBytes, mix, seed: SEED });
    for (const transport of transports) results.push(await measureRow({ name, transport, content, pairs }));
  }
  printRows(results);
  printUse(results);
  printNoise(results);
  return record({ machine, startUp, limits, pairs, results });
}

async function measureStartUps(): Promise<PerKind<readonly number[]>> {
  const times: PerKind<number[]> = { qemu: [], switchover: [] };
  for (let n = 0; n < START_UPS; n += 1) {
    for (const kind of order(n)) times[kind].push(await startUpMs(kind));
  }
  return times;
}

async function measureRow(options: {
  name: string;
  transport: TransportKind;
  content: Content;
  pairs: number;
}): Promise<Row> {
  const { transport, content, pairs } = options;
  const name = `${options.name}-${transport}`;
  const runs: PerKind<Run[]> = { qemu: [], switchover: [] };
  let [repeatedPairs, disturbedPairs] = [0, 0];
  // Not counted: it proves that both deliver every byte, and brings programs and content into the page cache.
  for (const kind of KINDS) await migrateOnce({ kind, transport, content, verify: true });
  for (let pair = 0; pair < pairs; pair += 1) {
    const { attempts, disturbed, ...both } = await measurePair({
      pair,
      transport,
      content,
    });
    repeatedPairs += attempts - 1;
    disturbedPairs += disturbed ? 1 : 0;
    for (const kind of KINDS) runs[kind].push(both[kind]);
    const note = `${attempts > 1 ? ` (attempt ${attempts})` : ''}${disturbed ? ' (disturbed)' : ''}`;
    const told = KINDS.map((kind) => `${kind} ${both[kind].totalTime} ms`).join(', ');
    console.log(`  ${name}  pair ${pair + 1}/${pairs}: ${told}${note}`);
  }
  const times = { qemu: timesOf(runs.qemu), switchover: timesOf(runs.switchover) };
  const medianMs = { qemu: medianOf(times.qemu), switchover: medianOf(times.switchover) };
  const pairRatio = spreadOf(times.qemu.map((time, pair) => time / (times.switchover[pair] ?? Number.NaN)));
  return {
    name,
    memoryBytes: content.memoryBytes,
    dataBytes: content.dataBytes,
    runs,
    repeatedPairs,
    disturbedPairs,
    medianMs,
    ratio: medianMs.qemu / medianMs.switchover,
    pairRatio,
    mannWhitneyP: mannWhitneyP(times.qemu, times.switchover),
    isNoisy: quartileSpread(pairRatio) > NOISY_SPREAD,
  };
}

/** One run of each; both again when the machine was busy with something else during either. */
async function measurePair(options: {
  pair: number;
  transport: TransportKind;
  content: Content;
}): Promise<PerKind<Run> & { attempts: number; disturbed: boolean }> {
  const { pair, ...rest } = options;
  for (let attempts = 1; ; attempts += 1) {
    const runs: Partial<PerKind<Run>> = {};
    for (const kind of order(pair)) runs[kind] = await migrateOnce({ kind, ...rest });
    const { qemu, switchover } = runs;
    assert(qemu !== undefined && switchover !== undefined, 'order() names both');
    const disturbed = isDisturbed(qemu) || isDisturbed(switchover);
    if (!disturbed || attempts === ATTEMPTS) return { qemu, switchover, attempts, disturbed };
  }
}

/** Who goes first alternates. */
function order(pair: number): readonly (typeof KINDS)[number][] {
  return pair % 2 === 0 ? KINDS : KINDS.toReversed();
}

function timesOf(runs: readonly Run[]): number[] {
  return runs.map((one) => one.totalTime);
}

function printStartUps(startUp: PerKind<readonly number[]>): void {
  const [qemu, ours] = [medianOf(startUp.qemu), medianOf(startUp.switchover)];
  console.log(
    `Start to QMP greeting (median of ${START_UPS}): QEMU ${qemu.toFixed(0)} ms, ours ${ours.toFixed(0)} ms ` +
      `(bar ${BARS.startUpMs} ms: ${verdict(ours <= BARS.startUpMs)})`,
  );
}

function printLimits(limits: RawLimits): void {
  console.log(
    `Raw limits: copying memory ${gigabytes(limits.copy)}, a socket with nothing else to do tcp ` +
      `${gigabytes(limits.tcp)}, unix ${gigabytes(limits.unix)}\n`,
  );
}

function printRows(rows: readonly Row[]): void {
  const header = [
    'row',
    'RAM',
    'QEMU ms',
    'ours ms',
    'speed',
    'quartiles',
    'min..max',
    'p',
    'ours data/s',
    'wall ms Q/o',
  ];
  const wall = (runs: readonly Run[]) => medianOf(runs.map((one) => one.wallTime)).toFixed(0);
  const lines = rows.map((row) => [
    row.name,
    formatSize(row.memoryBytes),
    row.medianMs.qemu.toFixed(0),
    row.medianMs.switchover.toFixed(0),
    `${row.ratio.toFixed(2)}×`,
    `${row.pairRatio.q1.toFixed(2)}..${row.pairRatio.q3.toFixed(2)}`,
    `${row.pairRatio.min.toFixed(2)}..${row.pairRatio.max.toFixed(2)}`,
    row.mannWhitneyP === undefined ? '-' : row.mannWhitneyP.toFixed(4),
    gigabytes(row.dataBytes / (row.medianMs.switchover / 1000)),
    `${wall(row.runs.qemu)}/${wall(row.runs.switchover)}`,
  ]);
  console.log(
    `\nTotal time (medians); speed is QEMU's time over ours, above 1 ours is faster\n${formatTable(header, lines)}`,
  );
}

function printUse(rows: readonly Row[]): void {
  const header = [
    'row',
    'QEMU src CPU s',
    'dst',
    'ours src CPU s',
    'dst',
    'ours src MiB',
    'dst',
    `bar ${mebibytes(BARS.overheadBytes)}`,
  ];
  const cpu = (runs: readonly Run[], side: 'source' | 'destination') =>
    medianOf(runs.map((one) => one[side].cpuSeconds)).toFixed(2);
  const lines = rows.map(({ name, runs: { qemu, switchover: ours } }) => {
    const [source, destination] = [largest(ours, 'source'), largest(ours, 'destination')];
    return [
      name,
      ...[cpu(qemu, 'source'), cpu(qemu, 'destination'), cpu(ours, 'source'), cpu(ours, 'destination')],
      ...[mebibytes(source), mebibytes(destination)],
      verdict(Math.max(source, destination) <= BARS.overheadBytes),
    ];
  });
  console.log(
    `\nCPU seconds (medians) and memory high-water beyond guest RAM (largest)\n${formatTable(header, lines)}\n`,
  );
}

function printNoise(rows: readonly Row[]): void {
  const noisy = rows.filter((row) => row.isNoisy);
  const [repeated, disturbed] = [rows.map((row) => row.repeatedPairs), rows.map((row) => row.disturbedPairs)].map(sum);
  console.log(
    `Others used the machine: ${repeated} pairs measured again, ${disturbed} pairs count although disturbed.`,
  );
  for (const row of noisy) {
    const others = medianOf([...row.runs.qemu, ...row.runs.switchover].map((one) => one.othersCpuSeconds));
    console.log(
      `${row.name}: TOO NOISY TO TELL, the quartiles of the pairs' ratios are ${percent(quartileSpread(row.pairRatio))} apart ` +
        `(others used ${others.toFixed(2)} CPU s in the median run)`,
    );
  }
  if (noisy.length === 0) console.log(`Quiet enough: no row's quartiles are more than ${percent(NOISY_SPREAD)} apart.`);
}

function record(parts: {
  machine: Machine;
  startUp: PerKind<readonly number[]>;
  limits: RawLimits;
  pairs: number;
  results: readonly Row[];
}): object {
  const { machine, startUp, limits, pairs, results } = parts;
  return {
    bench: 'stream',
    date: new Date().toISOString(),
    machine,
    bars: BARS,
    rawLimitsBytesPerSecond: limits,
    startUpMs: { qemu: spreadOf(startUp.qemu), switchover: spreadOf(startUp.switchover) },
    pairs,
    rows: results,
  };
}

function largest(runs: readonly Run[], side: 'source' | 'destination'): number {
  return Math.max(...runs.map((one): SideUse => one[side]).map((use) => use.overheadBytes));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function verdict(isMet: boolean): string {
  return isMet ? 'met' : 'MISSED';
}

function gigabytes(bytesPerSecond: number): string {
  return `${(bytesPerSecond / 1e9).toFixed(2)} GB/s`;
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 ** 2).toFixed(0);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}
