/**
 * Benchmarks that compare migrations: each row is one RAM content on one transport with one set of options; ours and
 * QEMU's (or any other subjects) migrate it in turn, so that what disturbs the machine disturbs all alike.
 */

import { rmSync } from 'node:fs';
import { assert } from '../../src/base/assert.ts';
import { messageOf } from '../../src/base/errors.ts';
import { whyNoQemu } from '../../test/support/qemu.ts';
import { tempDir } from '../../test/support/temp.ts';
import { type Bench, type BenchOptions, SUBJECTS, type Subject } from './bench.ts';
import { CONTENTS, type Content, type ContentName, writeContent } from './content.ts';
import { isDisturbed, type MigrationSettings, migrateOnce, type Run, type TransportKind } from './migrate-once.ts';
import { printNoise, printRows, printUse } from './pair-report.ts';
import { mannWhitneyP, medianOf, NOISY_SPREAD, quartileSpread, type Spread, spreadOf } from './statistics.ts';

const SEED = 1;
/** How often a pair is measured when others use the machine meanwhile; the last one counts in any case. */
const ATTEMPTS = 4;

/** What is migrated, how. */
export interface MigrationRow {
  readonly name: string;
  readonly content: ContentName;
  readonly memoryBytes: number;
  readonly transport: TransportKind;
  readonly settings?: MigrationSettings;
  /** Least speed of `ours`, as a multiple of the first subject's. */
  readonly leastSpeed: number;
}

/** One row of the result: every run, and what follows from them. */
export interface RowResult {
  readonly row: MigrationRow;
  readonly dataBytes: number;
  /** In the order of measuring; the first subject is what the others are compared with. */
  readonly subjects: readonly SubjectResult[];
  /** Rounds that were measured again, and rounds that count although they were disturbed. */
  readonly repeatedPairs: number;
  readonly disturbedPairs: number;
}

/** A row with what is to be known of it when others were measured on other days. */
interface RecordedRow extends RowResult {
  readonly date: string;
  readonly pairs: number;
}

/** One subject's part of a row. */
export interface SubjectResult {
  readonly subject: Subject;
  readonly runs: readonly Run[];
  readonly medianMs: number;
  /** The first subject's time over this one's: above 1 this one is faster. */
  readonly speed: number;
  /** The same for each pair. */
  readonly pairSpeed: Spread;
  readonly mannWhitneyP: number | undefined;
  readonly isNoisy: boolean;
}

/** A benchmark made of such rows. `before` measures what it wants to show beside them, such as limits of the machine. */
export function migrationBench(options: {
  readonly question: string;
  readonly rows: readonly MigrationRow[];
  readonly defaultPairs: number;
  before(contents: readonly ContentName[]): Promise<object>;
}): Bench {
  const { question, rows, defaultPairs, before } = options;
  return {
    question,
    rows: rows.map((row) => row.name),
    defaultPairs,
    canResume: true,
    run: async (chosen) => {
      const why = whyNoQemu();
      if (why !== undefined) throw new Error(why);
      const wanted = rows.filter((row) => chosen.rows.includes(row.name));
      const beside = await before([...new Set(wanted.map((row) => row.content))]);
      const outcomes = await measureRows(wanted, chosen);
      // Only what this function returned before comes back.
      const earlier = (chosen.earlier ?? []) as readonly RecordedRow[];
      const places = new Map(rows.map(({ name }, place) => [name, place]));
      const results = [...earlier, ...outcomes.filter((outcome) => 'subjects' in outcome)].toSorted(
        (one, other) => (places.get(one.row.name) ?? 0) - (places.get(other.row.name) ?? 0),
      );
      printRows(results);
      printUse(results);
      printNoise(results);
      return { ...beside, rows: results, failed: outcomes.filter((outcome) => 'why' in outcome) };
    },
  };
}

/** A row that could not be measured. */
interface RowFailure {
  readonly name: string;
  readonly why: string;
}

