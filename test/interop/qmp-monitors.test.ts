/**
 * What QMP clients do beyond commands that are text, to a real QEMU and to ours: bytes that are no UTF-8, several monitors
 * at once, commands out of band behind a full queue, clients that leave and wait. The messages must be the same.
 */

import { expect, test } from 'vitest';
import { LineClient } from '../support/line-client.ts';
import type { PeerKind } from '../support/peer.ts';
import { whyNoQemu } from '../support/qemu.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { tempDir } from '../support/temp.ts';

/** In latin-1, so that every character is a byte. */
const NOT_UTF8: readonly string[] = [
  '"\xff"',
  '"\xc3("',
  '"\xe2\x28\xa1"',
  '\xff\xfe',
  '\xef\xbb\xbf',
  '\x00',
  '{"execute": "\xe9x"}',
  '{"execute": "query-name", "\xff": 1}',
  ...[
    '\xff',
    '\x80',
    '\xc3',
    'a\xe2\x82',
    '\xc0\x80',
    '\xe0\x80\xaf',
    '\xed\xa0\x80',
    '\xed\xb0\x80',
    '\xef\xbf\xbf',
    '\xf0\x9f\x98\x80',
    '\xf4\x90\x80\x80',
    '\xf8\x88\x80\x80\x80',
    '\x00',
  ].map((id) => `{"execute": "query-name", "id": "${id}"}`),
];
/** More than the 8 that a monitor queues. */
const MANY = 30;

type Message = Record<string, unknown>;

/** Two monitors of one machine, the first with commands out of band. */
interface Monitors {
  readonly first: LineClient;
  readonly second: LineClient;
  readonly firstPath: string;
}

/** Everything until the reply to `id`, that reply left out. */
async function until(client: LineClient, id: string): Promise<Message[]> {
  const messages: Message[] = [];
  for (;;) {
    const message = (await client.next()) as Message | undefined;
    if (message === undefined) throw new Error(`closed before ${id}`);
    if (message['id'] === id) return messages;
    messages.push('timestamp' in message ? { ...message, timestamp: undefined } : message);
  }
}

/** What has come; a last command marks the end, so nothing depends on time. */
function drained(client: LineClient): Promise<Message[]> {
  client.send({ execute: 'query-name', id: 'end' });
  return until(client, 'end');
}

const SCRIPTS: Readonly<Record<string, (monitors: Monitors) => Promise<unknown>>> = {
  'bytes that are no UTF-8': async ({ first }) => {
    const answers: unknown[] = [];
    for (const text of NOT_UTF8) {
      first.socket.write(Buffer.from(`${text}\n`, 'latin1'));
      answers.push([text, await drained(first)]);
    }
    return answers;
  },

  'events go to both, replies to who asked': async ({ first, second }) => {
    first.send({ execute: 'stop', id: 'stop' });
    const one = await until(first, 'stop');
    second.send({ execute: 'cont', id: 'cont' });
    const other = await until(second, 'cont');
    return { one, other, more: await drained(first) };
  },

  'out of band is for who enabled it': async ({ first, second }) => {
    for (const client of [first, second]) client.send({ 'exec-oob': 'migrate-pause', id: 'x' });
    return [await first.next(), await second.next()];
  },

  'replies keep their order, and who is out of band is answered behind a full queue': async ({ first }) => {
    const commands = Array.from({ length: MANY }, (_, id) => ({ execute: 'query-name', id }));
    const all = [...commands, { 'exec-oob': 'migrate-pause', id: 'oob' }, { execute: 'query-name', id: 'end' }];
    first.socket.write(all.map((command) => JSON.stringify(command)).join(''));
    const ids = (await until(first, 'end')).map(({ id }) => id);
    return { inBand: ids.filter((id) => id !== 'oob'), oob: ids.includes('oob') };
  },

  'one monitor serves one client after the other': async ({ first, firstPath }) => {
    await using waiting = await LineClient.connect({ path: firstPath });
    waiting.send({ execute: 'qmp_capabilities', id: 'hello' });
    const before = [await drained(first), waiting.unread];
    first.socket.end();
    const greeting = (await waiting.next()) as { QMP: { capabilities: unknown } };
    return [before, greeting.QMP.capabilities, await until(waiting, 'hello')];
  },
};

async function play(kind: PeerKind, script: (monitors: Monitors) => Promise<unknown>): Promise<unknown> {
  await using dir = await tempDir();
  const [firstPath, secondPath] = [dir.file('first'), dir.file('second')];
  await using _peer = await startPeer(kind, {
    memory: '16M',
    running: true,
    args: [firstPath, secondPath].flatMap((path) => ['-qmp', `unix:${path},server=on,wait=off`]),
  });
  await using first = await LineClient.connect({ path: firstPath });
  await first.next();
  first.send({ execute: 'qmp_capabilities', arguments: { enable: ['oob'] } });
  await first.next();
  await using second = await LineClient.negotiated({ path: secondPath });
  return await script({ first, second, firstPath });
}

test.skipIf(whyNoQemu() !== undefined).for(Object.keys(SCRIPTS))('%s', async (name) => {
  const script = SCRIPTS[name]!;
  const [theirs, ours] = await Promise.all([play('qemu', script), play('switchover', script)]);
  expect(ours).toEqual(theirs);
});

test.skipIf(whyNoQemu() !== undefined)('a monitor with pretty=on writes the same lines', async () => {
  const dialogue = async (kind: PeerKind) => {
    await using dir = await tempDir();
    const path = dir.file('pretty');
    const chardev = ['-chardev', `socket,id=p,path=${path},server=on,wait=off`];
    await using _ = await startPeer(kind, { memory: '1M', args: [...chardev, '-mon', 'p,mode=control,pretty=on'] });
    await using client = await LineClient.connect({ path });
    await messageLines(client); // the greeting names the program
    const lines: string[] = [];
    for (const input of [
      '{"execute": "qmp_capabilities", "id": [1, {"a": []}, [], {}]}',
      '{"execute": "query-migrate", "id": "é"}',
      '{"execute": "nothing"}',
      '{"execute": "query-yank"}',
    ]) {
      client.send(input);
      lines.push(...(await messageLines(client)));
    }
    return lines;
  };
  expect(await dialogue('switchover')).toEqual(await dialogue('qemu'));
});

/** The lines of the next message. */
async function messageLines(client: LineClient): Promise<string[]> {
  const lines: string[] = [];
  while (lines.at(-1) !== '}') {
    const line = await client.nextLine();
    if (line === undefined) throw new Error(`closed after ${lines.join(' ')}`);
    lines.push(line);
  }
  return lines;
}
