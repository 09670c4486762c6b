/**
 * Properties of a device as they are written on a command line (`state=300MiB,alloc=5ms/MiB,p2p=on`): one constructor per
 * kind, each knows its preset, its unit and how to read a text. Errors are `option/bad-value` and name the property.
 */

import { HarnessError } from '../base/errors.ts';
import { parseRate, parseSize, parseTimeMs } from '../base/units.ts';

/** One property: how its text is read and what it is without one. */
export interface Property<T> {
  readonly preset: T;
  /** One line for `--help`, with the unit. */
  readonly help: string;
  /** How a value looks, for `--help`: `SIZE`, `on|off`. */
  readonly form: string;
  /** Throws `option/bad-value` with `option` as the name of what was read. */
  parse(text: string, option: string): T;
}

/** All properties of a device. Values survive structured cloning. */
export type PropertyTable = Readonly<Record<string, Property<unknown>>>;
/** The object that a table's properties make. */
export type PropertyValues<P extends PropertyTable> = {
  readonly [K in keyof P]: P[K] extends Property<infer T> ? T : never;
};

interface Bounds {
  readonly minimum?: number;
  readonly maximum?: number;
}

/** A byte count: `4096`, `300MiB`. */
export function size(preset: number, help: string, bounds: Bounds = {}): Property<number> {
  return { preset, help, form: 'SIZE', parse: (text, option) => within(parseSize(text, option), { option, bounds }) };
}

/** A rate in bytes per second: `2GiB/s`, `10Gbps`; 0 = as fast as it goes. */
export function rate(preset: number, help: string): Property<number> {
  return { preset, help, form: 'RATE', parse: parseRate };
}

/** A time in milliseconds: `300ms`, `2s`. */
export function time(preset: number, help: string, bounds: Bounds = {}): Property<number> {
  return { preset, help, form: 'TIME', parse: (text, option) => within(parseTimeMs(text, option), { option, bounds }) };
}

/** A cost in milliseconds per MiB: `5ms/MiB`. */
export function timePerMiB(preset: number, help: string): Property<number> {
  return { preset, help, form: 'TIME/MiB', parse: (text, option) => parseTimeMs(text.replace(/\/mib?$/i, ''), option) };
}

/** A whole number. */
export function count(preset: number, help: string, bounds: Bounds = {}): Property<number> {
  return {
    preset,
    help,
    form: 'N',
    parse: (text, option) => {
      if (!/^\d{1,15}$/.test(text)) throw bad(option, 'a whole number', text);
      return within(Number(text), { option, bounds });
    },
  };
}

/** `on` or `off`. */
export function flag(preset: boolean, help: string): Property<boolean> {
  return {
    preset,
    help,
    form: 'on|off',
    parse: (text, option) => {
      if (['on', 'yes', 'true'].includes(text)) return true;
      if (['off', 'no', 'false'].includes(text)) return false;
      throw bad(option, 'on or off', text);
    },
  };
}

/** One of several words. */
export function choice<const N extends string>(names: readonly N[], preset: N, help: string): Property<N> {
  return {
    preset,
    help,
    form: names.join('|'),
    parse: (text, option) => names.find((name) => name === text) ?? refuse(option, names.join(', '), text),
  };
}

/** Any text. */
export function text(preset: string, help: string): Property<string> {
  return { preset, help, form: 'TEXT', parse: (given) => given };
}

/**
 * Reads texts by a table. `device` names the device in errors. Throws `option/bad-value` for a property the table does
 * not have or a value it does not take.
 */
export function parseProperties<P extends PropertyTable>(
  table: P,
  texts: ReadonlyMap<string, string>,
  device: string,
): PropertyValues<P> {
  const values: Record<string, unknown> = {};
  for (const [name, property] of Object.entries(table)) {
    const given = texts.get(name);
    values[name] = given === undefined ? property.preset : property.parse(given, `${device}.${name}`);
  }
  for (const [name, given] of texts) {
    if (!Object.hasOwn(table, name)) {
      throw bad(`${device}.${name}`, `one of the properties ${Object.keys(table).join(', ') || '(none)'}`, given);
    }
  }
  return values as PropertyValues<P>; // the loop above filled in exactly the table's names
}

function within(value: number, rules: { option: string; bounds: Bounds }): number {
  const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = rules.bounds;
  if (value < minimum || value > maximum) throw bad(rules.option, `${minimum} to ${maximum}`, `${value}`);
  return value;
}

function refuse(option: string, expected: string, actual: string): never {
  throw bad(option, expected, actual);
}

function bad(option: string, expected: string, actual: string): HarnessError {
  return new HarnessError('option/bad-value', { option, expected, actual: `'${actual}'` });
}
