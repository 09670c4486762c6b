/**
 * What `query-qmp-schema` says, ours or QEMU's, looked up: the commands there are, their arguments, and the value that a
 * text stands for as an argument. A schema is what a server sent, so whatever is missing or odd counts as unknown.
 */

import type { JsonValue } from '../base/json.ts';

interface SchemaEntry {
  readonly name?: unknown;
  readonly 'meta-type'?: unknown;
  readonly 'arg-type'?: unknown;
  readonly 'allow-oob'?: unknown;
  readonly 'json-type'?: unknown;
  readonly 'element-type'?: unknown;
  readonly members?: unknown;
  readonly values?: unknown;
  readonly variants?: unknown;
}

/** One member of an object type. */
export interface SchemaMember {
  readonly name: string;
  readonly type: string;
  readonly isOptional: boolean;
}

const NUMBER = /^[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const INTEGER = /^[+-]?\d+$/;

/** See the header. */
export class SchemaIndex {
  readonly #types = new Map<string, SchemaEntry>();
  readonly #commands = new Map<string, SchemaEntry>();

  constructor(schema: unknown) {
    for (const entry of listOf<SchemaEntry>(schema)) {
      if (typeof entry.name !== 'string') continue;
      if (entry['meta-type'] === 'command') this.#commands.set(entry.name, entry);
      else if (entry['meta-type'] !== 'event') this.#types.set(entry.name, entry);
    }
  }

  /** In alphabetical order. */
  get commands(): readonly string[] {
    return [...this.#commands.keys()].sort();
  }

  /** The arguments of a command; undefined when there is no such command. */
  argumentsOf(command: string): readonly SchemaMember[] | undefined {
    const entry = this.#commands.get(command);
    return entry === undefined ? undefined : this.membersOf(textOf(entry['arg-type']));
  }

  /** The members of an object type, those of its variants included. */
  membersOf(type: string): readonly SchemaMember[] {
    const entry = this.#types.get(type);
    if (entry?.['meta-type'] !== 'object') return [];
    const members = listOf<{ name?: unknown; type?: unknown; default?: unknown }>(entry.members).map((member) => ({
      name: textOf(member.name),
      type: textOf(member.type),
      isOptional: 'default' in member,
    }));
    const inner = listOf<{ type?: unknown }>(entry.variants).flatMap((variant) => this.membersOf(textOf(variant.type)));
    const seen = new Set<string>();
    return [...members, ...inner].filter(({ name }) => !seen.has(name) && seen.add(name));
  }

  /** The words that a value of this type can be, if it is one of few. */
  wordsOf(type: string): readonly string[] {
    const entry = this.#types.get(type);
    if (entry?.['meta-type'] === 'alternate') {
      return listOf<{ type?: unknown }>(entry.members).flatMap((member) => this.wordsOf(textOf(member.type)));
    }
    if (entry?.['json-type'] === 'boolean') return ['true', 'false'];
    const names = listOf<{ name?: unknown }>(entry?.members).map((member) => textOf(member.name));
    const words = names.length > 0 ? names : listOf<unknown>(entry?.values).map((word) => textOf(word));
    return entry?.['meta-type'] === 'enum' ? words : [];
  }

  /** In words, for help. */
  describe(type: string): string {
    const entry = this.#types.get(type);
    if (entry?.['meta-type'] === 'array') return `[${this.describe(textOf(entry['element-type']))}]`;
    if (entry?.['meta-type'] === 'object')
      return `{${this.membersOf(type)
        .map(({ name }) => name)
        .join(', ')}}`;
    const words = this.wordsOf(type);
    return words.length > 0 ? words.join('|') : textOf(entry?.['json-type'], 'value');
  }

  /** The value that a text without quotes is for a member of this type. What does not fit stays text: the server will say why. */
  valueOf(text: string, type: string): JsonValue {
    const entry = this.#types.get(type);
    if (entry?.['meta-type'] === 'array') {
      return text === '' ? [] : text.split(',').map((item) => this.valueOf(item, textOf(entry['element-type'])));
    }
    if (entry?.['meta-type'] === 'enum') return text;
    if (entry?.['meta-type'] === 'alternate') {
      const values = listOf<{ type?: unknown }>(entry.members).map((member) => this.valueOf(text, textOf(member.type)));
      const better = values.findIndex((value) => typeof value !== 'string');
      return better < 0 ? text : values[better]!;
    }
    switch (entry?.['json-type']) {
      case 'string':
        return text;
      case 'boolean':
        return text === 'true' || text === 'on' ? true : text === 'false' || text === 'off' ? false : text;
      case 'null':
        return text === 'null' ? null : text;
      default:
        return guessValue(text);
    }
  }
}

/** The value that a text is where no schema tells. */
export function guessValue(text: string): JsonValue {
  if (INTEGER.test(text)) return BigInt(text);
  if (NUMBER.test(text)) return Number(text);
  return text === 'true' ? true : text === 'false' ? false : text === 'null' ? null : text;
}

/** What should be a list of T; its members are still looked at one by one. */
function listOf<T>(value: unknown): readonly T[] {
  return Array.isArray(value) ? (value as readonly (T | null)[]).filter((one): one is T => one !== null) : [];
}

function textOf(value: unknown, otherwise = ''): string {
  return typeof value === 'string' ? value : otherwise;
}
