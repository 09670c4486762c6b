/**
 * A shell for QMP, ours or QEMU's. On a terminal: a prompt with completion and history, returns over several lines, events as they
 * come. Otherwise a script: a command from each line, a reply on each line of standard output, events on standard error.
 */

import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { EXIT_CODES, exitCodeOf, HarnessError, isHarnessError, messageOf, qmpClassOf } from '../base/errors.ts';
import { stringify } from '../base/json.ts';
import type { QmpClient, QmpEvent } from '../qmp/client.ts';
import { parseCommandLine, type QmpMessage } from '../qmp/command-line.ts';
import { completeCommandLine } from '../qmp/completion.ts';
import { SchemaIndex } from '../qmp/schema-index.ts';
import { prettyJson } from './pretty-json.ts';
import { appendHistory, readHistory } from './qmp-history.ts';

/** What a shell needs. */
export interface QmpShellConfig {
  readonly client: QmpClient;
  readonly input: Readable;
  readonly output: Writable;
  /** For events and complaints of a script. */
  readonly errors: Writable;
  readonly isTerminal: boolean;
  /** Where lines are kept between two sessions; undefined for nowhere. */
  readonly historyFile: string | undefined;
}

const HELP = `command key=value key.inner=value …    a value in quotes is a string, {…} and […] are JSON
command {"key": value}                  its arguments as JSON
{"execute": "command"}                  a whole message; "exec-oob" jumps the queue
help [command]                          the commands, or a command's arguments
exit, Ctrl-D                            leave
`;

/** Runs the shell until its input or the connection ends; resolves with the exit code. */
export async function runQmpShell(config: QmpShellConfig): Promise<number> {
  return config.isTerminal ? await runTerminal(config) : await runScript(config);
}

async function runScript({ client, input, output, errors }: QmpShellConfig): Promise<number> {
  client.onEvent((event) => void errors.write(`${eventText(event)}\n`));
  const schema = lazySchema(client);
  let exitCode: number = EXIT_CODES.ok;
  for await (const line of createInterface({ input })) {
    let id: { id?: unknown } = {};
    try {
      const message = await messageOfLine(line, schema);
      if (message === undefined) continue;
      id = 'id' in message ? { id: message['id'] } : {};
      output.write(`${stringify({ return: (await client.request(message)) as object, ...id })}\n`);
    } catch (error) {
      if (isHarnessError(error, 'transport/closed')) throw error;
      if (exitCode === EXIT_CODES.ok) exitCode = exitCodeOf(error);
      output.write(`${stringify({ error: { class: qmpClassOf(error), desc: messageOf(error) }, ...id })}\n`);
    }
  }
  return exitCode;
}

async function runTerminal(config: QmpShellConfig): Promise<number> {
  const { client, input, output, historyFile } = config;
  const { version } = await client.ready;
  const { major, minor, micro } = version.qemu;
  output.write(`QMP ${major}.${minor}.${micro} ${version.package}. 'help' tells what can be typed.\n`);
  const schema = lazySchema(client);
  const shell = createInterface({
    input,
    output,
    terminal: true,
    prompt: '(qmp) ',
    history: historyFile === undefined ? [] : readHistory(historyFile),
    completer: (line: string, done: (error: Error | null, found: [string[], string]) => void) => {
      schema().then(
        (index) => done(null, completeCommandLine(line, index)),
        () => done(null, [[], line]), // a server without a schema has nothing to offer
      );
    },
  });
  client.onEvent((event) => above(shell, output, eventText(event)));
  let [hasLost, isOpen] = [false, true];
  shell.on('close', () => {
    isOpen = false;
  });
  void client.closed.then(() => {
    hasLost = true;
    shell.close();
  });
  shell.on('SIGINT', () => shell.close());
  shell.prompt();
  let isQuitting = false;
  for await (const line of shell) {
    if (line.trim() === 'exit') break;
    if (historyFile !== undefined) remember(line, historyFile, output);
    isQuitting = await runLine(line, { config, schema });
    if (isOpen) shell.prompt();
  }
  shell.close();
  output.write('\n');
  if (!hasLost || isQuitting) return EXIT_CODES.ok;
  output.write('the server closed the connection\n');
  return EXIT_CODES.migration;
}

