/** Sizes, rates and times as people write them: `64MiB`, `1G`, `10Gbps`, `300ms`. Bytes, bytes per second, milliseconds. */

import { HarnessError } from './errors.ts';

const SIZE_SUFFIXES: Record<string, bigint> = {
  '': 1n,
  b: 1n,
  k: 1n << 10n,
  m: 1n << 20n,
  g: 1n << 30n,
  t: 1n << 40n,
  p: 1n << 50n,
  e: 1n << 60n,
};

/**
 * A size in bytes: decimal or 0x-hexadecimal digits, an optional fraction, a suffix K…E (binary, as QEMU reads them,
 * with an optional `iB`). Without a suffix the unit is `defaultUnit`.
 * Throws `option/bad-value` with `option` as the name of what was parsed.
 */
export function parseSize(text: string, option: string, defaultUnit: '' | 'k' | 'm' = ''): number {
  const bad = () =>
    new HarnessError('option/bad-value', { option, expected: 'a size such as 4096, 64MiB or 1G', actual: `'${text}'` });
  if (/^0x[0-9a-f]+$/i.test(text)) return safe(BigInt(text), bad);
  const match = /^(\d+)(\.\d+)?\s*([bkmgtpe]?)(?:i?b)?$/i.exec(text);
  if (match === null) throw bad();
  const [, whole = '0', fraction, suffix = ''] = match;
  const unit = SIZE_SUFFIXES[(suffix === '' ? (/b$/i.test(text) ? 'b' : defaultUnit) : suffix).toLowerCase()] ?? 1n;
  const part = fraction === undefined ? 0n : BigInt(Math.trunc(Number(fraction) * Number(unit)));
  return safe(BigInt(whole) * unit + part, bad);
}

/**
 * A size as QEMU's monitor and URIs read it: decimal with a fraction and one letter, or hexadecimal without; no `MiB`. What a
 * letter is missing from is in `defaultUnit`. Otherwise why it is none: not of this form, or negative or beyond 64 bits.
 */
export function parseQemuSize(text: string, defaultUnit: '' | 'm' = ''): bigint | 'invalid' | 'out of range' {
  const trimmed = text.trimStart();
  if (/^-[\d.]/.test(trimmed)) return 'out of range';
  const [, hex, whole = '', fraction = '', suffix = ''] =
    /^\+?(?:(0x[0-9a-f]+)|(\d*)(\.\d*)?([bkmgtpe]?))$/i.exec(trimmed) ?? [];
  if (hex === undefined && !/\d/.test(whole + fraction)) return 'invalid';
  const unit = SIZE_SUFFIXES[(suffix === '' ? defaultUnit : suffix).toLowerCase()] ?? 1n;
  if (unit === 1n && /[1-9]/.test(fraction)) return 'invalid';
  const part = /\d/.test(fraction) ? BigInt(Math.trunc(Number(`0${fraction}`) * Number(unit))) : 0n;
  const size = hex === undefined ? BigInt(whole) * unit + part : BigInt(hex);
  return size < 1n << 64n ? size : 'out of range';
}

/** A rate in bytes per second: `8Gbps`, `100Mbps` (bits, decimal) or a size with an optional `/s` (`500MiB/s`). */
export function parseRate(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmgt]?)bps$/i.exec(text);
  if (match !== null) {
    const scale = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 }[(match[2] ?? '').toLowerCase()] ?? 1;
    return Math.trunc((Number(match[1]) * scale) / 8);
  }
  return parseSize(text.replace(/\/s$/i, ''), option);
}

/** A time in milliseconds: `300ms`, `2s`, `1min`; a bare number is milliseconds. */
export function parseTimeMs(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|min)?$/.exec(text);
  if (match === null) {
    throw new HarnessError('option/bad-value', { option, expected: 'a time such as 300ms or 2s', actual: `'${text}'` });
  }
  return Number(match[1]) * { ms: 1, s: 1000, min: 60_000 }[(match[2] ?? 'ms') as 'ms' | 's' | 'min'];
}

/** A byte count for people: `512 B`, `4.0 KiB`, `1.5 GiB`. */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(1)} ${units[unit]}`;
}

function safe(value: bigint, bad: () => Error): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw bad();
  return Number(value);
}
