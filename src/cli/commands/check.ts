/** `switchover check A B`: two vmstate dumps compared without a machine. */

import { writeFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { EXIT_CODES, HarnessError, messageOf } from '../../base/errors.ts';
import { compareDumps } from '../../report/compare-dumps.ts';
import type { DumpDirection } from '../../report/dump-difference.ts';
import { comparisonCases, comparisonJson, formatDumpComparison } from '../../report/format-comparison.ts';
import { junitXml } from '../../report/junit.ts';
import { parseVmstateDump, type VmstateDump } from '../../report/vmstate-dump.ts';
import { paintJudgement } from '../paint.ts';
import { readWholeFile } from '../read-whole-file.ts';

/** The command's options. */
export interface CheckFlags {
  readonly json?: boolean;
  readonly junit?: string;
  readonly direction: DumpDirection | 'both';
}

/** Runs the command; resolves with the exit code: a difference that breaks, or may break, is a failed expectation. */
export async function runCheck(a: string, b: string, flags: CheckFlags): Promise<number> {
  if (a === '-' && b === '-')
    throw new HarnessError('cli/usage', { text: 'only one of the two can be standard input' });
  const comparison = compareDumps(await readDump(a), await readDump(b));
  const directions = flags.direction === 'both' ? (['forward', 'backward'] as const) : [flags.direction];
  if (flags.junit !== undefined) {
    await writeJunit(
      flags.junit,
      junitXml({ name: `check ${a} ${b}`, cases: comparisonCases(comparison, directions) }),
    );
  }
  process.stdout.write(
    flags.json === true
      ? `${JSON.stringify(comparisonJson(comparison), null, 2)}\n`
      : formatDumpComparison(comparison, { a, b }, paintJudgement),
  );
  const isFine = directions.every((direction) => comparison.compatible[direction]);
  return isFine ? EXIT_CODES.ok : EXIT_CODES.expectation;
}

async function readDump(file: string): Promise<VmstateDump> {
  let json: string;
  try {
    json = file === '-' ? await text(process.stdin) : new TextDecoder().decode(await readWholeFile(file));
  } catch (cause) {
    throw new HarnessError('cli/environment', { text: `cannot read '${file}': ${messageOf(cause)}` }, { cause });
  }
  return parseVmstateDump(json, file);
}

async function writeJunit(file: string, xml: string): Promise<void> {
  try {
    await writeFile(file, xml);
  } catch (cause) {
    throw new HarnessError('cli/environment', { text: `cannot write '${file}': ${messageOf(cause)}` }, { cause });
  }
}
