/**
 * The incremental JSON parser of a QMP connection (spec/control.md §5.1): chunks in, values and syntax errors out, in
 * the order they end. As in QEMU a value ends when its braces and brackets balance, and only then is a syntax error
 * inside it reported, once; a stray byte is reported at once and drops what was begun. Linear in the input's length.
 */

import type { JsonValue } from '../base/json.ts';
import { LIMITS } from '../wire/limits.ts';
import { JsonLexer, type TokenType } from './lexer.ts';
import { QMP_LIMITS } from './limits.ts';
import { decodeNumber, decodeString, printable, TokenError } from './token-value.ts';

/** One complete JSON value, or the text of a syntax error in its place. */
export type QmpInput = { readonly value: JsonValue } | { readonly syntaxError: string };

type JsonObject = { [key: string]: JsonValue };

/** An unfinished list or object, and what may come next in it. */
type Frame =
  | { readonly list: JsonValue[]; next: 'value-or-end' | 'value' | 'comma-or-end' }
  | { readonly object: JsonObject; key: string; next: 'key-or-end' | 'key' | 'colon' | 'value' | 'comma-or-end' };

/** Parser of one connection's input. */
export class QmpParser {
  readonly #lexer = new JsonLexer((type, bytes) => this.#token(type, bytes));
  readonly #output: QmpInput[] = [];
  #stack: Frame[] = [];
  #openBraces = 0;
  #openBrackets = 0;
  #tokens = 0;
  #tokenBytes = 0;
  /** The first syntax error of the value that is being read; the rest of it is only counted. */
  #syntaxError: string | undefined;
  #value: JsonValue | undefined;

  /** Takes the next chunk and returns what ended in it. */
  push(chunk: Uint8Array): QmpInput[] {
    this.#lexer.push(chunk);
    return this.#output.splice(0);
  }

  /** What is wrong with an input that ends here; undefined where no value has begun. */
  end(): string | undefined {
    if (this.#tokens === 0) return undefined;
    return this.#syntaxError ?? 'JSON parse error, premature EOI';
  }

  #token(type: TokenType, bytes: Buffer): void {
    const refusal = this.#count(type, bytes);
    if (refusal !== undefined) {
      this.#output.push({ syntaxError: refusal });
      this.#reset();
      return;
    }
    if (this.#syntaxError === undefined) this.#accept(type, bytes);
    if (this.#openBraces < 0 || this.#openBrackets < 0 || (this.#openBraces === 0 && this.#openBrackets === 0)) {
      this.#finish();
    }
  }

  /** Keeps the counts; returns why everything begun must be dropped at once, if so. */
  #count(type: TokenType, bytes: Buffer): string | undefined {
    if (type === 'stray') return `JSON parse error, stray '${printable(bytes)}'`;
    this.#tokens += 1;
    this.#tokenBytes += bytes.length;
    if (type === '{') this.#openBraces += 1;
    else if (type === '}') this.#openBraces -= 1;
    else if (type === '[') this.#openBrackets += 1;
    else if (type === ']') this.#openBrackets -= 1;
    if (type === 'too-long' || this.#tokenBytes > LIMITS.QMP_INPUT_BYTES) return 'JSON token size limit exceeded';
    if (this.#tokens > QMP_LIMITS.TOKENS) return 'JSON token count limit exceeded';
    if (this.#openBraces + this.#openBrackets > LIMITS.QMP_NESTING) return 'JSON nesting depth limit exceeded';
    return undefined;
  }

  /** Builds; the first error ends the building of this value. */
  #accept(type: TokenType, bytes: Buffer): void {
    try {
      const frame = this.#stack.at(-1);
      if (frame === undefined) this.#beginValue(type, bytes);
      else if ('list' in frame) this.#acceptInList(frame, type, bytes);
      else this.#acceptInObject(frame, type, bytes);
    } catch (error) {
      if (!(error instanceof TokenError)) throw error;
      this.#syntaxError = `JSON parse error, ${error.message}`;
      this.#stack = [];
    }
  }

  #acceptInList(frame: Frame & { list: JsonValue[] }, type: TokenType, bytes: Buffer): void {
    if (frame.next === 'comma-or-end') {
      if (type === ']') this.#endContainer(frame.list);
      else if (type === ',') frame.next = 'value';
      else throw new TokenError('expected separator in list');
    } else if (type === ']' && frame.next === 'value-or-end') {
      this.#endContainer(frame.list);
    } else {
      this.#beginValue(type, bytes);
    }
  }

  #acceptInObject(frame: Frame & { object: JsonObject }, type: TokenType, bytes: Buffer): void {
    if (frame.next === 'comma-or-end') {
      if (type === '}') this.#endContainer(frame.object);
      else if (type === ',') frame.next = 'key';
      else throw new TokenError('expected separator in dict');
    } else if (frame.next === 'colon') {
      if (type !== ':') throw new TokenError('missing : in object pair');
      frame.next = 'value';
    } else if (type === '}' && frame.next === 'key-or-end') {
      this.#endContainer(frame.object);
    } else {
      // Keys are read as values first, which is what QEMU's messages show.
      this.#beginValue(type, bytes);
    }
  }

  #beginValue(type: TokenType, bytes: Buffer): void {
    // No prototype, so that a key named __proto__ is a member like any other.
    if (type === '{') this.#stack.push({ object: Object.create(null) as JsonObject, key: '', next: 'key-or-end' });
    else if (type === '[') this.#stack.push({ list: [], next: 'value-or-end' });
    else if (type === 'string') this.#endValue(decodeString(bytes));
    else if (type === 'number') this.#endValue(decodeNumber(bytes));
    else if (type === 'keyword') this.#endValue(decodeKeyword(bytes));
    else throw new TokenError('expecting value');
  }

  #endContainer(value: JsonValue): void {
    this.#stack.pop();
    this.#endValue(value);
  }

  #endValue(value: JsonValue): void {
    const frame = this.#stack.at(-1);
    if (frame === undefined) {
      this.#value = value;
    } else if ('list' in frame) {
      frame.list.push(value);
      frame.next = 'comma-or-end';
    } else if (frame.next === 'value') {
      if (frame.key in frame.object) throw new TokenError('duplicate key');
      frame.object[frame.key] = value;
      frame.next = 'comma-or-end';
    } else {
      if (typeof value !== 'string') throw new TokenError('key is not a string in object');
      frame.key = value;
      frame.next = 'colon';
    }
  }

  /** The outermost value has ended, well or badly. */
  #finish(): void {
    if (this.#syntaxError !== undefined) this.#output.push({ syntaxError: this.#syntaxError });
    // Balanced without an error means that the last container, or a lone literal, has just been delivered.
    else if (this.#value !== undefined) this.#output.push({ value: this.#value });
    this.#reset();
  }

  #reset(): void {
    this.#stack = [];
    this.#openBraces = 0;
    this.#openBrackets = 0;
    this.#tokens = 0;
    this.#tokenBytes = 0;
    this.#syntaxError = undefined;
    this.#value = undefined;
  }
}

function decodeKeyword(bytes: Buffer): JsonValue {
  const word = printable(bytes);
  if (word === 'null') return null;
  if (word === 'true' || word === 'false') return word === 'true';
  throw new TokenError(`invalid keyword '${word}'`);
}
