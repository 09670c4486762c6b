/** The tests' own QMP client against a server that answers as it likes: late, in another order, without an id. */

import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { tempDir } from '../support/temp.ts';
import { connectTinyQmp, type QmpClient } from '../support/tiny-qmp.ts';

/** A client that has negotiated, the server's end of its connection, and all that the client sent since. */
interface Conversation extends AsyncDisposable {
  readonly client: QmpClient;
  readonly end: Socket;
  readonly heard: (text: string) => Promise<string>;
}

async function conversation(): Promise<Conversation> {
  const dir = await tempDir();
  const server = createServer();
  server.listen(dir.file('q'));
  await once(server, 'listening');
  const connected = once(server, 'connection') as Promise<[Socket]>;
  const negotiating = connectTinyQmp({ path: dir.file('q') });
  const [end] = await connected;
  let text = '';
  const heard = async (wanted: string) => {
    while (!text.includes(wanted)) text += String((await once(end, 'data'))[0]);
    return text;
  };
  end.write('{"QMP": {}}\r\n');
  await heard('{"execute":"qmp_capabilities","id":1}\n');
  end.write('{"return": {}, "id": 1}\r\n');
  const client = await negotiating;
  text = '';
  const dispose = async () => {
    await client[Symbol.asyncDispose]();
    end.destroy();
    await new Promise((resolve) => server.close(resolve));
    await dir[Symbol.asyncDispose]();
  };
  return { client, end, heard, [Symbol.asyncDispose]: dispose };
}

test('replies are matched by id, whatever their order', async () => {
  await using talk = await conversation();
  const [first, second] = [talk.client.execute('a'), talk.client.execute('b', { c: 1 })];
  expect(await talk.heard('"id":3}\n')).toBe('{"execute":"a","id":2}\n{"execute":"b","arguments":{"c":1},"id":3}\n');
  talk.end.write('{"id": 3, "return": "second"}\r\n{"id": 2, "error": {"class": "C", "desc": "first"}}\r\n');
  expect(await second).toBe('second');
  await expect(first).rejects.toThrow(/^C: first$/);
});

test('an error without an id is about the oldest command, and tells what that was', async () => {
  await using talk = await conversation();
  const [first, second] = [talk.client.execute('a', { long: 'x'.repeat(400) }), talk.client.execute('b')];
  await talk.heard('"id":3}\n');
  talk.end.write('{"error": {"class": "GenericError", "desc": "JSON parse error"}}\r\n{"id": 3, "return": 1}\r\n');
  const cut = '{"execute":"a","arguments":{"long":"'.padEnd(300, 'x');
  await expect(first).rejects.toMatchObject({ message: `GenericError: JSON parse error, about ${cut}` });
  expect(await second).toBe(1);
});

test('a reply to no command ends the connection and says so', async () => {
  await using talk = await conversation();
  const command = talk.client.execute('a');
  talk.end.write('{"id": 7, "return": {}}\r\n');
  await expect(command).rejects.toThrow('a QMP reply to no command: {"id":7,"return":{}}');
  await expect(talk.client.execute('b')).rejects.toThrow('a QMP reply to no command');
});
