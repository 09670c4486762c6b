/**
 * SIGTERM to real processes in every status of a migration, with and without multifd and TLS (spec/control.md §4.1): who
 * gets it ends with 0 and says nothing, who is left knows that the other is gone, a source's guest runs on with every
 * page as it must be, and its next migration succeeds. faults.test.ts has the other faults, at many more moments.
 */

import { once } from 'node:events';
import net from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkGuestsInFile } from '../../src/cli/guest-evidence.ts';
import { parseGuestOption } from '../../src/hw/guest/guest-options.ts';
import type { Peer } from '../support/peer.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import { makeTlsCredentials, SERVER_NAME, type TlsCredentials } from '../support/tls-credentials.ts';

const GUEST = 'guest-sweep,id=g,rate=200MiB';
const MEMORY = '16M';
/** Too slow for the guest: the migration stays `active`. */
const SLOW = 1 << 20;
const DESTINATION_STATUSES = ['setup', 'active', 'pre-switchover', 'completed'] as const;
const SOURCE_STATUSES = ['none', 'setup', 'active', 'pre-switchover', 'device', 'completed', 'failed', 'cancelled'];

interface Variant {
  readonly multifd: boolean;
  readonly tls: boolean;
}

let dir: TempDir;
let credentials: TlsCredentials;
beforeAll(async () => {
  dir = await tempDir();
  credentials = await makeTlsCredentials(dir.file('tls'));
});
afterAll(() => dir[Symbol.asyncDispose]());

async function start(variant: Variant, incoming?: string): Promise<Peer> {
  const endpoint = incoming === undefined ? 'client' : 'server';
  const creds = `tls-creds-x509,id=t,endpoint=${endpoint},dir=${credentials[endpoint]}`;
  const peer = await startPeer('switchover', {
    memory: MEMORY,
    running: true,
    ...(incoming === undefined ? {} : { incoming: 'defer' }),
    args: ['-object', GUEST, ...(variant.tls ? ['-object', creds] : [])],
  });
  const { multifd } = variant;
  await peer.setCapabilities({ multifd, 'return-path': true, 'pause-before-switchover': incoming === undefined });
  if (variant.tls) {
    const name = incoming === undefined ? { 'tls-hostname': SERVER_NAME } : {};
    await peer.qmp.execute('migrate-set-parameters', { 'tls-creds': 't', ...name });
  }
  if (incoming !== undefined) await peer.qmp.execute('migrate-incoming', { uri: incoming, 'exit-on-error': false });
  return peer;
}

let sockets = 0;
function nextUri(): string {
  return `unix:${dir.file(`m${sockets++}`)}`;
}

/** Migrates until the source has this status, which it keeps where a migration can be kept in one. */
async function migrateTo(source: Peer, uri: string, status: string): Promise<void> {
  const slow = ['setup', 'active', 'cancelled'].includes(status);
  await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': slow ? SLOW : 0 });
  if (status === 'none') return;
  await source.qmp.execute('migrate', { uri });
  if (status === 'setup') return;
  if (['active', 'failed'].includes(status)) await source.waitStatus(status);
  else if (status === 'cancelled') {
    await source.waitStatus('active');
    await source.qmp.execute('migrate_cancel');
    await source.waitStatus(status);
  } else {
    await source.waitStatus('pre-switchover');
    if (status === 'pre-switchover') return;
    await source.qmp.execute('migrate-continue', { state: 'pre-switchover' });
    if (status === 'completed') await source.waitStatus(status);
  }
}

/** The signal ends it with 0, and all it ever said is that a migration failed, if one did. */
async function expectEnds(peer: Peer): Promise<void> {
  process.kill(peer.pid, 'SIGTERM');
  expect(await peer.exited, peer.stderr).toBe(0);
  expectOnlyFailures(peer);
}

function expectOnlyFailures({ stderr }: Peer): void {
  const lines = stderr.split('\n').filter((line) => line !== '');
  const messages = lines.map((line) => (line.startsWith('{') ? (JSON.parse(line) as { msg: string }).msg : line));
  expect(messages.filter((text) => !/^(incoming )?migration failed$|^a connection was refused$/.test(text))).toEqual(
    [],
  );
}

/** The guest is stopped, found in order, and goes on. */
async function expectIntact(source: Peer): Promise<void> {
  await source.qmp.execute('stop');
  const image = dir.file(`ram${source.pid}`);
  await source.qmp.execute('pmemsave', { val: 0, size: source.memoryBytes, filename: image });
  expect(await checkGuestsInFile([parseGuestOption(GUEST)], image)).toMatchObject([{ ok: true }]);
  await source.qmp.execute('cont');
  await source.waitRunState('running');
}

async function expectNextSucceeds(source: Peer, variant: Variant): Promise<void> {
  const uri = nextUri();
  await using destination = await start(variant, uri);
  await migrateTo(source, uri, 'completed');
  await destination.waitStatus('completed');
  await destination.waitRunState('running');
  await expectIntact(destination);
}

describe.each<Variant>([
  { multifd: false, tls: false },
  { multifd: true, tls: false },
  { multifd: false, tls: true },
  { multifd: true, tls: true },
])('multifd $multifd, tls $tls', (variant) => {
  test(`SIGTERM to the destination while the source is in ${DESTINATION_STATUSES.join(', ')}`, async () => {
    await using source = await start(variant);
    for (const status of DESTINATION_STATUSES) {
      const uri = nextUri();
      await using destination = await start(variant, uri);
      await migrateTo(source, uri, status);
      await expectEnds(destination);
      if (status === 'completed') {
        await source.waitRunState('postmigrate');
        await source.qmp.execute('cont');
      } else {
        if (status === 'pre-switchover') await source.qmp.execute('migrate-continue', { state: status }).catch(() => 0);
        const { 'error-desc': error } = await source.waitStatus('failed');
        expect(error).toMatch(/./);
      }
      await source.waitRunState('running');
      await expectIntact(source);
    }
    await expectNextSucceeds(source, variant);
    expectOnlyFailures(source);
  });

  const mine = SOURCE_STATUSES.filter((_, index) => index % 2 === Number(variant.multifd !== variant.tls));
  test.for(mine)('SIGTERM to a source in %s', async (status) => {
    const uri = nextUri();
    await using destination = await start(variant, uri);
    await using source = await start(variant);
    await migrateTo(source, status === 'failed' ? nextUri() : uri, status);
    await expectEnds(source);
    if (['active', 'pre-switchover', 'cancelled'].includes(status)) {
      const { 'error-desc': error } = await destination.waitStatus('failed');
      expect(error).toMatch(/truncated|closed|handshake|reset/);
    }
    if (status === 'device') await destination.waitStatus(['completed', 'failed']).catch(() => 0);
    await expectEnds(destination);
  });
});

test('SIGTERM to a source whose handshake nobody answers', async () => {
  await using silent = net.createServer((socket) => socket.resume());
  silent.listen(dir.file('silent'));
  await once(silent, 'listening');
  await using source = await start({ multifd: true, tls: true });
  await source.qmp.execute('migrate', { uri: `unix:${dir.file('silent')}` });
  await source.waitStatus('setup');
  await expectEnds(source);
});
