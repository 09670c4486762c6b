/**
 * How a guest is configured: `-object guest-sweep,id=g0,rate=50MiB,start=0,size=64MiB` or, on our own command line, the
 * short form `sweep,rate=200MiB`. Pure: texts in, plain objects out. Errors are `option/bad-value` and name the key.
 */

import { HarnessError } from '../../base/errors.ts';
import { formatSize, parseRate, parseSize, parseTimeMs } from '../../base/units.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { GuestRegion, GuestSetting, GuestSettings } from './guest-program.ts';
import { GUESTS, type GuestName, guestDefinition, isGuestName } from './guest-table.ts';

const OBJECT_PREFIX = 'guest-';
/** Keys of every guest; a program adds its settings. */
const COMMON_KEYS = ['id', 'rate', 'start', 'size', 'seed'];
const MAX_SEED = 0xffff_ffff;

/** A guest as configured; survives structured cloning. */
export interface GuestOptions {
  readonly id: string;
  readonly name: GuestName;
  /** Bytes dirtied per second, a written page counting 4 KiB; 0 = as fast as it goes. */
  readonly rateBytes: number;
  /** Byte offset of its region in RAM. */
  readonly startByte: number;
  /** Bytes of its region; 0 = to the end of RAM. */
  readonly sizeBytes: number;
  readonly seed: number;
  readonly settings: GuestSettings;
}

/**
 * Parses `guest-NAME,id=ID,key=value,…` or the short form `NAME,key=value,…`. Without `defaultId` the text must have an
 * id, as every object of QEMU must.
 */
export function parseGuestOption(text: string, defaultId?: string): GuestOptions {
  return parseGuest(text.startsWith(OBJECT_PREFIX) ? text.slice(OBJECT_PREFIX.length) : text, defaultId);
}

/** Where in a RAM block of `ramBytes` the guest lives. Throws `option/bad-value` when it does not fit. */
export function guestRegion(options: GuestOptions, ramBytes: number): GuestRegion {
  const { startByte } = options;
  const sizeBytes = options.sizeBytes === 0 ? Math.max(0, ramBytes - startByte) : options.sizeBytes;
  const where = `${OBJECT_PREFIX}${options.name}`;
  if (startByte + sizeBytes > ramBytes) {
    throw bad(
      `${where}.size`,
      `a region inside ${formatSize(ramBytes)} of RAM`,
      `bytes ${startByte} to ${startByte + sizeBytes}`,
    );
  }
  const minimum = guestDefinition(options.name).minimumPages * PAGE_SIZE;
  if (sizeBytes < minimum) throw bad(`${where}.size`, `at least ${formatSize(minimum)}`, formatSize(sizeBytes));
  return { startByte, sizeBytes };
}

function parseGuest(text: string, defaultId: string | undefined): GuestOptions {
  const [name = '', ...parts] = text.split(',');
  if (!isGuestName(name)) throw bad('guest', `one of ${Object.keys(GUESTS).join(', ')}`, name);
  const definition = guestDefinition(name);
  const where = `${OBJECT_PREFIX}${name}`;
  const values = keyValues(parts, { where, known: [...COMMON_KEYS, ...Object.keys(definition.settings)] });

  const id = values.get('id') ?? defaultId;
  if (id === undefined || id === '') throw bad(`${where}.id`, 'a name', 'nothing');
  const settings: Record<string, number> = {};
  for (const [key, setting] of Object.entries(definition.settings)) {
    const value = values.get(key);
    settings[key] = value === undefined ? setting.preset : parseSetting(value, { option: `${where}.${key}`, setting });
  }
  const rate = values.get('rate');
  return {
    id,
    name,
    rateBytes: rate === undefined ? 0 : parseRate(rate, `${where}.rate`),
    startByte: parsePages(values.get('start'), `${where}.start`),
    sizeBytes: parsePages(values.get('size'), `${where}.size`),
    seed: parseSeed(values.get('seed'), `${where}.seed`),
    settings,
  };
}

function keyValues(parts: readonly string[], rules: { where: string; known: readonly string[] }): Map<string, string> {
  const values = new Map<string, string>();
  for (const part of parts) {
    const equals = part.indexOf('=');
    if (equals <= 0) throw bad(rules.where, 'key=value pairs separated by commas', part);
    const key = part.slice(0, equals);
    if (!rules.known.includes(key))
      throw bad(`${rules.where}.${key}`, `one of the keys ${rules.known.join(', ')}`, key);
    if (values.has(key)) throw bad(`${rules.where}.${key}`, 'the key once', 'it twice');
    values.set(key, part.slice(equals + 1));
  }
  return values;
}

function parsePages(text: string | undefined, option: string): number {
  if (text === undefined) return 0;
  const bytes = parseSize(text, option);
  if (bytes % PAGE_SIZE !== 0) throw bad(option, `a multiple of ${PAGE_SIZE} bytes`, text);
  return bytes;
}

function parseSeed(text: string | undefined, option: string): number {
  if (text === undefined) return 0;
  return parseCount(text, { option, minimum: 0, maximum: MAX_SEED });
}

function parseCount(text: string, rules: { option: string; minimum: number; maximum: number }): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < rules.minimum || value > rules.maximum) {
    throw bad(rules.option, `a whole number from ${rules.minimum} to ${rules.maximum}`, text);
  }
  return value;
}

function parseSetting(text: string, rules: { option: string; setting: GuestSetting }): number {
  const { option, setting } = rules;
  const { kind, minimum, maximum, multiple } = setting;
  if (kind === 'count') return parseCount(text, { option, minimum, maximum });
  const value = kind === 'size' ? parseSize(text, option) : parseTimeMs(text, option);
  if (value < minimum || value > maximum) {
    const bounds = maximum === Number.MAX_SAFE_INTEGER ? `at least ${minimum}` : `${minimum} to ${maximum}`;
    throw bad(option, `${bounds} ${kind === 'size' ? 'bytes' : 'ms'}`, text);
  }
  if (multiple !== undefined && value % multiple !== 0) throw bad(option, `a multiple of ${multiple} bytes`, text);
  return value;
}

function bad(option: string, expected: string, actual: string): HarnessError {
  return new HarnessError('option/bad-value', { option, expected, actual: `'${actual}'` });
}
