import { readFileSync, writeFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { defaultHistoryFile, readHistory } from '../../src/cli/qmp-history.ts';
import { runQmpShell } from '../../src/cli/qmp-shell.ts';
import { connectQmp } from '../../src/qmp/client.ts';
import { QmpServer } from '../../src/qmp/server.ts';
import { RecordingVm } from '../support/recording-vm.ts';
import { tempDir } from '../support/temp.ts';

/** A shell on a server of ours, typed into key by key. */
async function openShell(options: { isTerminal: boolean; historyFile?: string }) {
  const vm = new RecordingVm();
  const server = await QmpServer.start({
    vm,
    packageVersion: '1.2.3',
    monitors: [{ kind: 'server', id: 'compat_monitor0', endpoint: { host: '127.0.0.1', port: 0 }, wait: false }],
    warn: () => {},
  });
  const client = await connectQmp(server.endpoints[0]!, { oob: true });
  const [input, output, errors] = [new PassThrough(), new PassThrough(), new PassThrough()];
  let said = '';
  let heard = () => {};
  const listen = (text: string) => {
    said += text;
    heard();
  };
  output.setEncoding('utf8').on('data', listen);
  errors.setEncoding('utf8').on('data', (text: string) => listen(`stderr ${text}`));
  const ended = runQmpShell({ client, input, output, errors, historyFile: undefined, ...options });
  return {
    vm,
    server,
    client,
    ended,
    input,
    /** A key at a time: a terminal's Tab is one only when it comes alone. */
    type: (text: string) => {
      for (const key of text) input.write(key);
    },
    /** Resolves once all of this was said, and forgets it. */
    async said(text: string) {
      while (!said.includes(text)) await new Promise<void>((resolve) => (heard = resolve));
      const whole = said;
      said = '';
      return whole;
    },
    async [Symbol.asyncDispose]() {
      input.end();
      await client[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

test('a terminal has a prompt, completion, help, events above the prompt, and a history', async () => {
  await using directory = await tempDir();
  const historyFile = directory.file('deep/er/history');
  await using shell = await openShell({ isTerminal: true, historyFile });
  await shell.said('(qmp) ');
  shell.type('query-uu\t');
  await shell.said('id '); // what was missing
  shell.type('\r');
  await shell.said('{\n  "UUID": "00000000-0000-0000-0000-000000000000"\n}\n');
  shell.type('help migrate\r');
  expect(await shell.said('[resume]')).toContain('[detach]                     true|false');
  shell.type('nonsense\r');
  await shell.said('CommandNotFound: The command nonsense has not been found\n');
  shell.vm.emit({ name: 'STOP' });
  expect(await shell.said(' STOP\n')).toMatch(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} STOP\n/);
  shell.type('exit\r');
  expect(await shell.ended).toBe(0);
  expect(readFileSync(historyFile, 'utf8')).toBe('query-uuid\nhelp migrate\nnonsense\n');
  expect(readHistory(historyFile)).toEqual(['nonsense', 'help migrate', 'query-uuid']);
});

test('a terminal whose server goes away ends with an error', async () => {
  await using shell = await openShell({ isTerminal: true });
  await shell.said('(qmp) ');
  await shell.client[Symbol.asyncDispose]();
  expect(await shell.ended).toBe(4);
  await shell.said('the server closed the connection');
});

test('a history that cannot be written does not keep a command from running', async () => {
  await using directory = await tempDir();
  writeFileSync(directory.file('file'), '');
  const historyFile = directory.file('file/history');
  expect(() => readHistory(historyFile)).toThrow('ENOTDIR');
  await using shell = await openShell({ isTerminal: true, historyFile: directory.file('missing') });
  await shell.said('(qmp) ');
  writeFileSync(directory.file('missing'), 'before\n');
  shell.type('query-name\r');
  await shell.said('{}\n');
  expect(readFileSync(directory.file('missing'), 'utf8')).toBe('before\nquery-name\n');
});

test("a script's lines are commands, each answered by a line; the first error is the exit code", async () => {
  await using shell = await openShell({ isTerminal: false });
  shell.vm.emit({ name: 'STOP' });
  await shell.said('STOP');
  shell.input.end('query-name\n\n# nothing\n{"execute": "query-name", "id": "a"}\nmigrate uri\nnonsense\n');
  expect(await shell.ended).toBe(2);
  expect(await shell.said('nonsense')).toBe(
    [
      '{"return": {}}',
      '{"return": {}, "id": "a"}',
      `{"error": {"class": "GenericError", "desc": "'uri': expected key=value"}}`,
      '{"error": {"class": "CommandNotFound", "desc": "The command nonsense has not been found"}}',
      '',
    ].join('\n'),
  );
});

test("the history is in the user's state directory unless told otherwise", () => {
  expect(defaultHistoryFile({ XDG_STATE_HOME: '/s' })).toBe('/s/switchover/qmp-history');
  expect(defaultHistoryFile({})).toMatch(/\/\.local\/state\/switchover\/qmp-history$/);
});
