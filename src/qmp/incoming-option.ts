/**
 * Where `-incoming` waits (spec/control.md §6): a URI, or a MigrationChannel, as JSON or as QEMU's dotted keys,
 * `main,addr.transport=socket,addr.type=unix,addr.path=/tmp/s`. The texts of errors are those of a live QEMU.
 */

import { HarnessError } from '../base/errors.ts';
import type { JsonValue } from '../base/json.ts';
import { textToJson } from '../base/kind-text.ts';
import type { Kind } from '../base/kinds.ts';
import { splitParts } from '../base/option-text.ts';
import type { IncomingArguments } from '../migration/vm-control.ts';
import { channelKind, toChannels } from './channel-kind.ts';
import { QmpParser } from './parser.ts';

type JsonObject = { [key: string]: JsonValue };

/** A word and a colon: the beginning of a URI. */
const URI = /^[\w.+-]*:/;
/** The key of a first part that has none. */
const IMPLIED_KEY = 'channel-type';

/** The argument of `-incoming` as migrate-incoming takes it. Throws `qmp/generic` for a channel that is none. */
export function parseIncoming(text: string): IncomingArguments {
  if (URI.test(text)) return { uri: text };
  const value = text.startsWith('{') ? parseJson(text) : typed(parseDottedKeys(text), channelKind, '');
  return { channels: toChannels([channelKind.parse(value, '')]) };
}

function parseJson(text: string): JsonValue {
  const parser = new QmpParser();
  // The line break ends a token.
  const [input, ...more] = parser.push(new TextEncoder().encode(`${text}\n`));
  const unended = parser.end();
  if (input === undefined) throw generic(unended ?? 'JSON parse error, expecting value');
  if ('syntaxError' in input) throw generic(input.syntaxError);
  if (more.length > 0 || unended !== undefined) throw generic('Expecting at most one JSON value');
  return input.value;
}

/** Objects of objects of texts. A doubled comma is one in a value. */
function parseDottedKeys(text: string): JsonObject {
  const root: JsonObject = {};
  const parts = text === '' ? [] : splitParts(text);
  for (const [index, part] of parts.entries()) {
    const equals = part.indexOf('=');
    if (equals < 0 && index > 0) throw generic(`Expected '=' after parameter '${part}'`);
    const path = equals < 0 ? IMPLIED_KEY : part.slice(0, equals);
    setAt(root, { path, text: part.slice(equals + 1) });
  }
  return root;
}

function setAt(root: JsonObject, { path, text }: { readonly path: string; readonly text: string }): void {
  const keys = path.split('.');
  if (keys.includes('')) throw generic(`Invalid parameter '${path}'`);
  let into = root;
  for (const [index, key] of keys.entries()) {
    const isLast = index === keys.length - 1;
    const present = Object.hasOwn(into, key) ? into[key] : undefined;
    if (present !== undefined && (typeof present === 'string') !== isLast) {
      throw inconsistent(keys.slice(0, index + 1).join('.'));
    }
    if (isLast) into[key] = text;
    else {
      const inner = (present ?? {}) as JsonObject; // no text, as was just seen
      into[key] = inner;
      into = inner;
    }
  }
}

/** Texts as what the kind wants where a text can be that; the kind itself refuses the rest. */
function typed(value: JsonValue, kind: Kind<unknown>, path: string): JsonValue {
  const { shape } = kind;
  if (typeof value === 'string') return typedText(value, kind, path);
  if (!isObject(value) || shape === undefined || shape.type === 'enum') return value;
  if (shape.type === 'array') return listOf(value, path).map((item, n) => typed(item, shape.element, `${path}.${n}`));
  if (shape.type === 'struct') {
    const entries = Object.entries(value).map(([key, member]): [string, JsonValue] => {
      const wanted = Object.hasOwn(shape.members, key) ? shape.members[key] : undefined;
      return [key, wanted === undefined ? member : typed(member, wanted.kind, path === '' ? key : `${path}.${key}`)];
    });
    return Object.fromEntries(entries);
  }
  const { [shape.tag]: name, ...rest } = value;
  if (typeof name !== 'string' || !Object.hasOwn(shape.branches, name)) return value;
  return { [shape.tag]: name, ...(typed(rest, shape.branches[name]!, path) as JsonObject) };
}

function typedText(text: string, kind: Kind<unknown>, path: string): JsonValue {
  const value = textToJson(kind, path, text);
  if (kind.name.startsWith('uint') && value === text) throw generic(`Parameter '${path}' expects integer`);
  return value;
}

/** The values of the keys 0, 1, 2 …; an object with other keys is no list. */
function listOf(value: JsonObject, path: string): JsonValue[] {
  const keys = Object.keys(value);
  if (keys.some((key) => !/^\d+$/.test(key))) throw inconsistent(path);
  return keys.map((_, n) => value[n] ?? missing(`${path}.${n}`));
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function inconsistent(path: string): HarnessError {
  return generic(`Parameters '${path}.*' used inconsistently`);
}

function missing(path: string): never {
  throw generic(`Parameter '${path}' missing`);
}

function generic(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}
