/** `switchover migrate … --json` as a measurement: both machines in processes of their own, the verdict as an object. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const SWITCHOVER = fileURLToPath(new URL('../../bin/switchover.js', import.meta.url));
const TIMEOUT = '60s';
const LONGEST_OUTPUT_BYTES = 64 * 1024 ** 2;
/** What the benchmarks read of the verdict; milliseconds. */
export interface MigrationVerdict {
  readonly downtimeMs: number;
  readonly expectedDowntimeMs: number;
  readonly expectedDowntimeByRamMs: number;
}

/** Migrates a machine with these devices once. Throws unless the verdict is `pass`. */
export async function switchoverMigrate(options: {
  memory: string;
  devices: readonly string[];
  capabilities: readonly string[];
  parameters?: Readonly<Record<string, string | number>>;
  guest?: string;
}): Promise<MigrationVerdict> {
  const { memory, devices, capabilities, parameters = {}, guest } = options;
  const args = [
    ...['migrate', '--json', '--timeout', TIMEOUT, '--memory', memory],
    ...(guest === undefined ? [] : ['--guest', guest]),
    ...devices.flatMap((device, n) => ['--device', `${device},id=device${n}`]),
    ...Object.entries(parameters).flatMap(([name, value]) => ['--param', `${name}=${value}`]),
    ...(capabilities.length === 0 ? [] : ['--cap', capabilities.join(',')]),
  ];
  const { stdout } = await promisify(execFile)(process.execPath, [SWITCHOVER, ...args], {
    maxBuffer: LONGEST_OUTPUT_BYTES,
  });
  // Our own command's output: a driver of benchmarks, not a product.
  const verdict = JSON.parse(stdout) as MigrationVerdict & { verdict: string };
  if (verdict.verdict !== 'pass') throw new Error(`switchover ${args.join(' ')}: verdict ${verdict.verdict}`);
  return verdict;
}
