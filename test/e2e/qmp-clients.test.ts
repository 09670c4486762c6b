/** QMP clients by others, as npm has them, drive a whole migration between two of our machines. */

import { QMPClient } from 'node-qemu';
import QemuQmp from 'qemu-qmp';
import { describe, expect, test } from 'vitest';
import type { Peer } from '../support/peer.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

/** What the test needs of a client, whoever wrote it. */
interface Driver {
  execute(command: string, args?: Record<string, unknown>): Promise<unknown>;
  /** Resolves when the event comes. */
  event(name: 'STOP' | 'RESUME'): Promise<void>;
  close(): Promise<void>;
}

const DRIVERS: Readonly<Record<string, (path: string) => Promise<Driver>>> = {
  'node-qemu': async (path) => {
    const client = new QMPClient({ socketPath: path });
    await client.connect();
    return {
      execute: (command, args) => client.execute(command, args),
      event: (name) => new Promise((resolve) => client.once(name, () => resolve())),
      close: () => client.close(),
    };
  },
  'qemu-qmp': async (path) => {
    const client = new QemuQmp();
    await new Promise<void>((resolve, reject) =>
      client.connect(path, (error) => (error === null ? resolve() : reject(error))),
    );
    return {
      execute: (command, args) =>
        new Promise((resolve, reject) =>
          client.execute(command, args ?? {}, (error, value) => (error === null ? resolve(value) : reject(error))),
        ),
      event: (name) => new Promise((resolve) => client.once(name.toLowerCase(), () => resolve())),
      close: async () => void client.end(),
    };
  },
};

/** A machine with a second monitor, for the client under test; the first is the test's own. */
async function machine(dir: TempDir, role: string, options: { incoming?: string } = {}): Promise<[Peer, string]> {
  const path = dir.file(`${role}.qmp`);
  const peer = await startPeer('switchover', {
    memory: '16M',
    running: true,
    args: ['-qmp', `unix:${path},server=on,wait=off`, '-object', 'guest-sweep,id=g,rate=20M'],
    ...options,
  });
  return [peer, path];
}

describe.each(Object.keys(DRIVERS))('%s', (name) => {
  test('migrates a running guest, sees it stop and run, and ends both machines', async () => {
    const connect = DRIVERS[name]!;
    await using dir = await tempDir();
    const [source, sourcePath] = await machine(dir, 'source');
    await using _source = source;
    const [destination, destinationPath] = await machine(dir, 'destination', { incoming: 'defer' });
    await using _destination = destination;
    const [from, to] = await Promise.all([connect(sourcePath), connect(destinationPath)]);

    const capabilities = [{ capability: 'return-path', state: true }];
    for (const side of [from, to]) await side.execute('migrate-set-capabilities', { capabilities });
    await from.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
    const uri = `unix:${dir.file('migration')}`;
    await to.execute('migrate-incoming', { uri });
    const [stopped, resumed] = [from.event('STOP'), to.event('RESUME')];
    await from.execute('migrate', { uri });
    await Promise.all([stopped, resumed]);
    await Promise.all([source.waitStatus('completed'), destination.waitRunState('running')]);
    expect(await from.execute('query-migrate')).toMatchObject({ status: 'completed', ram: { 'page-size': 4096 } });
    expect(await to.execute('query-status')).toMatchObject({ status: 'running' });
    await expect(from.execute('no-such-command')).rejects.toThrow('has not been found');
    await to.execute('quit');
    await from.execute('quit');
    expect(await Promise.all([source.exited, destination.exited])).toEqual([0, 0]);
    await Promise.all([from.close(), to.close()]);
  });
});
