/** JSON over several lines as JSON.stringify indents it, for values whose 64-bit integers are bigints. */

import { stringify } from '../base/json.ts';

/** The text of a value. */
export function prettyJson(value: unknown, indent = ''): string {
  const inner = `${indent}  `;
  const block = (open: string, lines: readonly string[], close: string) =>
    lines.length === 0 ? `${open}${close}` : `${open}\n${inner}${lines.join(`,\n${inner}`)}\n${indent}${close}`;
  if (Array.isArray(value))
    return block(
      '[',
      value.map((item) => prettyJson(item, inner)),
      ']',
    );
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${prettyJson(item, inner)}`);
    return block('{', members, '}');
  }
  return typeof value === 'bigint' ? stringify(value) : JSON.stringify(value);
}
