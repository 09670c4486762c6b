/** The README's device, in a file outside the repository: it migrates, it conforms, and its types check as a package's user has them. */

import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { runCommand, runSwitchover } from '../support/run-switchover.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const TSC = `${ROOT}node_modules/typescript/bin/tsc`;
const MAX_LINES = 60;

async function tutorialIn(dir: TempDir): Promise<string> {
  const readme = await readFile(`${ROOT}README.md`, 'utf8');
  const [, code = ''] = /## Your own device[\s\S]*?```ts\n([\s\S]*?)```/.exec(readme) ?? [];
  expect(code.split('\n').length - 1).toBeLessThanOrEqual(MAX_LINES);
  const file = dir.file('my-device.ts');
  await writeFile(file, code);
  return file;
}

test('it migrates with its state', async () => {
  await using dir = await tempDir();
  const device = `${await tutorialIn(dir)},id=tick,beats=3`;
  const flags = ['--memory', '16MiB', '--guest', 'sweep,rate=20MiB', '--device', device, '--json'];
  const { exitCode, stdout } = await runSwitchover(['migrate', ...flags]);
  expect(exitCode).toBe(0);
  const verdict = JSON.parse(stdout);
  expect(verdict.verdict).toBe('pass');
  expect(verdict.ledger.parts.map(({ row }: { row: string }) => row)).toContain('tick');
});

test('it passes the conformance suite', async () => {
  await using dir = await tempDir();
  const { exitCode, stdout, stderr } = await runSwitchover(['conformance', await tutorialIn(dir)]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toMatch(/metronome: 8 of 8 checks pass/);
});

test('its types check against the package', async () => {
  await using dir = await tempDir();
  const file = await tutorialIn(dir);
  const installed = dir.file('node_modules/switchover');
  await mkdir(installed, { recursive: true });
  await cp(`${ROOT}package.json`, `${installed}/package.json`);
  const built = await runCommand([TSC, '-p', `${ROOT}tsconfig.build.json`, '--outDir', `${installed}/dist`]);
  expect(built).toMatchObject({ exitCode: 0, stdout: '' });
  const options = [
    '--ignoreConfig',
    '--noEmit',
    '--strict',
    '--target',
    'es2024',
    '--module',
    'nodenext',
    '--types',
    '',
  ];
  expect(await runCommand([TSC, ...options, file])).toMatchObject({ exitCode: 0, stdout: '' });
  await writeFile(file, (await readFile(file, 'utf8')).replace('field.timer', 'field.bool'));
  expect((await runCommand([TSC, ...options, file])).stdout).toMatch(/my-device\.ts\(\d+,\d+\): error TS2322/);
});
