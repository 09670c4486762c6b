/** `switchover analyze FILE`: a migration stream, QEMU's or ours, taken apart up to where it is cut. */

import { buffer } from 'node:stream/consumers';
import { EXIT_CODES, HarnessError, messageOf } from '../../base/errors.ts';
import { analyzeStream, formatAnalysis } from '../../report/analyze.ts';
import { readWholeFile } from '../read-whole-file.ts';

/** Runs the command; `-` is standard input. Resolves with the exit code: a stream that is cut or wrong is a failed expectation. */
export async function runAnalyze(file: string, json: boolean): Promise<number> {
  const analysis = analyzeStream(await readStream(file));
  process.stdout.write(json ? `${JSON.stringify(analysis, jsonValue, 2)}\n` : formatAnalysis(analysis));
  return analysis.errors.length === 0 ? EXIT_CODES.ok : EXIT_CODES.expectation;
}

async function readStream(file: string): Promise<Uint8Array> {
  try {
    return file === '-' ? await buffer(process.stdin) : await readWholeFile(file);
  } catch (error) {
    throw new HarnessError('cli/environment', { text: `cannot read '${file}': ${messageOf(error)}` }, { cause: error });
  }
}

/** 64-bit values become numbers where JSON keeps them exact, else decimal text. */
function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value !== 'bigint') return value;
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value.toString();
}
