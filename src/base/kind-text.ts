/**
 * Values of options written as text (`-global`, `-object`), in the notations and with the error texts of a real QEMU: `0x`
 * and octal integers, sizes with a suffix, `on|off|yes|no|true|false`.
 */

import { HarnessError } from './errors.ts';
import type { JsonValue } from './json.ts';
import type { Kind } from './kinds.ts';

/**
 * The JSON value that a text stands for where this kind is wanted; what cannot be read as an integer stays text, for the
 * kind to refuse. Throws `qmp/generic` with QEMU's sentence for a bad boolean or size.
 */
export function textToJson(kind: Kind<unknown>, name: string, text: string): JsonValue {
  switch (kind.name) {
    case 'boolean':
      return readBoolean(name, text);
    case 'size':
      return readSize(name, text);
    case 'uint8_t':
    case 'uint16_t':
    case 'uint32_t':
    case 'uint64':
    case 'int':
      return readInteger(text) ?? text;
    default:
      return text;
  }
}

function readBoolean(name: string, text: string): boolean {
  if (['on', 'yes', 'true', 'y'].includes(text)) return true;
  if (['off', 'no', 'false', 'n'].includes(text)) return false;
  throw new HarnessError('qmp/generic', { text: `Parameter '${name}' expects 'on' or 'off'` });
}

/** As C reads integers of any base: leading blanks, a sign, `0x`, a leading 0 for octal; negative ones modulo 2^64. */
function readInteger(text: string): bigint | undefined {
  const match = /^\s*([+-]?)(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)$/i.exec(text);
  if (match === null) return undefined;
  const [, sign, digits = '0'] = match;
  const magnitude = BigInt(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits);
  if (magnitude >= 1n << 64n) return undefined;
  if (sign !== '-') return magnitude;
  // Small ones stay negative, so that narrow kinds refuse them and 64-bit kinds reinterpret them.
  return magnitude <= 1n << 63n ? -magnitude : BigInt.asUintN(64, -magnitude);
}

const SIZE_SHIFTS: Readonly<Record<string, bigint>> = { b: 0n, k: 10n, m: 20n, g: 30n, t: 40n, p: 50n, e: 60n };

/** A size: digits with an optional fraction and suffix b, k … E (binary), or `0x` digits without; below 2^64. */
function readSize(name: string, text: string): bigint {
  const bytes = sizeOf(name, text);
  if (bytes >= 1n << 64n) throw outOfRange(name, text);
  return bytes;
}

function sizeOf(name: string, text: string): bigint {
  const hexadecimal = /^\s*\+?(0x[0-9a-f]+)$/i.exec(text);
  if (hexadecimal?.[1] !== undefined) return BigInt(hexadecimal[1]);
  if (/^\s*-\d+$/.test(text)) throw outOfRange(name, text);
  const match = /^\s*\+?(\d*)(?:\.(\d*))?([bkmgtpe]?)$/i.exec(text);
  const [, whole = '', fraction = '', suffix = ''] = match ?? [];
  const shift = SIZE_SHIFTS[suffix.toLowerCase() || 'b'] ?? 0n;
  const hasFraction = /[1-9]/.test(fraction);
  if (whole + fraction === '' || (hasFraction && shift === 0n)) {
    throw new HarnessError('qmp/generic', {
      text: `Parameter '${name}' expects a non-negative number below 2^64 (with an optional suffix b, k, M, G, T, P or E)`,
    });
  }
  // Rounded to the nearest byte, as QEMU does.
  const part = hasFraction ? BigInt(Math.round(Number(`0.${fraction}`) * Number(1n << shift))) : 0n;
  return (BigInt(whole || '0') << shift) + part;
}

function outOfRange(name: string, text: string): HarnessError {
  return new HarnessError('qmp/generic', { text: `Value '${text}' is out of range for parameter '${name}'` });
}
