/** How long a machine takes from the start of its process to the greeting on its QMP socket. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { PeerKind } from '../../test/support/peer.ts';
import { tempDir } from '../../test/support/temp.ts';

const SWITCHOVER = fileURLToPath(new URL('../../bin/switchover.js', import.meta.url));
const RETRY_MS = 1;
const LONGEST_MS = 10_000;

/** Starts a machine of 64 MiB and ends it again; returns the milliseconds to its greeting. `cold`: with no compiled code kept. */
export async function startUpMs(kind: PeerKind, { cold = false } = {}): Promise<number> {
  await using dir = await tempDir();
  const path = dir.file('qmp.sock');
  const options = ['-M', 'none', '-m', '64M', '-S', '-display', 'none', '-qmp', `unix:${path},server=on,wait=off`];
  const [command, args] =
    kind === 'qemu'
      ? (['qemu-system-x86_64', ['-nodefaults', ...options]] as const)
      : ([process.execPath, [SWITCHOVER, 'vm', ...options]] as const);
  const env = cold ? { ...process.env, NODE_COMPILE_CACHE: dir.file('compiled') } : process.env;
  const start = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], env });
  const exited = once(child, 'exit');
  try {
    const socket = await connectWhenBound(path, start + LONGEST_MS);
    await once(socket, 'data');
    const milliseconds = performance.now() - start;
    socket.destroy();
    return milliseconds;
  } finally {
    // Ours keeps its compiled code when it is asked to go, as a user's machine does.
    child.kill(kind === 'qemu' ? 'SIGKILL' : 'SIGTERM');
    await exited;
  }
}

async function connectWhenBound(path: string, deadline: number): Promise<Socket> {
  for (;;) {
    const socket = connect(path);
    try {
      await once(socket, 'connect');
      return socket;
    } catch (error) {
      // Not bound or not listening yet; `once` rejects with the socket's own error.
      if (performance.now() > deadline) throw error;
    }
    await delay(RETRY_MS);
  }
}
