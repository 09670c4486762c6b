/** How a machine ends whose `-incoming` cannot be: in QEMU's words, and with QEMU's exit code. */

import { execFile } from 'node:child_process';
import { expect, test } from 'vitest';
import { QEMU, whyNoQemu } from '../support/qemu.ts';
import { runSwitchover } from '../support/run-switchover.ts';

const LONGEST_MS = 20_000;

function runQemu(args: readonly string[]): Promise<{ exitCode: number | null; stderr: string }> {
  const { promise, resolve } = Promise.withResolvers<{ exitCode: number | null; stderr: string }>();
  const options = { timeout: LONGEST_MS };
  const child = execFile(QEMU, [...args], options, (_error, _stdout, stderr) =>
    resolve({ exitCode: child.exitCode, stderr }),
  );
  return promise;
}

/** What was said, without the name of who said it. */
function sentence(stderr: string): string | undefined {
  return stderr
    .split('\n')
    .find((line) => line.includes(': -incoming '))
    ?.replace(/^[^:]*: /, '');
}

test
  .skipIf(whyNoQemu() !== undefined)
  .each([
    '',
    'foo',
    'bar:x',
    '{"channel-type":"main"}',
    '{bad',
    '{',
    '{"channel-type":"main"',
    '{"a":[1',
    '{"a":1} {',
    '{"channel-type":"main","addr":{"transport":"socket","type":"unix"}}',
    'channel-type=main',
    'channel-type=foo,addr.transport=x',
    'addr.transport=file,addr.filename=/x,addr.offset=0',
    'main,a',
    'main,=x',
    'main,addr=x',
    'main,addr.transport=warp',
    'main,addr.transport=file,addr.filename=/nonexistent/x,addr.offset=0',
    'main,addr.transport=file,addr.filename=/nonexistent/x,addr.offset=1k',
    'main,addr.transport=file,addr.filename=/nonexistent/x,addr.offset=0,foo=bar',
    'main,addr.transport=file,addr.filename=/nonexistent/x,addr.offset=0,addr.foo=bar',
    'main,addr.transport=exec,addr.args=x',
    'main,addr.transport=exec,addr.args.1=b',
    'main,addr.transport=exec,addr.args.0=b,addr.args.x=c',
    'main,addr.transport=socket,addr.type=inet,addr.host=127.0.0.1,addr.port=0,addr.ipv4=maybe',
    'main,addr=x,addr.transport=file',
    'unix:/nonexistent/x',
    'tcp:127.0.0.1',
  ])('-incoming %j', async (text) => {
  const args = ['-M', 'none', '-m', '16M', '-nodefaults', '-display', 'none', '-incoming', text];
  const [qemu, ours] = await Promise.all([runQemu(args), runSwitchover(['vm', ...args])]);
  expect({ exitCode: ours.exitCode, said: sentence(ours.stderr) }).toEqual({
    exitCode: qemu.exitCode,
    said: sentence(qemu.stderr),
  });
  expect(qemu.exitCode).toBe(1);
});
