/** Checks on the bytes of a state: cut, too long, and against its description (spec/wire.md §9.9). */

import { isHarnessError, messageOf } from '../base/errors.ts';
import type { StateSchema } from '../hw/vmstate/schema.ts';

/** Every cut up to here is tried (bytes), then this many more up to the end. */
const EVERY_CUT = 512;
const MORE_CUTS = 64;

/** A state as it may come over the wire. */
export interface ArrivedState {
  readonly bytes: Uint8Array;
  /** Of the schema, when it was saved. */
  readonly version: number;
}

/** Throws unless each beginning of a state is an error with the field's path, or a shorter state in its own right. */
export function checkCutStates(schema: StateSchema<unknown>, { bytes, version }: ArrivedState): void {
  for (const length of cuts(bytes.length)) {
    const cut = bytes.subarray(0, length);
    const error = decodeError(schema, { bytes: cut, version });
    if (error === undefined) {
      // Without its last subsections a state is whole.
      const again = schema.encode(schema.decode(cut, { version }));
      if (Buffer.compare(again, cut) === 0) continue;
    }
    requirePath(schema, error, `its first ${length} of ${bytes.length} bytes`);
  }
}

/** Throws unless a state with something behind it is an error. */
export function checkLongStates(schema: StateSchema<unknown>, { bytes, version }: ArrivedState): void {
  for (const tail of [[0], [0, 0, 0, 0, 0, 0, 0, 0], [0x7e], [0xff, 0xff]]) {
    const long = Uint8Array.from([...bytes, ...tail]);
    requirePath(
      schema,
      decodeError(schema, { bytes: long, version }),
      `its ${bytes.length} bytes with ${tail.length} more`,
    );
  }
}

/** Throws unless the sizes in the description add up to the bytes. */
export function checkDescription(bytes: Uint8Array, described: object): void {
  const total = describedBytes(described);
  if (total !== bytes.length) throw new Error(`its description tells of ${total} bytes, its state has ${bytes.length}`);
}

function cuts(length: number): number[] {
  const all = Array.from({ length: Math.min(length, EVERY_CUT) }, (_, index) => index);
  if (length <= EVERY_CUT) return all;
  const step = (length - 1 - EVERY_CUT) / MORE_CUTS;
  return [...all, ...Array.from({ length: MORE_CUTS }, (_, index) => Math.round(EVERY_CUT + step * (index + 1)))];
}

function decodeError(schema: StateSchema<unknown>, { bytes, version }: ArrivedState): unknown {
  try {
    schema.decode(bytes, { version });
    return undefined;
  } catch (error) {
    return error;
  }
}

function requirePath(schema: StateSchema<unknown>, error: unknown, what: string): void {
  if (error === undefined) throw new Error(`${what} load without an error`);
  if (!isHarnessError(error)) throw new Error(`${what} give an error that is none of ours: ${messageOf(error)}`);
  if (!error.message.includes(schema.name)) {
    throw new Error(`${what} give an error that does not name the field: ${error.message}`);
  }
}

interface Described {
  readonly vmsd_name: string;
  readonly fields: readonly { readonly size: number; readonly array_len?: number }[];
  readonly subsections?: readonly Described[];
}

function describedBytes(described: object): number {
  const { fields, subsections = [] } = described as Described; // spec/wire.md §9.9
  const own = fields.reduce((sum, { size, array_len = 1 }) => sum + size * array_len, 0);
  return subsections.reduce((sum, part) => sum + 6 + part.vmsd_name.length + describedBytes(part), own);
}
