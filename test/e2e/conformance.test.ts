/** `switchover conformance` as a process: its table, its JSON, its JUnit file and its exit codes. */

import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { runSwitchover } from '../support/run-switchover.ts';
import { tempDir } from '../support/temp.ts';

const COUNTER = fileURLToPath(new URL('../support/devices/counter.ts', import.meta.url));

describe('switchover conformance', () => {
  test('prints a row for each check and ends with 0 when all pass', async () => {
    const { exitCode, stdout, stderr } = await runSwitchover(['conformance', COUNTER]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toMatch(/^pass {2}save, load, save gives the same bytes/);
    expect(stdout).toMatch(/counter: 8 of 8 checks pass\n$/);
  });

  test('ends with 1 when a check fails, in JSON and in JUnit with the reason', async () => {
    await using dir = await tempDir();
    const device = dir.file('bare.ts');
    const text = await readFile(COUNTER, 'utf8');
    const source = text
      .replaceAll('../../../src/', new URL('../../src/', import.meta.url).pathname)
      .replaceAll("'./misbehave", `'${new URL('../support/devices/misbehave', import.meta.url).pathname}`);
    await writeFile(device, source.replace('conformance: {', 'nothing: {'));
    const { exitCode, stdout } = await runSwitchover(['conformance', device, '--json', '--junit', dir.file('out.xml')]);
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ device: 'counter', ok: false });
    expect(await readFile(dir.file('out.xml'), 'utf8')).toMatch(
      /failures="8".*[\s\S]*<failure message="the definition of/,
    );
  });

  test('ends with 2 for a device that is not there', async () => {
    const { exitCode, stderr } = await runSwitchover(['conformance', './nowhere.ts']);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/device module '.\/nowhere.ts': no file/);
  });
});
