import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const SWITCHOVER = fileURLToPath(new URL('../../bin/switchover.js', import.meta.url));

test('a monitor on standard input and output greets, answers and quits', async () => {
  const child = spawn(process.execPath, [SWITCHOVER, 'vm', '-m', '1M', '-S', '-qmp', 'stdio'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const output = text(child.stdout);
  const exited = once(child, 'exit');
  child.stdin.write('{"execute": "qmp_capabilities"}{"execute": "query-status", "id": 1}{"execute": "quit", "id": 2}');
  expect(await exited).toEqual([0, null]);
  const messages = (await output)
    .split('\r\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
  expect(messages).toMatchObject([
    { QMP: {} },
    { return: {} },
    { return: { status: 'prelaunch' }, id: 1 },
    { event: 'SHUTDOWN', data: { reason: 'host-qmp-quit' } },
    { return: {}, id: 2 },
  ]);
});
