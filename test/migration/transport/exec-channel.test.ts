/** Commands as channels (spec/control.md §6): how they fail, and that nothing of them is left. Real shells throughout. */

import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import type { Channel } from '../../../src/migration/transport/channel.ts';
import { openExec } from '../../../src/migration/transport/exec-channel.ts';
import { tempDir } from '../../support/temp.ts';

const shell = (script: string) => openExec(['/bin/sh', '-c', script], `exec:${script}`);

async function writeUntilRefused({ sink }: Channel): Promise<never> {
  for (;;) {
    await sink.write(new Uint8Array(65_536));
    await sink.flush();
  }
}

test.for([
  ['exit 3', 'exited with status 3'],
  ['kill -9 $$', 'died of SIGKILL'],
] as const)('a command that fails while it is written to is named: %s', async ([script, why]) => {
  const channel = await shell(script);
  await expect(writeUntilRefused(channel)).rejects.toMatchObject({
    code: 'transport/exec',
    message: `the command of 'exec:${script}' ${why}`,
  });
});

test('a command that fails after it took everything has not got the stream', async () => {
  const channel = await shell('cat > /dev/null; exit 4');
  await channel.sink.write(new Uint8Array(10));
  await expect(channel.close()).rejects.toMatchObject({
    code: 'transport/exec',
    details: { why: 'exited with status 4' },
  });
});

test('a command that ends well before it took everything leaves a broken pipe', async () => {
  const channel = await shell('exit 0');
  await expect(writeUntilRefused(channel)).rejects.toMatchObject({ code: 'transport/closed' });
});

test('a command that fails instead of sending a stream is named, and one that sends first is read', async () => {
  const channel = await shell('printf abc; exit 5');
  const into = new Uint8Array(8);
  expect(await channel.source.read(into)).toBe(3);
  await expect(channel.source.read(into)).rejects.toMatchObject({ details: { why: 'exited with status 5' } });
  await channel.close();
});

test.for([
  ['/nonexistent/program', 'No such file or directory'],
  ['', 'No such file or directory'],
  ['/dev', 'Permission denied'],
] as const)("no program: '%s'", async ([program, reason]) => {
  await expect(openExec([program], 'exec:')).rejects.toMatchObject({
    code: 'transport/open',
    message: `Failed to execute child process “${program}” (${reason})`,
  });
});

test('what a command started ends with it', async () => {
  await using dir = await tempDir();
  const pids = dir.file('pids');
  const channel = await shell(`sleep 600 & echo $! > '${pids}'; echo; wait`);
  await channel.source.read(new Uint8Array(1)); // it has written the pid by then
  const child = Number(await readFile(pids, 'utf8'));
  expect(process.kill(child, 0)).toBe(true);
  channel.destroy('the test is over');
  // An orphan is reaped by whoever adopts it; until then it is a zombie.
  await expect.poll(() => stateOf(child)).toMatch(/^(gone|Z)$/);
});

async function stateOf(pid: number): Promise<string> {
  try {
    return /^State:\s+(\S)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '?';
  } catch {
    return 'gone';
  }
}
