/** `switchover conformance DEVICE`: the conformance suite on one device, ours by name or anybody's by path. */

import { writeFile } from 'node:fs/promises';
import { EXIT_CODES, HarnessError, messageOf } from '../../base/errors.ts';
import { loadDevice } from '../../hw/device-module.ts';
import { deviceModule } from '../../hw/device-registry.ts';
import { type ConformanceReport, runConformance } from '../../kit/conformance.ts';
import { junitXml } from '../../report/junit.ts';
import { paintJudgement } from '../paint.ts';

/** Runs the command; resolves with the exit code: a check that fails is a failed expectation. Throws `device/module`. */
export async function runConformanceCommand(
  device: string,
  flags: { readonly json?: boolean; readonly junit?: string },
): Promise<number> {
  const report = await runConformance(await loadDevice(deviceModule(device)));
  if (flags.junit !== undefined) await writeJunit(flags.junit, report);
  process.stdout.write(flags.json === true ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report));
  return report.ok ? EXIT_CODES.ok : EXIT_CODES.expectation;
}

function formatReport({ device, ok, checks }: ConformanceReport): string {
  const rows = checks.flatMap(({ name, ok: passed, why }) => [
    `${paintJudgement(passed ? 'pass' : 'FAIL', passed)}  ${name}`,
    ...(why === undefined ? [] : [`      ${why}`]),
  ]);
  const good = checks.filter((check) => check.ok).length;
  const verdict = `${device}: ${good} of ${checks.length} checks pass`;
  return [...rows, paintJudgement(verdict, ok), ''].join('\n');
}

async function writeJunit(file: string, { device, checks }: ConformanceReport): Promise<void> {
  try {
    await writeFile(file, junitXml({ name: `conformance of ${device}`, cases: checks }));
  } catch (cause) {
    throw new HarnessError('cli/environment', { text: `cannot write '${file}': ${messageOf(cause)}` }, { cause });
  }
}
