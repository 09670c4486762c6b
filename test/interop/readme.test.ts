/** The README's walk-through between `switchover vm` and a real QEMU, run as it is printed: every block, in order, in one bash. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const DEADLINE_MS = 90_000;
const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  test('the blocks of the README work as printed', { timeout: DEADLINE_MS + 10_000 }, async () => {
    const { exitCode, stdout } = await runBash(walkThrough());

    expect(exitCode, stdout).toBe(0);
    expect(stdout.match(/"status": "(completed|failed)"/g)).toEqual(Array(3).fill('"status": "completed"'));
    expect(stdout.match(/"status": "running"/g)).toHaveLength(2);
    const [ours, qemu] = Array.from(stdout.matchAll(/^([0-9a-f]{64}) {2}.*\.ram$/gm), ([, sum]) => sum);
    expect(ours).toBeDefined();
    expect(qemu).toBe(ours);
    expect(stdout).toMatch(/qemu\.ram \S+back\.ram differ/);
    expect(stdout).toMatch(/FULL 'globalstate'[\s\S]*vmdescription: 2 sections/);
  });
});

/** The shell blocks of the section, in order. */
function walkThrough(): string {
  const [, section = ''] =
    /^## Between `switchover vm`[^\n]*\n([\s\S]*?)^## /m.exec(
      readFileSync(new URL('../../README.md', import.meta.url), 'utf8'),
    ) ?? [];
  const blocks = Array.from(section.matchAll(/^```sh\n([\s\S]*?)^```$/gm), ([, block]) => block);
  expect(blocks.length).toBeGreaterThan(3);
  return blocks.join('\n');
}

/** Runs a script in a process group of its own, which a deadline ends as a whole: machines must not outlive the test. */
async function runBash(script: string): Promise<{ exitCode: number | null; stdout: string }> {
  const bash = spawn('bash', ['-u', '-c', script], { cwd: root, stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  const { pid } = bash;
  const deadline = setTimeout(() => pid !== undefined && process.kill(-pid, 'SIGTERM'), DEADLINE_MS);
  const closed = once(bash, 'close');
  const stdout = await text(bash.stdout);
  await closed;
  clearTimeout(deadline);
  return { exitCode: bash.exitCode, stdout };
}
