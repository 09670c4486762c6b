/**
 * `npm run bench -- NAME [--pairs N] [--rows A,B] [--subjects A,B] [--json FILE]`: runs one benchmark, prints its tables,
 * writes JSON. One question per file; a benchmark is added by a file and a line in benches.ts. See README.md.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BENCHES } from './benches.ts';
import { type Bench, SUBJECTS, type Subject } from './support/bench.ts';
import { describeMachine, machineLine } from './support/machine.ts';

const RESULTS = new URL('results/', import.meta.url);
const USAGE = 'npm run bench -- NAME [--pairs N] [--rows A,B] [--subjects A,B] [--json FILE] | --list';
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
  const result = await bench.run({ pairs, rows, subjects });
  const record = { bench: name, date: new Date().toISOString(), machine, pairs, ...result };
  // A part of the rows must not replace the record of all of them.
  const isWhole = rows.length === bench.rows.length && pairs >= bench.defaultPairs && values.subjects === undefined;
  write(record, values.json ?? (isWhole ? fileURLToPath(new URL(`${name}.json`, RESULTS)) : undefined));
  return 0;
}

function write(record: object, file: string | undefined): void {
  if (file === undefined) {
    console.log('A partial run: not recorded (--json FILE records it).');
    return;
  }
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
