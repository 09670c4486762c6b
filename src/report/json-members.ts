/**
 * A JSON reader that keeps every member of an object in order, also those of one name: QEMU writes the members of several
 * queue elements into one object (spec/wire.md §9.9), and JSON.parse would keep the last only. Depth and number of
 * values are bounded, because the text comes from a file somebody made.
 */

import { HarnessError } from '../base/errors.ts';

/** A JSON value; objects are lists of members. */
export type MemberValue = null | boolean | number | string | readonly MemberValue[] | JsonMembers;

/** An object's members in the order of the text. */
export class JsonMembers {
  readonly entries: readonly (readonly [name: string, value: MemberValue])[];

  constructor(entries: readonly (readonly [string, MemberValue])[]) {
    this.entries = entries;
  }

  /** The first member of that name. */
  get(name: string): MemberValue | undefined {
    return this.entries.find(([key]) => key === name)?.[1];
  }
}

/** Deeper nesting is refused; a description of a real machine needs a dozen. */
const MAX_DEPTH = 64;
/** More values are refused; `pc` has about ten thousand. */
const MAX_VALUES = 1_000_000;

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORDS = { true: true, false: false, null: null } as const;

/** Parses one whole text; throws `stream/bad-value` with offsets counted from `at`, the text's place in the file. */
export function parseJsonMembers(text: string, at: number): MemberValue {
  const reader = new JsonReader(text, at);
  const value = reader.value(0);
  reader.end();
  return value;
}

class JsonReader {
  readonly #text: string;
  readonly #base: number;
  #at = 0;
  #values = 0;

  constructor(text: string, base: number) {
    this.#text = text;
    this.#base = base;
  }

  value(depth: number): MemberValue {
    if (depth > MAX_DEPTH) throw this.#bad(`at most ${MAX_DEPTH} levels`);
    if ((this.#values += 1) > MAX_VALUES) throw this.#bad(`at most ${MAX_VALUES} values`);
    this.#match(SPACE);
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(depth);
      case '[':
        return this.#array(depth);
      case '"':
        return this.#string();
      default:
        return this.#wordOrNumber();
    }
  }

  /** Nothing but space may follow. */
  end(): void {
    this.#match(SPACE);
    if (this.#at < this.#text.length) throw this.#bad('the end');
  }

  #object(depth: number): JsonMembers {
    const entries: [string, MemberValue][] = [];
    this.#list('}', () => {
      this.#match(SPACE);
      const name = this.#string();
      this.#match(SPACE);
      if (this.#text[this.#at] !== ':') throw this.#bad("':'");
      this.#at += 1;
      entries.push([name, this.value(depth + 1)]);
    });
    return new JsonMembers(entries);
  }

  #array(depth: number): MemberValue[] {
    const values: MemberValue[] = [];
    this.#list(']', () => values.push(this.value(depth + 1)));
    return values;
  }

  /** What `{…}` and `[…]` have in common: an opening, items between commas, a closing. */
  #list(closing: string, item: () => void): void {
    this.#at += 1;
    this.#match(SPACE);
    if (this.#text[this.#at] === closing) {
      this.#at += 1;
      return;
    }
    for (;;) {
      item();
      this.#match(SPACE);
      const next = this.#text[this.#at];
      if (next !== ',' && next !== closing) throw this.#bad(`',' or '${closing}'`);
      this.#at += 1;
      if (next === closing) return;
    }
  }

  #string(): string {
    const end = this.#stringEnd();
    try {
      // The token's escapes are JSON's own business.
      if (end !== undefined) {
        const value = JSON.parse(this.#text.slice(this.#at, end)) as string;
        this.#at = end;
        return value;
      }
    } catch {
      // A bad escape or a raw control character: told below, with its place.
    }
    throw this.#bad('a string');
  }

  /** Where the string that starts here ends, behind its closing quote. */
  #stringEnd(): number | undefined {
    const text = this.#text;
    if (text[this.#at] !== '"') return undefined;
    for (let at = this.#at + 1; at < text.length; at += 1) {
      if (text[at] === '"') return at + 1;
      if (text[at] === '\\') at += 1;
    }
    return undefined;
  }

  #wordOrNumber(): MemberValue {
    for (const [word, value] of Object.entries(WORDS)) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return value;
    }
    const token = this.#match(NUMBER);
    if (token === undefined) throw this.#bad('a value');
    return Number(token);
  }

  /** Takes what a sticky pattern matches here; undefined, and nothing taken, when it does not. */
  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const token = pattern.exec(this.#text)?.[0];
    if (token !== undefined) this.#at += token.length;
    return token;
  }

  #bad(expected: string): HarnessError {
    const actual = this.#at < this.#text.length ? `'${this.#text.slice(this.#at, this.#at + 20)}'` : 'the end';
    return new HarnessError('stream/bad-value', {
      at: this.#base + this.#at,
      section: 'vmdescription',
      field: 'JSON',
      expected,
      actual,
    });
  }
}
