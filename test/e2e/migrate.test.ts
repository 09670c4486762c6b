import { expect, test } from 'vitest';
import { runSwitchover } from '../support/run-switchover.ts';

const SWEEP = ['--guest', 'sweep,rate=20MiB', '--fill', 'random', '--memory', '48MiB', '--max-bandwidth', '8Gbps'];

test.each(['tcp', 'unix'])('a sweeping guest moves over %s and goes on with one edge', async (transport) => {
  const { exitCode, stdout, stderr } = await runSwitchover(['migrate', ...SWEEP, '--transport', transport, '--json']);
  expect(exitCode, stderr).toBe(0);
  const verdict = JSON.parse(stdout);
  expect(verdict).toMatchObject({
    verdict: 'pass',
    ramEqual: true,
    ramBytes: 48 * 1024 * 1024,
    guests: [{ guest: 'guest0', ok: true }],
    guestContinued: true,
  });
  expect(verdict.sha256).toMatch(/^[0-9a-f]{64}$/);
  expect(verdict.iterations).toBeGreaterThanOrEqual(2);
  expect(verdict.transferredBytes).toBeGreaterThan(48 * 1024 * 1024);
  expect(stderr).toContain('completed');
});

test('the table on stdout ends in the verdict; progress is on stderr in plain lines', async () => {
  const { exitCode, stdout, stderr } = await runSwitchover([
    'migrate',
    '--memory',
    '8MiB',
    '--fill',
    'mixed',
    '--return-path',
  ]);
  expect(exitCode, stderr).toBe(0);
  expect(stdout).toMatch(/\nRAM +equal on both sides, sha256 [0-9a-f]{64}\nverdict +pass\n$/);
  expect(stderr).not.toContain('\r');
});

test('a guest faster than the wire is given up with exit code 4 and the reason', async () => {
  const args = [
    '--memory',
    '48MiB',
    '--guest',
    'sweep,rate=200MiB',
    '--max-bandwidth',
    '1MiB',
    '--timeout',
    '1s',
    '--json',
  ];
  const { exitCode, stdout, stderr } = await runSwitchover(['migrate', ...args]);
  expect(exitCode, stderr).toBe(4);
  expect(JSON.parse(stdout)).toMatchObject({ verdict: 'migration-failed' });
  expect(stderr).toContain('switchover migrate: no end after');
});

test('what the machine refuses is said with its words', async () => {
  const { exitCode, stderr } = await runSwitchover(['migrate', '--memory', '8MiB', '--cap', 'time-travel']);
  expect(exitCode).toBe(4);
  expect(stderr).toContain('migrate-set-capabilities');
  expect(stderr).toContain('time-travel');
});
