/**
 * Statuses, events and refusals of whole migrations (spec/control.md §4): the same script drives two machines of a real
 * QEMU and two of ours, and what each side answered and announced, in order, must be the same.
 */

import { describe, expect, test } from 'vitest';
import type { Peer, PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

const MEMORY = '64M';
/** Keeps a migration of random-looking RAM in `active`. */
const SLOW = { 'max-bandwidth': 1 << 20 };
const FAST = { 'max-bandwidth': 0 };

/** What a script sees of one machine. */
class Side {
  readonly peer: Peer;
  readonly answers: string[] = [];

  constructor(peer: Peer) {
    this.peer = peer;
  }

  /** Runs a command and writes down how it ended. */
  async ask(command: string, args?: object): Promise<void> {
    const answer = await this.peer.qmp.execute(command, args).then(
      () => 'ok',
      (error: Error) => error.message,
    );
    this.answers.push(`${command} ${args === undefined ? '' : JSON.stringify(args)}: ${answer}`);
  }

  /** Waits for a status and writes it down with the run state. */
  async until(status: string): Promise<void> {
    await this.peer.waitStatus(status);
    if (['completed', 'cancelled', 'failed'].includes(status)) await this.settled();
    this.answers.push(`${status}, ${await this.runState()}`);
  }

  async runState(): Promise<string> {
    const { status } = (await this.peer.qmp.execute('query-status')) as { status: string };
    return status;
  }

  /** The run state follows the status a moment later (§4.2). */
  async settled(): Promise<void> {
    while ((await this.runState()) === 'finish-migrate');
  }

  /** Events so far; passes depend on time, and a QEMU that quits is gone before `cancelled` (docs/differences.md). */
  get events(): string[] {
    const all = this.peer.qmp.events.flatMap(({ event, data }) => {
      if (event === 'MIGRATION') return [`M:${(data as { status: string }).status}`];
      return event === 'MIGRATION_PASS' ? [] : [event];
    });
    return all.includes('SHUTDOWN') ? all.filter((event) => event !== 'M:cancelled') : all;
  }
}

interface Stage {
  readonly source: Side;
  readonly uri: string;
  /** Another destination, waiting at its own address. */
  waiting(options?: { exitOnError?: boolean }): Promise<{ destination: Side; uri: string }>;
}

type Script = (stage: Stage) => Promise<void>;

const SCRIPTS: Readonly<Record<string, Script>> = {
  'nothing to cancel, continue or pause': async ({ source }) => {
    await source.ask('migrate_cancel');
    await source.ask('migrate-pause');
    await source.ask('migrate-continue', { state: 'pre-switchover' });
    await source.ask('migrate-incoming', { uri: 'tcp:127.0.0.1:0' });
  },
  'cancel in active, and again': async ({ source, waiting }) => {
    const { destination, uri } = await waiting();
    await source.ask('migrate-set-parameters', SLOW);
    await source.ask('migrate', { uri });
    await source.until('active');
    await source.ask('migrate', { uri });
    await source.ask('migrate-pause');
    await source.ask('migrate-continue', { state: 'pre-switchover' });
    await source.ask('migrate-set-capabilities', { capabilities: [{ capability: 'xbzrle', state: true }] });
    await source.ask('migrate_cancel');
    await source.until('cancelled');
    await source.ask('migrate_cancel');
    await source.until('cancelled');
    await destination.until('failed');
    await destination.ask('migrate-incoming', { uri });
    await destination.ask('migrate_cancel');
    await destination.ask('cont');
  },
  'pause-before-switchover, everything that is refused there, continue': async ({ source, waiting }) => {
    const { destination, uri } = await waiting();
    await source.peer.setCapabilities({ 'pause-before-switchover': true });
    await source.ask('migrate', { uri });
    await source.until('pre-switchover');
    await source.ask('cont');
    await source.ask('stop');
    await source.ask('migrate', { uri });
    await source.ask('migrate-pause');
    await source.ask('migrate-continue', { state: 'active' });
    await source.ask('migrate-continue', { state: 'pre-switchover' });
    await source.until('completed');
    await destination.until('completed');
    await source.ask('migrate_cancel');
    await source.ask('migrate-continue', { state: 'pre-switchover' });
  },
  'cancel in pre-switchover': async ({ source, waiting }) => {
    const { destination, uri } = await waiting();
    await source.peer.setCapabilities({ 'pause-before-switchover': true });
    await source.ask('migrate', { uri });
    await source.until('pre-switchover');
    await source.ask('migrate_cancel');
    await source.until('cancelled');
    await destination.until('failed');
  },
  'a paused guest, cancelled in pre-switchover': async ({ source, waiting }) => {
    const { destination, uri } = await waiting();
    await source.ask('stop');
    await source.peer.setCapabilities({ 'pause-before-switchover': true });
    await source.ask('migrate', { uri });
    await source.until('pre-switchover');
    await source.ask('migrate_cancel');
    await source.until('cancelled');
    await destination.until('failed');
  },
  'completed: not again before cont; then again': async ({ source, waiting }) => {
    const first = await waiting();
    await source.ask('migrate', { uri: first.uri });
    await source.until('completed');
    await first.destination.until('completed');
    const second = await waiting();
    await source.ask('migrate', { uri: second.uri });
    await source.ask('cont');
    await source.ask('migrate', { uri: second.uri });
    await source.until('completed');
    await second.destination.until('completed');
    await second.destination.ask('migrate-incoming', { uri: 'tcp:127.0.0.1:0' });
  },
  'failed, cancelled, then completed': async ({ source, waiting, uri: nobody }) => {
    await source.ask('migrate', { uri: nobody });
    await source.until('failed');
    await source.ask('migrate_cancel');
    await source.until('failed');
    await source.ask('migrate-set-parameters', SLOW);
    const first = await waiting();
    await source.ask('migrate', { uri: first.uri });
    await source.until('active');
    await source.ask('migrate_cancel');
    await source.until('cancelled');
    await source.ask('migrate-set-parameters', FAST);
    const second = await waiting();
    await source.ask('migrate', { uri: second.uri });
    await source.until('completed');
    await second.destination.until('completed');
  },
  'stop and cont while it is active': async ({ source, waiting }) => {
    const { destination, uri } = await waiting();
    await source.ask('migrate-set-parameters', SLOW);
    await source.ask('migrate', { uri });
    await source.until('active');
    await source.ask('stop');
    await source.ask('cont');
    await source.ask('stop');
    await source.ask('migrate-set-parameters', FAST);
    await source.until('completed');
    await destination.until('completed');
    await destination.ask('cont');
  },
  'a destination that is told to stop, and to go on, while it waits': async ({ source, waiting }) => {
    const { destination, uri } = await waiting();
    await destination.ask('stop');
    await destination.ask('migrate', { uri });
    await destination.ask('migrate_cancel');
    await destination.ask('cont');
    await destination.ask('stop');
    await source.ask('migrate', { uri });
    await source.until('completed');
    await destination.until('completed');
  },
  'a destination whose source is cancelled exits, unless exit-on-error is off': async ({ source, waiting }) => {
    const { destination, uri } = await waiting({ exitOnError: true });
    await source.ask('migrate-set-parameters', SLOW);
    await source.ask('migrate', { uri });
    await source.until('active');
    await source.ask('migrate_cancel');
    await source.until('cancelled');
    destination.answers.push(`exit ${await destination.peer.exited}`);
  },
  'quit while it is active': async ({ source, waiting }) => {
    const { destination, uri } = await waiting();
    await source.ask('migrate-set-parameters', SLOW);
    await source.ask('migrate', { uri });
    await source.until('active');
    await source.ask('quit');
    source.answers.push(`exit ${await source.peer.exited}`);
    await destination.until('failed');
  },
};

async function play(kind: PeerKind, script: Script, dir: TempDir): Promise<object> {
  await using stack = new AsyncDisposableStack();
  const options = { memory: MEMORY, loadFile: dir.file('content') };
  const source = new Side(stack.use(await startPeer(kind, { ...options, running: true })));
  await source.peer.setCapabilities({ events: true });
  const destinations: Side[] = [];
  const waiting: Stage['waiting'] = async ({ exitOnError = false } = {}) => {
    const uri = `unix:${dir.file(`${kind}${destinations.length}`)}`;
    const destination = new Side(
      stack.use(await startPeer(kind, { memory: MEMORY, running: true, incoming: 'defer' })),
    );
    await destination.peer.setCapabilities({ events: true });
    await destination.peer.qmp.execute('migrate-incoming', { uri, 'exit-on-error': exitOnError });
    destinations.push(destination);
    return { destination, uri };
  };
  await script({ source, waiting, uri: `unix:${dir.file('nobody')}` });
  const seen = ({ answers, events }: Side) => ({ answers, events });
  const text = JSON.stringify({ source: seen(source), destinations: destinations.map(seen) });
  // Addresses have the kind in them.
  return JSON.parse(text.replaceAll(`${dir.path}/${kind}`, 'ADDRESS')) as object;
}

const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  test.for(Object.keys(SCRIPTS))('%s', async (name) => {
    await using dir = await tempDir();
    await writeRandomFile({ path: dir.file('content'), mib: 64, seed: 64 });
    const script = SCRIPTS[name]!;
    expect(await play('switchover', script, dir)).toEqual(await play('qemu', script, dir));
  });
});
