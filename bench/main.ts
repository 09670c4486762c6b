/**
 * `npm run bench -- NAME [--pairs N] [--rows A,B] [--json FILE]`: runs one benchmark, prints its tables, writes JSON.
 * One question per file; a benchmark is added by a file and a line here. Needs a checkout and a real QEMU.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { streamBench } from './stream.ts';
import type { Bench } from './support/bench.ts';

const BENCHES: Readonly<Record<string, Bench>> = { stream: streamBench };
const RESULTS = new URL('results/', import.meta.url);

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
      json: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  const [name = ''] = positionals;
  const bench = BENCHES[name];
  if (bench === undefined || values.help === true) return usage(name);
  const pairs = values.pairs === undefined ? bench.defaultPairs : Number(values.pairs);
  if (!Number.isInteger(pairs) || pairs < 1) return complain(`--pairs needs a number from 1, got '${values.pairs}'`);
  const rows = chosenRows(bench, values.rows);
  if (rows.length === 0) return complain(`no row is called '${values.rows}'; rows: ${bench.rows.join(', ')}`);

  const result = await bench.run({ pairs, rows });
  // A part of the rows must not replace the record of all of them.
  const isWhole = rows.length === bench.rows.length && pairs >= bench.defaultPairs;
  const file = values.json ?? (isWhole ? fileURLToPath(new URL(`${name}.json`, RESULTS)) : undefined);
  if (file === undefined) {
    console.log('A partial run: not recorded (--json FILE records it).');
    return 0;
  }
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(result, undefined, 2)}\n`);
  console.log(`Recorded in ${relative(process.cwd(), file)}`);
  return 0;
}

/** Rows by their whole name or by a part between dashes: `zero` means `zero-tcp` and `zero-unix`. */
function chosenRows(bench: Bench, wanted: string | undefined): readonly string[] {
  if (wanted === undefined) return bench.rows;
  const words = wanted.split(',');
  return bench.rows.filter((row) => words.some((word) => word === row || row.split('-').includes(word)));
}

function usage(name: string): number {
  console.log('npm run bench -- NAME [--pairs N] [--rows A,B] [--json FILE]\n');
  for (const [key, bench] of Object.entries(BENCHES))
    console.log(`  ${key}  ${bench.question}\n    rows: ${bench.rows.join(', ')}`);
  return name === '' ? 0 : complain(`no benchmark is called '${name}'`);
}

function complain(text: string): number {
  console.error(`bench: ${text}`);
  return 2;
}
