/** Multifd between two processes of ours where time matters: a channel that is late, a peer that stops talking. */

import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { test } from 'vitest';
import { recordedMultifd } from '../support/multifd-streams.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { tempDir } from '../support/temp.ts';

async function waitingDestination(path: string) {
  const destination = await startPeer('switchover', { memory: '4M', incoming: 'defer' });
  await destination.setCapabilities({ multifd: true });
  await destination.qmp.execute('migrate-incoming', { uri: `unix:${path}`, 'exit-on-error': false });
  return destination;
}

test('a channel that comes a second after the others', async () => {
  await using dir = await tempDir();
  const path = dir.file('m');
  await using destination = await waitingDestination(path);
  const { main, channels } = recordedMultifd('none');
  for (const [index, bytes] of [main, ...channels].entries()) {
    if (index === 2) {
      await delay(1000);
      await destination.waitStatus('setup'); // it waits, and answers meanwhile
    }
    const socket = connect(path);
    await once(socket, 'connect');
    socket.write(bytes);
  }
  await destination.waitStatus('completed');
});

test('a channel whose bytes come in two halves with a second between', async () => {
  await using dir = await tempDir();
  const path = dir.file('m');
  await using destination = await waitingDestination(path);
  const { main, channels } = recordedMultifd('none');
  const sockets = await Promise.all(
    [main, ...channels].map(async (bytes, index) => {
      const socket = connect(path);
      await once(socket, 'connect');
      socket.write(index === 1 ? bytes.subarray(0, 20_000) : bytes);
      return socket;
    }),
  );
  await delay(1000);
  await destination.waitStatus('active');
  sockets[1]?.write(channels[0]!.subarray(20_000));
  await destination.waitStatus('completed');
});
