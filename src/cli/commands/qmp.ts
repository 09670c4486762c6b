/** `switchover qmp SOCKET [COMMAND [JSON]]`: executes one QMP command and prints what it returned. */

import { EXIT_CODES, HarnessError, messageOf } from '../../base/errors.ts';
import { connectQmp } from '../../qmp/client.ts';

const GREETING_MS = 5000;

/** The command's arguments; `json` is the text of a JSON object. */
export interface QmpRequest {
  readonly socket: string;
  readonly command: string;
  readonly json?: string;
}

/** Runs the command; resolves with the exit code. */
export async function runQmp(request: QmpRequest): Promise<number> {
  const args = request.json === undefined ? undefined : parseArguments(request.json);
  // A bare path is what people have in their shell history.
  const address = /^(unix|tcp):/.test(request.socket) ? request.socket : `unix:${request.socket}`;
  // A monitor that serves another client accepts and stays silent until that one leaves.
  const timeout = new HarnessError('transport/timeout', {
    uri: address,
    what: 'a QMP greeting; is another client connected?',
    waitedMs: GREETING_MS,
  });
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(timeout), GREETING_MS);
  await using client = await connectQmp(address, { signal: patience.signal }).finally(() => clearTimeout(timer));
  const result = await client.execute(request.command, args);
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  return EXIT_CODES.ok;
}

function parseArguments(text: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new HarnessError('cli/usage', { text: `the arguments are not JSON: ${messageOf(error)}` }, { cause: error });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new HarnessError('cli/usage', { text: `the arguments must be a JSON object, not ${text}` });
}