/** A history that cannot be written is no reason not to run a command. */
function remember(line: string, file: string, output: Writable): void {
  if (line.trim() === '') return;
  try {
    appendHistory(file, line.trim());
  } catch (error) {
    output.write(`not kept: ${messageOf(error)}\n`);
  }
}

/** Runs one line and prints what came of it; resolves with whether it was the command to quit. */
async function runLine(
  line: string,
  { config, schema }: { config: QmpShellConfig; schema: () => Promise<SchemaIndex> },
): Promise<boolean> {
  const { client, output } = config;
  try {
    const [word, topic] = line.trim().split(/\s+/);
    if (word === 'help') {
      output.write(
        topic === undefined ? `${HELP}\n${columns((await schema()).commands)}` : helpOn(topic, await schema()),
      );
      return false;
    }
    const message = await messageOfLine(line, schema);
    if (message === undefined) return false;
    output.write(`${prettyJson(await client.request(message))}\n`);
    return message['execute'] === 'quit';
  } catch (error) {
    output.write(`${qmpClassOf(error)}: ${messageOf(error)}\n`);
    return false;
  }
}

/** The schema, asked for once, and only when something needs it. */
function lazySchema(client: QmpClient): () => Promise<SchemaIndex> {
  let asked: Promise<SchemaIndex> | undefined;
  return () => (asked ??= client.execute('query-qmp-schema').then((schema) => new SchemaIndex(schema)));
}

/** A whole message and a command alone need no schema, and a server need not have one. */
async function messageOfLine(line: string, schema: () => Promise<SchemaIndex>): Promise<QmpMessage | undefined> {
  const needsTypes = /^\s*[^\s{#]\S*\s+[^\s{]/.test(line);
  const index = needsTypes ? await schema().catch((error: unknown) => noSchema(error)) : undefined;
  return parseCommandLine(line, index);
}

function noSchema(error: unknown): undefined {
  if (isHarnessError(error, 'qmp/command-not-found')) return undefined;
  throw error;
}

function helpOn(command: string, schema: SchemaIndex): string {
  const members = schema.argumentsOf(command);
  if (members === undefined) throw new HarnessError('cli/usage', { text: `no command '${command}'` });
  if (members.length === 0) return `${command} takes no arguments\n`;
  const rows = members.map(
    ({ name, type, isOptional }) => `  ${(isOptional ? `[${name}]` : name).padEnd(28)} ${schema.describe(type)}`,
  );
  return `${[command, ...rows].join('\n')}\n`;
}

function columns(names: readonly string[]): string {
  const width = Math.max(0, ...names.map((name) => name.length)) + 2;
  const perRow = Math.max(1, Math.floor(100 / width));
  const rows = Array.from({ length: Math.ceil(names.length / perRow) }, (_, row) =>
    names
      .slice(row * perRow, (row + 1) * perRow)
      .map((name) => name.padEnd(width))
      .join('')
      .trimEnd(),
  );
  return `${rows.join('\n')}\n`;
}

/** Prints a line above the prompt and what is being typed. */
function above(shell: Interface, output: Writable, text: string): void {
  output.write(`\r\u001b[K${text}\n`);
  shell.prompt(true);
}

/** The server's time, to the microsecond, in UTC. */
function eventText({ event, data, timestamp: { seconds, microseconds } }: QmpEvent): string {
  // Both are -1 when the server has no time.
  const time = seconds < 0 ? '-' : new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ');
  const stamp = seconds < 0 ? time : `${time}.${String(microseconds).padStart(6, '0')}`;
  return `${stamp} ${event}${data === undefined ? '' : ` ${stringify(data)}`}`;
}
