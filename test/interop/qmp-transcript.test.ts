/**
 * The same QMP input, good, bad, malformed and out of order, to a real QEMU and to `switchover vm`: every reply must be the same,
 * but for those that `transcript/differences.ts` lists, each with its place in docs/differences.md; and those must differ as is told there.
 * After each input comes a command whose id ends the listening, so nothing here depends on time.
 */

import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectQmp } from '../../src/qmp/client.ts';
import type { PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import { type Answer, record } from '../support/transcript.ts';
import { ARGUMENTS, CAPABILITIES, COMMANDS, PARAMETERS } from './transcript/command-inputs.ts';
import { DIFFERENCES, type Difference } from './transcript/differences.ts';
import { HUMAN, HUMAN_SIZES } from './transcript/human-inputs.ts';
import type { Session } from './transcript/input.ts';
import { ENVELOPES, MALFORMED, NEGOTIATION, OVERSIZED } from './transcript/json-inputs.ts';
import { AROUND, DIRTY } from './transcript/machine-inputs.ts';
import { OBJECTS } from './transcript/object-inputs.ts';
import { SESSIONS } from './transcript/state-inputs.ts';

/** On a machine that runs and has never migrated. */
const TRANSCRIPTS = {
  ...{ NEGOTIATION, ENVELOPES, MALFORMED, COMMANDS, ARGUMENTS, PARAMETERS, CAPABILITIES, HUMAN, HUMAN_SIZES, OBJECTS },
  ...{ AROUND, DIRTY },
};

const skipReason = whyNoQemu();
const documented = readFileSync(new URL('../../docs/differences.md', import.meta.url), 'utf8');
/** Rows that were met, to find those that no transcript has any more. */
const met = new Set<Difference>();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  let peers = 0;
  beforeAll(async () => {
    dir = await tempDir();
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  async function both(session: Session, options: { negotiated: boolean }): Promise<[Answer[], Answer[]]> {
    const run = async (kind: PeerKind) => {
      const own = dir.file(`${peers++}`);
      await mkdir(own);
      return record(kind, { ...session, ...options, dir: own });
    };
    return await Promise.all([run('qemu'), run('switchover')]);
  }

  test.for(Object.keys(TRANSCRIPTS) as (keyof typeof TRANSCRIPTS)[])('%s is answered the same', async (name) => {
    compare(...(await both({ inputs: TRANSCRIPTS[name], running: true }, { negotiated: name !== 'NEGOTIATION' })));
  });

  test('all of them on one monitor, one after the other, are answered the same', { timeout: 60_000 }, async () => {
    const inputs = Object.values(TRANSCRIPTS).flat();
    expect(inputs.length).toBeGreaterThanOrEqual(300);
    compare(...(await both({ inputs, running: true }, { negotiated: false })));
  });

  test('what is larger than any message', { timeout: 120_000 }, async () => {
    const answers = await both({ inputs: [OVERSIZED], running: true }, { negotiated: true });
    const [theirs, ours] = answers.map(([answer]) => answer?.replies ?? []);
    const tooMany = { error: { class: 'GenericError', desc: 'JSON token count limit exceeded' } };
    expect([theirs?.[0], ours?.[0]]).toEqual([tooMany, tooMany]);
    // A QEMU is ended by it, or goes on with what the text still has, at times the one and at times the other.
    expect(ours).not.toContain('closed');
  });

  test.for(Object.keys(SESSIONS) as (keyof typeof SESSIONS)[])('a machine %s answers the same', async (name) => {
    compare(...(await both(SESSIONS[name], { negotiated: true })), name);
  });

  test('every difference that is listed was met', () => {
    expect(DIFFERENCES.filter((row) => !met.has(row)).map(({ input }) => input)).toEqual([]);
  });

  test.for<PeerKind>(['qemu', 'switchover'])('our client works with %s', async (kind) => {
    const path = dir.file(`client-${kind}`);
    await using _peer = await startPeer(kind, {
      memory: '16M',
      running: true,
      args: ['-qmp', `unix:${path},server=on,wait=off`],
    });
    await using client = await connectQmp({ path });
    const stopped = client.waitEvent(({ event }) => event === 'STOP');
    expect(await client.execute('stop')).toEqual({});
    expect(await stopped).toMatchObject({ event: 'STOP' });
    await expect(client.execute('nope')).rejects.toMatchObject({ code: 'qmp/command-not-found' });
    const { version } = await client.ready;
    expect(version.qemu.major).toBeGreaterThanOrEqual(10);
    expect(version.package.startsWith('Switchover ')).toBe(kind === 'switchover');
  });
});

test.for(DIFFERENCES)('docs/differences.md lists what differs at $input', ({ listed }) => {
  expect(documented).toContain(listed);
});

/** Answers are equal where no row says otherwise; where one does, each side's is the one that it tells, and they differ. */
function compare(theirs: readonly Answer[], ours: readonly Answer[], session?: string): void {
  expect(ours.map(({ input }) => input)).toEqual(theirs.map(({ input }) => input));
  const rows = theirs.map(({ input }) =>
    DIFFERENCES.find((row) => row.input === input && (row.session === undefined || row.session === session)),
  );
  const unlisted = (answers: readonly Answer[]) => answers.filter((_, index) => rows[index] === undefined);
  expect(unlisted(ours)).toEqual(unlisted(theirs));
  for (const [index, row] of rows.entries()) {
    if (row === undefined) continue;
    met.add(row);
    expect(theirs[index]?.replies, `what QEMU says to ${row.input}`).toEqual(row.theirs);
    expect(ours[index]?.replies, `what we say to ${row.input}`).toEqual(row.ours);
    expect(ours[index], `${row.input} is listed as different`).not.toEqual(theirs[index]);
  }
}
