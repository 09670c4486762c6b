import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

test('the example of the README migrates a writing guest between two machines in one process', async () => {
  const example = fileURLToPath(new URL('../../examples/migrate.ts', import.meta.url));
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', example], { stdio: 'pipe' });
  const closed = once(child, 'close');
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  await closed;
  expect({ exitCode: child.exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toContain("status: 'completed'");
  expect(stdout).toContain("id: 'g0'");
  expect(stdout).toContain('ok: true');
});
