import { expect, test } from 'vitest';
import { runSwitchover } from '../support/run-switchover.ts';

test.each<[string[], string]>([
  [['bogus'], "switchover bogus: unknown command 'bogus'"],
  [['migrate', '--bogus'], "switchover migrate: unknown option '--bogus'"],
  [['migrate', '--memory', 'lots'], 'switchover migrate: --memory: expected a size'],
  [['migrate', '--fill', 'wet'], "switchover migrate: option '--fill <kind>' argument 'wet' is invalid"],
  [['migrate', '--guest', 'sweeep'], 'switchover migrate: guest: expected one of sweep'],
  [['qmp'], "switchover qmp: missing required argument 'socket'"],
  [['qmp', '/s', 'stop', '[]'], 'switchover qmp: the arguments must be a JSON object, not []'],
])('%j is exit code 2 and one line on stderr', async (args, line) => {
  const { exitCode, stdout, stderr } = await runSwitchover(args);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(stderr.startsWith(line), stderr).toBe(true);
  expect(stderr.split('\n')).toHaveLength(2);
});

test.each<[string[], string]>([
  [['-bogus'], 'switchover vm: -bogus: invalid option. Accepted: -machine -M -m'],
  [['-object', 'guest-sweeep,id=g'], 'switchover vm: guest: expected one of sweep'],
  [['-global', 'migration.nonsense=1'], "switchover vm: can't apply global migration.nonsense=1"],
  [['-qmp', 'carrier-pigeon'], 'switchover vm: -qmp'],
  [['-incoming', 'carrier:pigeon'], 'switchover vm: -incoming carrier:pigeon: unknown migration protocol'],
])('vm %j ends with 1, as QEMU does, and one line on stderr', async (args, line) => {
  const { exitCode, stdout, stderr } = await runSwitchover(['vm', ...args]);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
  expect(stderr.startsWith(line), stderr).toBe(true);
  expect(stderr.split('\n')).toHaveLength(2);
});

test.each([[['--help']], [['help', 'migrate']], [['vm', '--help']], [[]]])('%j prints help on stdout', async (args) => {
  const { exitCode, stdout, stderr } = await runSwitchover(args);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toMatch(/^Usage: switchover/);
});

test('both ways to ask for the version agree', async () => {
  const { stdout } = await runSwitchover(['--version']);
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect((await runSwitchover(['vm', '--version'])).stdout).toBe(`switchover ${stdout}`);
});