/** Rows that share a content are measured one after the other, while its files exist. */
async function measureRows(
  rows: readonly MigrationRow[],
  chosen: BenchOptions,
): Promise<readonly (RecordedRow | RowFailure)[]> {
  const results: (RecordedRow | RowFailure)[] = [];
  const groups = Map.groupBy(rows, ({ content, memoryBytes }) => `${content}-${memoryBytes}`);
  for (const [name, group] of groups) {
    await using dir = await tempDir();
    // Gigabytes: they must go too when the benchmark is interrupted (main.ts turns signals into an exit).
    process.once('exit', () => rmSync(dir.path, { recursive: true, force: true }));
    const [{ content, memoryBytes }] = group as [MigrationRow];
    const written = await writeContent({ directory: dir.path, name, memoryBytes, mix: CONTENTS[content], seed: SEED });
    for (const row of group) {
      try {
        const result = await measureRow(row, written, chosen);
        const recorded = { date: new Date().toISOString(), pairs: chosen.pairs, ...result };
        results.push(recorded);
        chosen.onRow?.(recorded);
      } catch (error) {
        const why = messageOf(error);
        console.log(`  ${row.name}  CANNOT BE MEASURED: ${why}`);
        results.push({ name: row.name, why });
      }
    }
  }
  return results;
}

async function measureRow(row: MigrationRow, content: Content, chosen: BenchOptions): Promise<RowResult> {
  const { pairs, subjects } = chosen;
  const runs = new Map<Subject, Run[]>(subjects.map((subject) => [subject, []]));
  let [repeatedPairs, disturbedPairs] = [0, 0];
  // Not counted: it proves that all deliver every byte, and brings programs and content into the page cache.
  for (const subject of subjects) await migrate(subject, row, content, true);
  for (let pair = 0; pair < pairs; pair += 1) {
    // Who goes first alternates.
    const order = pair % 2 === 0 ? subjects : subjects.toReversed();
    const { attempts, disturbed, round } = await measureRound(order, row, content);
    repeatedPairs += attempts - 1;
    disturbedPairs += disturbed ? 1 : 0;
    for (const [subject, run] of round) runs.get(subject)?.push(run);
    const note = `${attempts > 1 ? ` (attempt ${attempts})` : ''}${disturbed ? ' (disturbed)' : ''}`;
    const told = subjects.map((subject) => `${subject} ${round.get(subject)?.totalTime} ms`).join(', ');
    console.log(`  ${row.name}  pair ${pair + 1}/${pairs}: ${told}${note}`);
  }
  const first = runs.get(subjects[0] as Subject) ?? [];
  return {
    row,
    dataBytes: content.dataBytes,
    subjects: [...runs].map(([subject, own]) => judge(subject, own, first)),
    repeatedPairs,
    disturbedPairs,
  };
}

/** One run of each; all again when the machine was busy with something else during one. */
async function measureRound(
  order: readonly Subject[],
  row: MigrationRow,
  content: Content,
): Promise<{ round: Map<Subject, Run>; attempts: number; disturbed: boolean }> {
  for (let attempts = 1; ; attempts += 1) {
    const round = new Map<Subject, Run>();
    for (const subject of order) round.set(subject, await migrate(subject, row, content, false));
    const disturbed = [...round.values()].some(isDisturbed);
    if (!disturbed || attempts === ATTEMPTS) return { round, attempts, disturbed };
  }
}

function migrate(subject: Subject, row: MigrationRow, content: Content, verify: boolean): Promise<Run> {
  const { transport, settings = {} } = row;
  return migrateOnce({ ...SUBJECTS[subject], transport, settings, content, verify });
}

function judge(subject: Subject, runs: readonly Run[], first: readonly Run[]): SubjectResult {
  const [times, firstTimes] = [runs, first].map((sample) => sample.map((run) => run.totalTime)) as [number[], number[]];
  assert(times.length === firstTimes.length, 'every round has a run of every subject');
  const pairSpeed = spreadOf(firstTimes.map((time, pair) => time / (times[pair] ?? Number.NaN)));
  return {
    subject,
    runs,
    medianMs: medianOf(times),
    speed: medianOf(firstTimes) / medianOf(times),
    pairSpeed,
    mannWhitneyP: mannWhitneyP(firstTimes, times),
    isNoisy: quartileSpread(pairSpeed) > NOISY_SPREAD,
  };
}
