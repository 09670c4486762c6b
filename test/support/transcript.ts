/** Records what a QEMU or a `switchover vm` answers to a list of inputs on one monitor, and makes it comparable. */

import { type Input, type Session, textOf } from '../interop/transcript/input.ts';
import { LineClient } from './line-client.ts';
import type { Peer, PeerKind } from './peer.ts';
import { startPeer } from './switchover-vm.ts';

/** What came of an input: replies in their order, and events apart, for they may come before or after the reply. */
export interface Answer {
  readonly input: string;
  /** The last is `closed` where the connection ended. */
  readonly replies: readonly unknown[];
  readonly events: readonly unknown[];
}

/** What the events of a session are recorded under whose machine migrates: they come in their own time. */
export const ALL_EVENTS = 'all events';

/** Members of query-migrate that do not depend on time or on how a side packs its stream. */
const EXACT = new Set([
  ...['total', 'page-size', 'dirty-sync-count', 'dirty-sync-missed-zero-copy', 'multifd-bytes', 'normal'],
  ...['normal-bytes', 'postcopy-bytes', 'postcopy-requests'],
]);

/** Starts a machine, sends it everything, and returns an answer for each input until the connection ends. */
export async function record(
  kind: PeerKind,
  session: Session & { readonly dir: string; readonly negotiated: boolean },
): Promise<Answer[]> {
  const { inputs, dir, negotiated, args = [], memory = '16M', ...start } = session;
  const path = `${dir}/monitor`;
  // The peer's own connection keeps the first monitor busy; ours is the second.
  await using peer = await startPeer(kind, {
    ...start,
    memory,
    args: ['-qmp', `unix:${path},server=on,wait=off`, ...args],
  });
  await using client = await LineClient.connect({ path });
  expectGreeting(await client.next());
  if (negotiated) {
    client.send({ execute: 'qmp_capabilities', arguments: { enable: ['oob'] } });
    await client.next();
  }
  const places = { '{dir}': dir, '{tag}': dir.split('/').slice(-2).join('.') };
  const answers: Answer[] = [];
  for (const [index, input] of inputs.entries()) {
    if (isWait(input)) {
      await waitUntil(peer, input.until);
      continue;
    }
    const answer = await answerTo(client, { text: textOf(input), mark: `end ${index}`, places });
    answers.push(answer);
    if (answer.replies.at(-1) === 'closed') return answers;
  }
  return inputs.some(isWait) ? eventsApart(answers) : answers;
}

function isWait(input: Input): input is Extract<Input, { readonly until: readonly string[] }> {
  return typeof input === 'object' && 'until' in input;
}

/** Waits for a status, and where that is a final one for the run state that goes with it, which QEMU sets a moment later. */
async function waitUntil(peer: Peer, statuses: readonly string[]): Promise<void> {
  const { status } = await peer.waitStatus(statuses);
  if (status === 'pre-switchover' || status === 'active') return;
  await peer.waitRunState(['running', 'paused', 'postmigrate', 'prelaunch']);
}

function eventsApart(answers: readonly Answer[]): Answer[] {
  const events = answers.flatMap((answer) => answer.events);
  return [...answers.map((answer) => ({ ...answer, events: [] })), { input: ALL_EVENTS, replies: [], events }];
}

async function answerTo(
  client: LineClient,
  { text, mark, places }: { text: string; mark: string; places: Readonly<Record<string, string>> },
): Promise<Answer> {
  const replies: unknown[] = [];
  const events: unknown[] = [];
  const sent = Object.entries(places).reduce((whole, [name, place]) => whole.replaceAll(name, place), text);
  // The newline ends whatever the input left open in the lexer.
  client.send(`${sent}\n{"execute": "query-name", "id": "${mark}"}`);
  for (;;) {
    const line = await client.nextLine();
    if (line === undefined) return { input: text, replies: [...replies, 'closed'], events };
    const known = Object.entries(places).reduce((whole, [name, place]) => whole.replaceAll(place, name), line);
    const message = readMessage(known);
    if (typeof message === 'string') replies.push(message);
    else if (message['id'] === mark) return { input: text, replies, events };
    else if ('event' in message) events.push({ ...message, timestamp: undefined });
    else replies.push(comparable(text, message));
  }
}

/** A message with numbers as they were written, but for plain integers; a line that is no JSON as it is. */
function readMessage(line: string): Record<string, unknown> | string {
  const reviver = (_key: string, value: unknown, { source }: { readonly source?: string }) =>
    typeof value !== 'number' || (source === String(value) && Number.isSafeInteger(value)) ? value : `#${source}`;
  try {
    // TypeScript's library does not know the reviver's third argument yet (ES2026); QMP messages are objects.
    return JSON.parse(line, reviver as (key: string, value: unknown) => unknown) as Record<string, unknown>;
  } catch {
    return `not JSON: ${line}`;
  }
}

/** Lists without an order sorted, and numbers that depend on time hidden. */
function comparable(text: string, message: Record<string, unknown>): unknown {
  const { return: result } = message;
  if (text.includes('"query-migrate"') || text.includes('"query-migrationthreads"')) {
    return { ...message, return: withoutMeasurements(result) };
  }
  if (text.includes('"info migrate"') && typeof result === 'string') {
    return { ...message, return: result.replaceAll(/\d+(\.\d+)?/g, 'N') };
  }
  if (!Array.isArray(result) || !result.every(hasName)) return message;
  return { ...message, return: result.toSorted((one, other) => (one.name < other.name ? -1 : 1)) };
}

function hasName(value: unknown): value is { readonly name: string } {
  return typeof value === 'object' && value !== null && 'name' in value && typeof value.name === 'string';
}

function withoutMeasurements(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((element) => withoutMeasurements(element));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, withoutMeasurements(member, name)]));
  }
  const isNumber = typeof value === 'number' || (typeof value === 'string' && value.startsWith('#'));
  return isNumber && !EXACT.has(key) ? 'a number' : value;
}

function expectGreeting(message: unknown): void {
  const text = JSON.stringify(message);
  if (!text.includes('"capabilities":["oob"]')) throw new Error(`no greeting: ${text}`);
}
