/** Reads JSON with the distinction QMP makes: integer tokens become bigints, tokens with a fraction or exponent numbers. */

import { readFileSync } from 'node:fs';
import type { JsonValue } from '../../src/base/json.ts';

type SourceReviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;

/** The exact value of a JSON text. */
export function exactJson(text: string): JsonValue {
  const reviver: SourceReviver = (_, value, { source }) =>
    typeof value === 'number' && source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value;
  // TypeScript's library does not know the reviver's third argument yet (ES2026).
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown) as JsonValue;
}

/** A recorded oracle, `test/oracles/NAME.json`, with exact integers; `T` describes the file. */
export function readOracle<T>(name: string): T {
  // The files are part of the tree; their form is what the tests below state.
  return exactJson(readFileSync(new URL(`../oracles/${name}.json`, import.meta.url), 'utf8')) as T;
}
