/** The tables under a comparison of migrations: times, CPU and memory, and whether the machine was quiet enough. */

import { formatSize } from '../../src/base/units.ts';
import { verdict } from './bench.ts';
import type { Run, SideUse } from './migrate-once.ts';
import type { RowResult, SubjectResult } from './migration-pairs.ts';
import { medianOf, NOISY_SPREAD, quartileSpread } from './statistics.ts';
import { formatTable } from './table.ts';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;
/** What `switchover` promises of itself: memory beyond RAM, each side, and CPU of both sides as a multiple of QEMU's. */
const BARS = { overheadBytes: 120 * MIB, overheadPerChannelBytes: 6 * MIB, cpuRatio: 1.3 };

/** Total times, and how fast the others are beside the first subject. */
export function printRows(rows: readonly RowResult[]): void {
  const header = ['row', 'RAM', 'subject', 'ms', 'speed', 'bar', '', 'quartiles', 'min..max', 'p', 'data/s', 'wall ms'];
  const lines = rows.flatMap(({ row, dataBytes, subjects }) =>
    subjects.map((one, index) => [
      ...(index === 0 ? [row.name, formatSize(row.memoryBytes)] : ['', '']),
      one.subject,
      one.medianMs.toFixed(0),
      ...(index === 0 ? ['', '', '', '', '', ''] : comparison(one, row.leastSpeed)),
      gigabytes(dataBytes / (one.medianMs / 1000)),
      medianOf(one.runs.map((run) => run.wallTime)).toFixed(0),
    ]),
  );
  const [first = ''] = rows[0]?.subjects.map((one) => one.subject) ?? [];
  console.log(`\nTotal time (medians); speed is ${first}'s time over the subject's, above 1 it is faster`);
  console.log(formatTable(header, lines));
}

function comparison(one: SubjectResult, leastSpeed: number): string[] {
  const { speed, pairSpeed, mannWhitneyP } = one;
  const isOurs = one.subject === 'ours';
  return [
    `${speed.toFixed(2)}×`,
    isOurs ? `≥ ${leastSpeed.toFixed(1)}` : '',
    isOurs ? verdict(speed, { atLeast: leastSpeed }) : '',
    `${pairSpeed.q1.toFixed(2)}..${pairSpeed.q3.toFixed(2)}`,
    `${pairSpeed.min.toFixed(2)}..${pairSpeed.max.toFixed(2)}`,
    mannWhitneyP === undefined ? '-' : mannWhitneyP.toFixed(4),
  ];
}

/** CPU and memory of both sides. */
export function printUse(rows: readonly RowResult[]): void {
  const header = ['row', 'subject', 'CPU s/GiB', 'source', 'destination', 'ratio', '', 'MiB source', 'destination', ''];
  const lines = rows.flatMap(({ row, subjects }) => {
    const perGib = (one: SubjectResult, of: (run: Run) => number) =>
      medianOf(one.runs.map(of)) / (row.memoryBytes / GIB);
    const both = (one: SubjectResult) => perGib(one, (run) => run.source.cpuSeconds + run.destination.cpuSeconds);
    const [first] = subjects;
    return subjects.map((one, index) => {
      const ratio = first === undefined || index === 0 ? undefined : both(one) / both(first);
      const [source, destination] = [largest(one.runs, 'source'), largest(one.runs, 'destination')];
      const channels = row.settings?.channels ?? 0;
      const limit = BARS.overheadBytes + channels * BARS.overheadPerChannelBytes;
      const isOurs = one.subject === 'ours';
      return [
        ...[index === 0 ? row.name : '', one.subject, both(one).toFixed(3)],
        perGib(one, (run) => run.source.cpuSeconds).toFixed(3),
        perGib(one, (run) => run.destination.cpuSeconds).toFixed(3),
        ratio === undefined ? '' : `${ratio.toFixed(2)}×`,
        isOurs && ratio !== undefined ? verdict(ratio, { atMost: BARS.cpuRatio }) : '',
        mebibytes(source),
        mebibytes(destination),
        isOurs ? verdict(Math.max(source, destination), { atMost: limit }) : '',
      ];
    });
  });
  console.log(
    `\nCPU seconds per GiB of RAM (medians, /proc counts in hundredths of a second; bar for ours ${BARS.cpuRatio} × the ` +
      `first) and memory high-water\nbeyond guest RAM (largest; bar for ours ${mebibytes(BARS.overheadBytes)} MiB and ` +
      `${mebibytes(BARS.overheadPerChannelBytes)} MiB a channel)\n${formatTable(header, lines)}\n`,
  );
}

/** Whether the machine was quiet enough to tell, and which rows it was not. */
export function printNoise(rows: readonly RowResult[]): void {
  const [repeated, disturbed] = [rows.map((row) => row.repeatedPairs), rows.map((row) => row.disturbedPairs)].map(sum);
  console.log(
    `Others used the machine: ${repeated} pairs measured again, ${disturbed} pairs count although disturbed.`,
  );
  const noisy = rows.flatMap(({ row, subjects }) => subjects.filter((one) => one.isNoisy).map((one) => ({ row, one })));
  for (const { row, one } of noisy) {
    const others = medianOf(one.runs.map((run) => run.othersCpuSeconds + run.stolenSeconds));
    const apart = percent(quartileSpread(one.pairSpeed));
    console.log(
      `${row.name}, ${one.subject}: TOO NOISY TO TELL, the quartiles of the pairs' ratios are ${apart} apart ` +
        `(others used ${others.toFixed(2)} CPU s in the median run)`,
    );
  }
  if (noisy.length === 0) console.log(`Quiet enough: no row's quartiles are more than ${percent(NOISY_SPREAD)} apart.`);
}

function largest(runs: readonly Run[], side: 'source' | 'destination'): number {
  return Math.max(...runs.map((run): SideUse => run[side]).map((use) => use.overheadBytes));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function gigabytes(bytesPerSecond: number): string {
  return `${(bytesPerSecond / 1e9).toFixed(2)} GB/s`;
}

function mebibytes(bytes: number): string {
  return (bytes / MIB).toFixed(0);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}
