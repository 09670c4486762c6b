/** `switchover qmp SOCKET [COMMAND [JSON]]`: one QMP command and what it returned, or without one a shell. */

import { EXIT_CODES, HarnessError } from '../../base/errors.ts';
import { connectQmp } from '../../qmp/client.ts';
import { parseObject } from '../../qmp/command-line.ts';
import { prettyJson } from '../pretty-json.ts';
import { defaultHistoryFile } from '../qmp-history.ts';

const GREETING_MS = 5000;

/** The command's arguments; `json` is the text of a JSON object. */
export interface QmpRequest {
  readonly socket: string;
  readonly command?: string;
  readonly json?: string;
  /** A file, or false for none. */
  readonly history: string | boolean;
}

/** Runs the command or the shell; resolves with the exit code. */
export async function runQmp({ socket, command, json, history }: QmpRequest): Promise<number> {
  const args = json === undefined ? undefined : parseObject(json, 'the arguments');
  // A bare path is what people have in their shell history.
  const address = /^(unix|tcp):/.test(socket) ? socket : `unix:${socket}`;
  // A monitor that serves another client accepts and stays silent until that one leaves.
  const timeout = new HarnessError('transport/timeout', {
    uri: address,
    what: 'a QMP greeting; is another client connected?',
    waitedMs: GREETING_MS,
  });
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(timeout), GREETING_MS);
  const connecting = connectQmp(address, { signal: patience.signal, oob: command === undefined });
  await using client = await connecting.finally(() => clearTimeout(timer));
  if (command !== undefined) {
    process.stdout.write(`${prettyJson(await client.execute(command, args))}\n`);
    return EXIT_CODES.ok;
  }
  const { runQmpShell } = await import('../qmp-shell.ts');
  const { stdin: input, stdout: output, stderr: errors } = process;
  return await runQmpShell({
    client,
    input,
    output,
    errors,
    isTerminal: input.isTTY === true && output.isTTY === true,
    historyFile:
      history === false ? undefined : typeof history === 'string' ? history : defaultHistoryFile(process.env),
  });
}
