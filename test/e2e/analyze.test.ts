import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { runSwitchover } from '../support/run-switchover.ts';

const STREAM = fileURLToPath(new URL('../streams/none-1m-file.main', import.meta.url));

test('a recorded stream is printed section by section, with field values', async () => {
  const { exitCode, stdout, stderr } = await runSwitchover(['analyze', STREAM]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toContain("configuration: machine 'none'");
  expect(stdout).toContain("START 'ram' instance 0 version 4 id 1");
  expect(stdout).toContain('cpu_clock_offset (int64) = 0');
});

test('a stream cut short is analyzed up to the cut, with exit code 1', async () => {
  const { exitCode, stdout } = await runSwitchover(['analyze', '-', '--json'], readFileSync(STREAM).subarray(0, 100));
  expect(exitCode).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    fileBytes: 100,
    configuration: { machine: 'none' },
    errors: [{ code: 'stream/truncated', section: "section 'ram' instance 0 version 4" }],
  });
});

test('a file that is not there is one sentence and exit code 3', async () => {
  const { exitCode, stdout, stderr } = await runSwitchover(['analyze', '/does/not/exist']);
  expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' });
  expect(stderr).toMatch(/^switchover analyze: cannot read '\/does\/not\/exist': ENOENT[^\n]*\n$/);
});
