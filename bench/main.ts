/**
 * `npm run bench -- NAME [--pairs N] [--rows A,B] [--subjects A,B] [--json FILE] [--resume]`: runs one benchmark, prints its
 * tables, writes JSON; with `--resume` only rows that the JSON lacks, each recorded as soon as it is measured. One question per
 * file; a benchmark is added by a file and a line in benches.ts. See README.md.
 */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BENCHES } from './benches.ts';
import { type Bench, type BenchOptions, SUBJECTS, type Subject } from './support/bench.ts';
import { describeMachine, type Machine, machineLine } from './support/machine.ts';

const RESULTS = new URL('results/', import.meta.url);
const USAGE = 'npm run bench -- NAME [--pairs N] [--rows A,B] [--subjects A,B] [--json FILE] [--resume] | --list';
const DEFAULT_SUBJECTS: readonly Subject[] = ['qemu', 'ours'];

// What ends with the process (machines, gigabytes of content) hangs on `exit`, which a signal alone does not raise.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      pairs: { type: 'string' },
      rows: { type: 'string' },
      subjects: { type: 'string' },
      json: { type: 'string' },
      resume: { type: 'boolean' },
      list: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  const [name = ''] = positionals;
  const bench = await BENCHES[name]?.();
  if (values.list === true || values.help === true) return list();
  if (bench === undefined) {
    await list();
    return name === '' ? 0 : complain(`no benchmark is called '${name}'`);
  }
  const pairs = values.pairs === undefined ? bench.defaultPairs : Number(values.pairs);
  if (!Number.isInteger(pairs) || pairs < 1) return complain(`--pairs needs a number from 1, got '${values.pairs}'`);
  const rows = chosenRows(bench, values.rows);
  if (rows.length === 0) return complain(`no row is called '${values.rows}'; rows: ${bench.rows.join(', ')}`);
  const subjects = values.subjects?.split(',') ?? DEFAULT_SUBJECTS;
  if (!areSubjects(subjects)) return complain(`--subjects knows ${Object.keys(SUBJECTS).join(', ')}`);

  const machine = describeMachine();
  console.log(machineLine(machine));
  const recorded = fileURLToPath(new URL(`${name}.json`, RESULTS));
  if (values.resume === true) {
    if (bench.canResume !== true) return complain(`rows of '${name}' are compared with each other: it runs as a whole`);
    if (values.subjects !== undefined) return complain('--resume goes with the subjects that are recorded');
    await resume({
      bench,
      file: values.json ?? recorded,
      head: { bench: name, machine },
      chosen: { pairs, rows, subjects },
    });
    return 0;
  }
  const result = await bench.run({ pairs, rows, subjects });
  const record = { bench: name, date: new Date().toISOString(), machine, pairs, ...result };
  // A part of the rows must not replace the record of all of them.
  const isWhole = rows.length === bench.rows.length && pairs >= bench.defaultPairs && values.subjects === undefined;
  const file = values.json ?? (isWhole ? recorded : undefined);
  if (file === undefined) console.log('A partial run: not recorded (--json FILE records it).');
  else write(record, file);
  return 0;
}

/** Measures the rows that `file` lacks, and shows all. What others measured stays in the file if this is interrupted. */
async function resume(run: {
  bench: Bench;
  file: string;
  head: { bench: string; machine: Machine };
  chosen: BenchOptions;
}): Promise<void> {
  const { bench, file, head, chosen } = run;
  // Our own record: a driver of benchmarks, not a product.
  const before = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { rows: RecordedName[] }) : { rows: [] };
  const { rows: earlier } = before;
  const rows = chosen.rows.filter((name) => !earlier.some(({ row }) => row.name === name));
  const measured: object[] = [];
  const onRow = (row: object) => {
    measured.push({ ...row, machine: head.machine });
    write({ ...before, ...head, rows: [...earlier, ...measured] }, file);
  };
  await bench.run({ ...chosen, rows, earlier, onRow });
}

/** What is read of a recorded row here. */
interface RecordedName {
  readonly row: { readonly name: string };
}

function write(record: object, file: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(record, undefined, 2)}\n`);
  console.log(`Recorded in ${relative(process.cwd(), file)}`);
}

/** Rows by their whole name or by a part between dashes: `zero` means `zero-tcp` and `zero-unix`. */
function chosenRows(bench: Bench, wanted: string | undefined): readonly string[] {
  if (wanted === undefined) return bench.rows;
  const words = wanted.split(',');
  return bench.rows.filter((row) => words.some((word) => word === row || row.split('-').includes(word)));
}

function areSubjects(names: readonly string[]): names is readonly Subject[] {
  return names.every((name) => Object.hasOwn(SUBJECTS, name));
}

async function list(): Promise<number> {
  console.log(`${USAGE}\n`);
  for (const [name, load] of Object.entries(BENCHES)) {
    const bench = await load();
    console.log(`  ${name}  ${bench.question}\n    ${bench.defaultPairs} × ${bench.rows.join(', ')}`);
  }
  console.log(`\nSubjects: ${Object.keys(SUBJECTS).join(', ')}; default ${DEFAULT_SUBJECTS.join(',')}`);
  return 0;
}

function complain(text: string): number {
  console.error(`bench: ${text}`);
  return 2;
}
