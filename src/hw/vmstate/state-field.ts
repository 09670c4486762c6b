/**
 * What a field of a state is to the rest of `src/hw/vmstate`: a value that can measure, write, read, find and describe one
 * part of a state. Kinds of fields are made in the files beside this one and given to authors as `field`.
 */

import type { DumpedValue, ExtentStep } from './schema.ts';
import type { Allowance, StateReader, StateWriter } from './state-bytes.ts';
import { trouble } from './trouble.ts';

/** The state that a field belongs to; while it is loaded, what has been loaded so far, and zeros. */
export type Siblings = Readonly<Record<string, unknown>>;

/** A look-out for the end of a state on a stream: where it is, and what the peer may still announce. */
export interface ExtentCursor {
  /** Stream offset of the next byte. */
  offset: number;
  readonly allowance: Allowance;
}

/** The search for the end of one field; returns its value as far as later fields need it. */
export type Extent = Generator<ExtentStep, unknown, Uint8Array>;

/** One field of a state with values of type T; T is undefined for a field that the state does not show. */
export interface StateField<T> {
  /** Its name on the stream's description, where that is not its key in the state. */
  readonly wireName?: string;
  /** Not in states of older versions. */
  readonly since?: number;
  /** Not in states of which this is false; versions do not matter then. */
  readonly when?: (state: Siblings, version: number) => boolean;
  /** The field that says how many or how long; it comes earlier. */
  readonly countedBy?: string;
  /** Whether the state has no value of it. */
  readonly hidden?: true;
  /** Looks at the values of other fields. */
  readonly looksAround?: true;
  /** A file descriptor, or has one in every value: nothing can carry it. */
  readonly isDescriptor?: true;
  /** A whole number of at most 32 bits, which may count another field. */
  readonly counts?: true;
  /** Whether a description of one element speaks for all (spec/wire.md §9.9). */
  readonly uniform: boolean;
  /** Bytes of every value; undefined when it depends on the value or on other fields. */
  readonly size: number | undefined;
  /** The value of a state that does not have the field. */
  zero(): T;
  /** Bytes of this value. Throws `vmstate/unsavable` if it is none that can be written. */
  measure(value: T, siblings: Siblings): number;
  /** Writes as many bytes as `measure` said. */
  write(to: StateWriter, value: T, siblings: Siblings): void;
  read(from: StateReader, siblings: Siblings): T;
  /** Finds the end on a stream; only where `size` is undefined. Its value is needed if it `isWanted`. */
  extent(cursor: ExtentCursor, siblings: Siblings, isWanted: boolean): Extent;
  /** Its entries in a description: none, one, or one per element. */
  describe(name: string, value: T, siblings: Siblings): object[];
  /** What `-dump-vmstate` tells of it besides name and version; undefined of a field that is no bytes. */
  dump(): DumpedValue | undefined;
}

/** A field that is one value and can be an element of an array. */
export interface StateValue<T> extends StateField<T> {
  /** The members of its entry after name and index. */
  describeOne(value: T): object;
}

/** A field that looks at the state it belongs to, of which it expects to be an S; `vmstate()` checks that. */
export interface LooksAt<S> {
  /** For the type alone. */
  readonly looksAt?: (state: S) => void;
}

/** The type of a field's value. */
export type ValueOf<F> = F extends StateField<infer T> ? T : never;

/** The rest of a field whose size is always the same and whose description is `type` and that size. */
export function fixedField(
  type: string,
  size: number,
): Pick<StateValue<unknown>, 'uniform' | 'describe' | 'describeOne' | 'measure' | 'extent' | 'dump'> & {
  readonly size: number;
} {
  const described = { type, size };
  return {
    uniform: true,
    size,
    measure: () => size,
    extent: () => take({ count: size }),
    describeOne: () => described,
    describe: (name) => [{ name, ...described }],
    dump: () => ({ size }),
  };
}

/** Bytes of a known number, asked for at once. */
export function* take(options: {
  count: number;
  cursor?: ExtentCursor;
}): Generator<ExtentStep, Uint8Array, Uint8Array> {
  const { count, cursor } = options;
  if (count === 0) return new Uint8Array(0);
  const bytes = yield { take: count };
  if (cursor !== undefined) cursor.offset += count;
  return bytes;
}

/** Bytes lent for a moment, to keep. */
export function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  // `slice` would be a view if these are a Buffer.
  return new Uint8Array(bytes);
}

/** A value that a device wants saved and that cannot be. */
export function unsavable(expected: string, actual: unknown): Error {
  return trouble('vmstate/unsavable', { expected, actual: shown(actual) });
}

/** A value in an error's sentence. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.slice(0, 40)}'`;
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? `${value.length} elements` : 'an object';
  return String(value);
}
