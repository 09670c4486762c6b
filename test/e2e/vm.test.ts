import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import { REHEARSED } from '../../src/cli/vm-channel.ts';
import { runSwitchover, SWITCHOVER_SCRIPT } from '../support/run-switchover.ts';
import { tempDir } from '../support/temp.ts';
import { connectTinyQmp, type QmpClient } from '../support/tiny-qmp.ts';

/** A machine with a QMP connection; `exited` is exit code and signal. Disposing ends it, however the test went. */
interface RunningVm extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly qmp: QmpClient;
  readonly exited: Promise<unknown[]>;
}

async function startVm(socket: string, args: readonly string[]): Promise<RunningVm> {
  const monitor = ['-chardev', `socket,id=c,path=${socket},server=on,wait=off`, '-mon', 'chardev=c,mode=control'];
  const child = spawn(process.execPath, [SWITCHOVER_SCRIPT, 'vm', ...monitor, ...args], { stdio: 'inherit' });
  const exited = once(child, 'exit');
  const qmp = await connectWhenThere(socket, () => child.exitCode !== null);
  const dispose = async () => {
    child.kill('SIGKILL');
    await exited;
    await qmp[Symbol.asyncDispose]();
  };
  return { child, qmp, exited, [Symbol.asyncDispose]: dispose };
}

async function connectWhenThere(path: string, isOver = () => false): Promise<QmpClient> {
  for (;;) {
    try {
      return await connectTinyQmp({ path });
    } catch (error) {
      if (isOver()) throw error;
      await turn();
    }
  }
}

/** One turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('%s announces SHUTDOWN and exits 0', async (signal) => {
  await using directory = await tempDir();
  await using vm = await startVm(directory.file('s'), ['-M', 'none', '-m', '16M']);
  const shutdown = vm.qmp.waitEvent('SHUTDOWN');
  vm.child.kill(signal);
  expect(await shutdown).toMatchObject({ data: { guest: false, reason: 'host-signal' } });
  expect(await vm.exited).toEqual([0, null]);
});

test('a machine with a running guest and an open listener quits over QMP with 0 and removes its pid file', async () => {
  await using directory = await tempDir();
  const pidFile = directory.file('pid');
  const args = ['-m', '16M', '-object', 'guest-sweep,id=g', '-pidfile', pidFile, '-name', 'lively'];
  await using vm = await startVm(directory.file('s'), args);
  expect(Number(readFileSync(pidFile, 'utf8'))).toBe(vm.child.pid);
  expect(await vm.qmp.execute('query-status')).toMatchObject({ status: 'running', running: true });
  expect(await vm.qmp.execute('query-name')).toEqual({ name: 'lively' });
  await vm.qmp.execute('quit');
  expect(await vm.exited).toEqual([0, null]);
  expect(existsSync(pidFile)).toBe(false);
});

test('a command that takes no notice of a signal does not outlive the machine', async () => {
  await using directory = await tempDir();
  await using vm = await startVm(directory.file('s'), ['-m', '64M']);
  const pidFile = directory.file('pid');
  await vm.qmp.execute('migrate', { uri: `exec:trap '' TERM; echo $$ > ${pidFile}; sleep 600` });
  while (!existsSync(pidFile) || readFileSync(pidFile, 'utf8') === '') await turn();
  const group = -Number(readFileSync(pidFile, 'utf8'));
  expect(process.kill(group, 0)).toBe(true);
  await vm.qmp.execute('quit');
  expect(await vm.exited).toEqual([0, null]);
  // It may still be there as a zombie, until whoever adopted it looks after it.
  await expect.poll(() => livingOf(-group)).toBe(0);
});

test('an incoming stream that is no stream ends the machine with 1 and a reason', async () => {
  const { exitCode, stderr } = await runSwitchover(['vm', '-m', '16M', '-incoming', 'exec:echo nonsense, long enough']);
  expect(exitCode).toBe(1);
  expect(stderr).toContain('load of migration failed');
});

test('the qmp command prints what one command returns', async () => {
  await using directory = await tempDir();
  await using vm = await startVm(directory.file('s'), [
    ...['-m', '16M', '-S', '-qmp', `unix:${directory.file('second')},server=on,wait=off`],
  ]);
  const status = await runSwitchover(['qmp', directory.file('second'), 'query-status']);
  expect(JSON.parse(status.stdout)).toMatchObject({ status: 'prelaunch', running: false });
  const refused = await runSwitchover([
    'qmp',
    `unix:${directory.file('second')}`,
    'migrate',
    '{"uri":"carrier:pigeon"}',
  ]);
  expect(refused).toMatchObject({ exitCode: 2, stdout: '' });
  expect(refused.stderr).toContain('carrier:pigeon');
  await vm.qmp.execute('quit');
  expect(await vm.exited).toEqual([0, null]);
});

test('a monitor that waits for its client holds the guest back until the client is there', async () => {
  await using directory = await tempDir();
  const waiting = ['-qmp', `unix:${directory.file('second')},server=on,wait=on`];
  // -qmp monitors open before those of -mon, so this connection succeeds only after the second's client came.
  const starting = startVm(directory.file('s'), ['-m', '16M', '-object', 'guest-idle,id=g', ...waiting]);
  await using first = await connectWhenThere(directory.file('second'));
  await using vm = await starting;
  // The guest starts once all monitors are open, which is a moment after the last client got in.
  let status: unknown;
  do status = await first.execute('query-status');
  while (isDeepStrictEqual(status, { status: 'prelaunch', running: false }));
  expect(status).toMatchObject({ status: 'running' });
  await vm.qmp.execute('quit');
  expect(await vm.exited).toEqual([0, null]);
});

test('a machine says on its ipc channel when it has rehearsed a migration, devices and all', async () => {
  const args = [SWITCHOVER_SCRIPT, 'vm', '-M', 'harness', '-m', '16M', '-device', 'tiny-match,id=d0', '-S'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  expect(await once(child, 'message')).toEqual([REHEARSED, undefined]);
  child.kill('SIGTERM');
  expect(await once(child, 'close')).toEqual([0, null]);
  expect(stderr).toBe('');
});

test('a machine without a monitor lives until a signal ends it', async () => {
  await using directory = await tempDir();
  const child = spawn(process.execPath, [
    SWITCHOVER_SCRIPT,
    'vm',
    '-m',
    '16M',
    '-incoming',
    `unix:${directory.file('in')}`,
  ]);
  const exited = once(child, 'exit');
  while (!existsSync(directory.file('in'))) await turn();
  child.kill('SIGTERM');
  expect(await exited).toEqual([0, null]);
});

/** Processes of a group that have not ended. */
function livingOf(group: number): number {
  const { stdout } = spawnSync('ps', ['-A', '-o', 'pgid=,state='], { encoding: 'utf8' });
  return stdout.split('\n').filter((line) => new RegExp(`^ *${group} +[^Z]`).test(line)).length;
}
