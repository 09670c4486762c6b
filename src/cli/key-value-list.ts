/**
 * `key=value,key=value` as QEMU's command line writes it: a first part without `=` takes the implied key, any other
 * bare word means `on`, `,,` is a comma inside a value. The last of several equal keys counts.
 */

import { HarnessError } from '../base/errors.ts';
import { splitParts } from '../base/option-text.ts';

/** Keys and values of one option argument, in the order written. */
export type KeyValues = ReadonlyMap<string, string>;

/**
 * Splits one option argument. `option` names it in errors; `impliedKey` is the key of a leading bare value.
 * Throws `option/bad-value` for an empty part.
 */
export function parseKeyValues(text: string, rules: { option: string; impliedKey?: string }): KeyValues {
  const values = new Map<string, string>();
  for (const [index, part] of splitParts(text).entries()) {
    const equals = part.indexOf('=');
    if (part === '' || equals === 0) {
      throw new HarnessError('option/bad-value', {
        option: rules.option,
        expected: 'key=value pairs separated by commas',
        actual: `'${text}'`,
      });
    }
    if (equals > 0) values.set(part.slice(0, equals), part.slice(equals + 1));
    else if (index === 0 && rules.impliedKey !== undefined) values.set(rules.impliedKey, part);
    else values.set(part, 'on');
  }
  return values;
}

/** Throws `option/bad-value` when a key is not among `known`. */
export function refuseUnknownKeys(values: KeyValues, rules: { option: string; known: readonly string[] }): void {
  for (const key of values.keys()) {
    if (rules.known.includes(key)) continue;
    throw new HarnessError('option/bad-value', {
      option: rules.option,
      expected: `one of ${rules.known.join(', ')}`,
      actual: `'${key}'`,
    });
  }
}

/** `on`, `yes`, `true`, `y` and their opposites, as QEMU reads booleans. */
export function parseOnOff(text: string, option: string): boolean {
  if (['on', 'yes', 'true', 'y'].includes(text)) return true;
  if (['off', 'no', 'false', 'n'].includes(text)) return false;
  throw new HarnessError('option/bad-value', { option, expected: 'on or off', actual: `'${text}'` });
}
