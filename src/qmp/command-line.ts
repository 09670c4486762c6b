/**
 * A command as people type it: `migrate uri=unix:/tmp/s detach=true`, `migrate {"uri": "…"}`, or a whole message of QMP. A value in
 * quotes is a string, one that begins with a brace or bracket is JSON, any other is what the command's schema makes of it. A
 * dot in a key goes into an object: `options.downtime-limit=300`.
 */

import { HarnessError } from '../base/errors.ts';
import type { JsonValue } from '../base/json.ts';
import { QmpParser } from './parser.ts';
import { guessValue, type SchemaIndex } from './schema-index.ts';

type JsonObject = { [key: string]: JsonValue };

/** A message without its id, `execute` or `exec-oob` in it. */
export type QmpMessage = JsonObject;

/** One part of a line. */
interface Word {
  readonly text: string;
  /** Place of the sign between key and value; negative without one. */
  readonly equals: number;
  readonly kind: 'plain' | 'quoted' | 'json';
}

/** The message that a line stands for; undefined for an empty line or a comment. Throws `cli/usage`. */
export function parseCommandLine(line: string, schema: SchemaIndex | undefined): QmpMessage | undefined {
  const trimmed = line.trim();
  if (trimmed === '' || trimmed.startsWith('#')) return undefined;
  if (trimmed.startsWith('{')) return parseObject(trimmed, 'the message');
  const [command, ...words] = wordsOf(trimmed);
  const name = command?.text ?? '';
  if (words.length === 0) return { execute: name };
  const [only] = words;
  if (words.length === 1 && only?.kind === 'json' && only.equals < 0) {
    return { execute: name, arguments: parseObject(only.text, 'the arguments') };
  }
  const args: JsonObject = {};
  for (const word of words) setArgument(args, word, { schema, command: name });
  return { execute: name, arguments: args };
}

/** A JSON object, 64-bit integers kept; `what` is its name in errors. Throws `cli/usage`. */
export function parseObject(text: string, what: string): JsonObject {
  const value = parseJson(text, what);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw usage(`${what} must be a JSON object, not ${text}`);
}

function parseJson(text: string, what: string): JsonValue {
  // The line break ends a number.
  const [input, ...more] = new QmpParser().push(new TextEncoder().encode(`${text}\n`));
  if (input === undefined) throw usage(`${what} are not JSON: the end is missing`);
  if ('syntaxError' in input) throw usage(`${what} are not JSON: ${input.syntaxError}`);
  if (more.length > 0) throw usage(`${what} are not JSON: more than one value`);
  return input.value;
}

function setArgument(
  args: JsonObject,
  word: Word,
  { schema, command }: { readonly schema: SchemaIndex | undefined; readonly command: string },
): void {
  if (word.equals <= 0) throw usage(`'${word.text}': expected key=value`);
  const path = word.text.slice(0, word.equals).split('.');
  const text = word.text.slice(word.equals + 1);
  let [into, members] = [args, schema?.argumentsOf(command) ?? []];
  let type = '';
  for (const [index, key] of path.entries()) {
    type = members.find(({ name }) => name === key)?.type ?? '';
    members = schema?.membersOf(type) ?? [];
    if (index === path.length - 1) {
      if (Object.hasOwn(into, key)) throw usage(`'${path.join('.')}' is given twice`);
      into[key] = wordValue(word.kind, text, { schema, type });
      return;
    }
    const inner = Object.hasOwn(into, key) ? into[key] : {};
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) {
      throw usage(`'${path.slice(0, index + 1).join('.')}' is given twice`);
    }
    into[key] = inner;
    into = inner;
  }
}

function wordValue(kind: Word['kind'], text: string, as: { schema: SchemaIndex | undefined; type: string }): JsonValue {
  if (kind === 'quoted') return text;
  if (kind === 'json') return parseJson(text, `'${text}'`);
  return as.schema === undefined || as.type === '' ? guessValue(text) : as.schema.valueOf(text, as.type);
}

/** Parts between spaces; quotes hold together what is in them, and so do braces and brackets at the start of a value. */
function wordsOf(line: string): Word[] {
  const words: Word[] = [];
  for (let at = 0; at < line.length; ) {
    if (/\s/.test(line[at] ?? '')) {
      at += 1;
      continue;
    }
    let [text, equals] = ['', -1];
    let kind: Word['kind'] = 'plain';
    while (at < line.length && !/\s/.test(line[at] ?? '')) {
      const character = line[at] ?? '';
      const isValueStart = text === '' || text.length === equals + 1;
      if (isValueStart && (character === '{' || character === '[')) {
        const end = jsonEnd(line, at);
        [text, at, kind] = [text + line.slice(at, end), end, 'json'];
      } else if (character === '"' || character === "'") {
        const end = quoteEnd(line, { start: at, escapes: character === '"' });
        [text, at, kind] = [text + unquoted(line.slice(at, end)), end, 'quoted'];
      } else {
        if (character === '=' && equals < 0) equals = text.length;
        text += character;
        at += 1;
      }
    }
    words.push({ text, equals, kind });
  }
  return words;
}

/** Behind the closing quote. */
function quoteEnd(line: string, { start, escapes }: { readonly start: number; readonly escapes: boolean }): number {
  for (let at = start + 1; at < line.length; at += 1) {
    if (line[at] === '\\' && escapes) at += 1;
    else if (line[at] === line[start]) return at + 1;
  }
  throw usage(`${line.slice(start)}: the closing quote is missing`);
}

function unquoted(text: string): string {
  const inside = text.slice(1, -1);
  return text.startsWith('"') ? inside.replaceAll(/\\(.)/gs, '$1') : inside;
}

/** Behind the bracket that closes the one at `start`. */
function jsonEnd(line: string, start: number): number {
  let depth = 0;
  for (let at = start; at < line.length; at += 1) {
    const character = line[at] ?? '';
    if (character === '"' || character === "'") at = quoteEnd(line, { start: at, escapes: true }) - 1;
    else if ('{['.includes(character)) depth += 1;
    else if ('}]'.includes(character)) depth -= 1;
    if (depth === 0) return at + 1;
  }
  throw usage(`${line.slice(start)}: a closing brace or bracket is missing`);
}

function usage(text: string): HarnessError {
  return new HarnessError('cli/usage', { text });
}
