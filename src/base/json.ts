/**
 * JSON as QMP needs it: 64-bit integers survive and `1000.0` is not `1000`. An integer token is always a bigint, a
 * number is always a token with a fraction or an exponent. Here are the type and the printer; the incremental parser
 * of a QMP connection lives with the connection.
 */

import { assert } from './assert.ts';

/** A parsed JSON value: integers are bigints, numbers are what was written with a fraction or an exponent. */
export type JsonValue = null | boolean | string | bigint | number | JsonValue[] | { [key: string]: JsonValue };

/**
 * What `stringify` prints: JSON values, ordinary numbers of any kind, arrays, and objects of these. Objects are not
 * described further because interfaces (MigrationInfo, …) have no index signature; a function inside one is our bug.
 */
export type JsonPrintable = null | boolean | string | bigint | number | object;

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};

/**
 * The text of a value on one line as QEMU prints it: ASCII only (others as \uXXXX), `", "` and `": "` between parts,
 * bigints as exact integers, members that are undefined left out. A number that JSON cannot express is our own bug.
 */
export function stringify(value: JsonPrintable): string {
  switch (typeof value) {
    case 'string':
      return quote(value);
    case 'number':
      assert(Number.isFinite(value), `JSON has no way to write ${value}`);
      return Number.isSafeInteger(value) && value !== 0 ? String(value) : seventeenDigits(value);
    case 'bigint':
    case 'boolean':
      return String(value);
    case 'object':
      return value === null ? 'null' : container(value);
    default:
      assert(false, `JSON has no way to write a ${typeof value}`);
  }
}

/** C's `%.17g`, in which QEMU prints what is no integer: 0.1 is 0.10000000000000001, and nothing is lost either way. */
function seventeenDigits(value: number): string {
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const [mantissa = '', exponent = ''] = value.toExponential(16).split('e');
  const power = Number(exponent);
  const short = (digits: string) => digits.replace(/\.?0+$/, '');
  if (power >= -4 && power < 17) {
    const plain = value.toFixed(16 - power);
    return plain.includes('.') ? short(plain) : plain;
  }
  return `${short(mantissa)}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
}

/** How JSON is laid out over several lines. */
interface JsonLayout {
  /** One level's. */
  readonly indent: string;
  /** What stands in an empty list or object breaks the line too. */
  readonly breaksEmpty: boolean;
  /** A key, and what has no members. */
  readonly print: (value: JsonPrintable) => string;
}

/** As a monitor of QEMU with `pretty=on` prints it. */
export const MONITOR_LAYOUT: JsonLayout = { indent: '    ', breaksEmpty: true, print: stringify };

/** The text of a value over several lines. */
export function stringifyLines(value: JsonPrintable, layout: JsonLayout, outer = ''): string {
  if (typeof value !== 'object' || value === null) return layout.print(value);
  const inner = outer + layout.indent;
  const members = Array.isArray(value)
    ? value.map((item) => stringifyLines(item, layout, inner))
    : Object.entries(value).flatMap(([key, member]) =>
        member === undefined ? [] : [`${layout.print(key)}: ${stringifyLines(member, layout, inner)}`],
      );
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  if (members.length === 0) return layout.breaksEmpty ? `${open}\n${outer}${close}` : `${open}${close}`;
  return `${open}\n${inner}${members.join(`,\n${inner}`)}\n${outer}${close}`;
}

function container(value: object): string {
  if (Array.isArray(value)) return `[${value.map(stringify).join(', ')}]`;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return `{${members.map(([key, member]) => `${quote(key)}: ${stringify(member)}`).join(', ')}}`;
}

/** Per UTF-16 unit, so that characters beyond 16 bits become a surrogate pair, as JSON wants them. */
function quote(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what must be escaped.
  return `"${text.replace(/["\\\u0000-\u001f\u007f-\uffff]/g, escapeUnit)}"`;
}

function escapeUnit(unit: string): string {
  return SHORT_ESCAPES[unit] ?? `\\u${unit.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`;
}
