/**
 * From the bytes of a JSON token to its value: strings with escapes and UTF-8 as QEMU reads it (NUL may be written
 * `C0 80`, noncharacters and lone surrogates are refused), and numbers (integers of 64 bits exact, others doubles).
 */

import { isUtf8 } from 'node:buffer';
import { assert } from '../base/assert.ts';
import type { JsonValue } from '../base/json.ts';

/** A token that has no value; the message is the end of QEMU's `JSON parse error, …`. */
export class TokenError extends Error {}

const INT64_MIN = -(1n << 63n);
const UINT64_MAX = (1n << 64n) - 1n;
/** Longest text of an integer of 64 bits; longer ones need no exact reading. */
const INT64_CHARACTERS = 20;
/** How much of a bad token an error message shows. */
const SHOWN_BYTES = 1024;

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};
/** A backslash with what belongs to it; any last, so that every backslash is looked at. */
const ESCAPE = /\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))/gs;
/** U+FDD0…U+FDEF, and the last two characters of every plane. */
const NONCHARACTER =
  /[\ufdd0-\ufdef\ufffe\uffff]|[\ud83f\ud87f\ud8bf\ud8ff\ud93f\ud97f\ud9bf\ud9ff\uda3f\uda7f\udabf\udaff\udb3f\udb7f\udbbf\udbff][\udffe\udfff]/;

const NONCHARACTERS = new RegExp(NONCHARACTER, 'g');

/** The text of a string token, quotes included in `bytes`. Throws TokenError. */
export function decodeString(bytes: Buffer): string {
  const text = decodeUtf8(bytes.subarray(1, -1));
  if (!text.includes('\\')) return text;
  return text.replace(ESCAPE, (_match, high, low, unit, short, offset: number) => {
    if (high !== undefined)
      return checked(String.fromCharCode(Number.parseInt(high, 16), Number.parseInt(low, 16)), offset, 12);
    if (unit !== undefined) return checked(String.fromCharCode(Number.parseInt(unit, 16)), offset, 6);
    if (short === 'u') throw new TokenError(badUnit(offset, 6));
    const plain = ESCAPES[short as string];
    if (plain === undefined) throw new TokenError('invalid escape sequence in string');
    return plain;
  });

  function checked(character: string, offset: number, length: number): string {
    if (NONCHARACTER.test(character) || !character.isWellFormed()) throw new TokenError(badUnit(offset, length));
    return character;
  }
  /** QEMU shows the escape, or both of a pair, and whatever follows up to that length, the closing quote too. */
  function badUnit(offset: number, length: number): string {
    const closing = bytes.toString('latin1', bytes.length - 1);
    return `${(text + closing).slice(offset, offset + length)} is not a valid Unicode character`;
  }
}

/**
 * The value of a number token: a bigint if it is an integer of 64 bits, signed or unsigned, otherwise a double.
 * Throws TokenError for what no double holds.
 */
export function decodeNumber(bytes: Buffer): JsonValue {
  const text = bytes.toString('latin1');
  if (text.length <= INT64_CHARACTERS && /^-?\d+$/.test(text)) {
    const integer = BigInt(text);
    if (integer >= INT64_MIN && integer <= UINT64_MAX) return integer;
  }
  const number = Number(text);
  assert(!Number.isNaN(number), 'the lexer passes well-formed numbers only');
  // QEMU would echo `inf`, which no JSON reader takes.
  if (!Number.isFinite(number)) throw new TokenError(`number '${text.slice(0, 40)}' is too large`);
  return number;
}

/** The bytes as text for an error message: up to the first NUL and repaired, as QEMU shows them; not megabytes of it. */
export function printable(bytes: Buffer): string {
  const nul = bytes.indexOf(0);
  const text = bytes.toString('utf8', 0, Math.min(nul === -1 ? bytes.length : nul, SHOWN_BYTES));
  return text.replaceAll(NONCHARACTERS, '\ufffd');
}

function decodeUtf8(bytes: Buffer): string {
  const text = isUtf8(bytes) ? bytes.toString('utf8') : decodeOverlongNul(bytes);
  if (NONCHARACTER.test(text)) throw invalidUtf8();
  return text;
}

/** UTF-8 in which NUL is written as two bytes; nothing else may be overlong. */
function decodeOverlongNul(bytes: Buffer): string {
  const parts = bytes.toString('latin1').split('\xc0\x80');
  const valid = parts.map((part) => Buffer.from(part, 'latin1'));
  if (parts.length === 1 || !valid.every((part) => isUtf8(part))) throw invalidUtf8();
  return valid.map((part) => part.toString('utf8')).join('\0');
}

function invalidUtf8(): TokenError {
  return new TokenError('invalid UTF-8 sequence in string');
}
