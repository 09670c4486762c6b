/** JSON over several lines as JSON.stringify indents it, for values whose 64-bit integers are bigints. */

import { type JsonPrintable, stringify, stringifyLines } from '../base/json.ts';

const LAYOUT = {
  indent: '  ',
  breaksEmpty: false,
  print: (value: JsonPrintable) => (typeof value === 'bigint' ? stringify(value) : JSON.stringify(value)),
};

/** The text of a value. */
export function prettyJson(value: unknown): string {
  return stringifyLines(value as JsonPrintable, LAYOUT); // a client's result is JSON
}
