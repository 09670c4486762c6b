/**
 * query-qmp-schema: commands, events and their types as QEMU's introspection has them. Types have numbers for names,
 * because clients must not rely on them; equal types are one.
 */

import type { Kind, KindShape, Member } from '../base/kinds.ts';
import { COMMANDS } from './commands.ts';
import { EVENTS } from './events.ts';

/** The one type without members: arguments and results that are nothing. */
const EMPTY = '0';

/** Plain kinds by their names, as introspection calls them; whatever holds an integer is `int`. */
const BUILTINS: Readonly<Record<string, string>> = {
  boolean: 'bool',
  string: 'str',
  number: 'number',
  any: 'any',
  object: 'any',
};

const JSON_TYPES: Readonly<Record<string, string>> = {
  str: 'string',
  int: 'int',
  number: 'number',
  bool: 'boolean',
  null: 'null',
  any: 'value',
};

/** What clients are told of a command, a word or a member besides its type, by its name; one that begins with `x-` is unstable. */
const FEATURES: Readonly<Record<string, readonly string[]>> = {
  'query-migrationthreads': ['deprecated'],
  'zero-blocks': ['deprecated'],
  values: ['deprecated'],
  'compat-props': ['unstable'],
};

/** The list that the command returns. */
export function qmpSchema(): object[] {
  const types = new SchemaTypes();
  const commands = Object.entries(COMMANDS).map(([name, { args, returns, allowOob }]) => ({
    name,
    'meta-type': 'command',
    'arg-type': types.nameOf(args),
    'ret-type': returns === undefined ? EMPTY : types.nameOf(returns),
    ...(allowOob ? { 'allow-oob': true } : {}),
    ...featuresOf(name),
  }));
  const events = Object.entries(EVENTS).map(([name, { data }]) => ({
    name,
    'meta-type': 'event',
    'arg-type': data === undefined ? EMPTY : types.nameOf(data),
  }));
  return [...commands, ...events, ...types.entries()];
}

function featuresOf(name: string): { readonly features?: readonly string[] } {
  if (Object.hasOwn(FEATURES, name)) return { features: FEATURES[name]! };
  return name.startsWith('x-') ? { features: ['unstable'] } : {};
}

class SchemaTypes {
  readonly #entries = new Map<string, object>();
  /** Names by the text of what they name. */
  readonly #names = new Map<string, string>();

  constructor() {
    this.#add({ 'meta-type': 'object', members: [] });
  }

  /** Every type that was asked for, and those within. */
  entries(): object[] {
    return [...this.#entries].map(([name, entry]) => ({ name, ...entry }));
  }

  nameOf(kind: Kind<unknown>): string {
    if (kind.name === 'StrOrNull') return this.#stringOrNull();
    return kind.shape === undefined ? this.#builtin(BUILTINS[kind.name] ?? 'int') : this.#composite(kind.shape);
  }

  #composite(shape: KindShape): string {
    switch (shape.type) {
      case 'enum':
        return this.#enum(shape.names);
      case 'array': {
        const element = this.nameOf(shape.element);
        const name = `[${element}]`;
        this.#entries.set(name, { 'meta-type': 'array', 'element-type': element });
        return name;
      }
      case 'struct':
        return this.#add({ 'meta-type': 'object', members: this.#members(shape.members) });
      case 'union': {
        const variants = Object.entries(shape.branches).map(([name, branch]) => ({
          case: name,
          type: this.nameOf(branch),
        }));
        const tag = { name: shape.tag, type: this.#enum(Object.keys(shape.branches)) };
        const members = [tag, ...this.#members(shape.common ?? {})];
        return this.#add({ 'meta-type': 'object', members, tag: shape.tag, variants });
      }
      default:
        return shape satisfies never;
    }
  }

  #members(members: Readonly<Record<string, Member<unknown, boolean>>>): object[] {
    return Object.entries(members).map(([name, { kind, required }]) => ({
      name,
      type: this.nameOf(kind),
      ...(required ? {} : { default: null }),
      ...featuresOf(name),
    }));
  }

  #enum(values: readonly string[]): string {
    return this.#add({ 'meta-type': 'enum', members: values.map((name) => ({ name, ...featuresOf(name) })), values });
  }

  #stringOrNull(): string {
    const members = ['str', 'null'].map((name) => ({ type: this.#builtin(name) }));
    return this.#add({ 'meta-type': 'alternate', members });
  }

  #builtin(name: string): string {
    this.#entries.set(name, { 'meta-type': 'builtin', 'json-type': JSON_TYPES[name] });
    return name;
  }

  #add(entry: object): string {
    const text = JSON.stringify(entry);
    const known = this.#names.get(text);
    if (known !== undefined) return known;
    const name = String(this.#names.size);
    this.#names.set(text, name);
    this.#entries.set(name, entry);
    return name;
  }
}
