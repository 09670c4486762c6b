/**
 * `vmstate()`: the state of a device as data, in the format of QEMU's VMState (spec/wire.md §9). One value gives the state's
 * TypeScript type, its bytes both ways, its end on a stream and its description.
 */

import type { ExtentStep, StatePlace, StateSchema } from './schema.ts';
import { Allowance, StateReader, StateWriter } from './state-bytes.ts';
import { StateCodec } from './state-codec.ts';
import type { LooksAt, StateField, ValueOf } from './state-field.ts';
import { checkVersion } from './subsections.ts';
import { finished, trouble } from './trouble.ts';

type Fields = Readonly<Record<string, StateField<unknown>>>;
type Subsections = Readonly<Record<string, VmState<unknown>>>;
type Flat<T> = { readonly [K in keyof T]: T[K] };

/** A state's type: its fields without those that carry no value, and its subsections, undefined where there is none. */
type StateWith<F extends Fields, U extends Subsections> = Flat<
  { [K in keyof F as [ValueOf<F[K]>] extends [undefined] ? never : K]: ValueOf<F[K]> } & {
    [K in keyof U]?: StateOf<U[K]> | undefined;
  }
>;

/** Every field that looks at the state must expect one like it. */
type LookingAt<F extends Fields, S> = {
  readonly [K in keyof F]: F[K] extends LooksAt<infer L> ? (S extends L ? unknown : { readonly looksAt: S }) : unknown;
};

/** The type of the states of a schema. */
export type StateOf<V> = V extends StateSchema<infer S> ? S : never;

/** A state description made by `vmstate()`: a schema that can also be part of another one. */
export interface VmState<S> extends StateSchema<S> {
  readonly codec: StateCodec;
  /** As a subsection: whether a state has to be sent. */
  needed(state: S): boolean;
}

/** What `vmstate()` is given. */
export interface VmStateOptions<F extends Fields, U extends Subsections> {
  /** Its name on the stream; a subsection's begins with its parent's and a slash. */
  readonly name: string;
  readonly version: number;
  /** The oldest version that can be loaded; default: the current one alone. */
  readonly minimumVersion?: number;
  /**
   * Bytes of QEMU's struct in memory, for `-dump-vmstate`, which tells it of structs inside a state; default: as many as on
   * the stream.
   */
  readonly memoryBytes?: number;
  /** Higher goes first; default 0. */
  readonly priority?: number;
  /** In the order of the stream. A field's key is its name in the state, and on the stream unless it is `field.named`. */
  readonly fields: F & LookingAt<F, StateWith<F, Record<never, never>>>;
  /** Parts that are only sent where they matter: where the state has a value under that key and its schema says `needed`. */
  readonly subsections?: U;
  /** What is saved instead of the state that the device gave; called more than once. */
  readonly preSave?: (state: StateWith<F, U>) => StateWith<F, U>;
  /** Called with what was loaded and its version: may return what the device is given instead, or throw. */
  readonly postLoad?: (state: StateWith<F, U>, version: number) => StateWith<F, U> | undefined;
  /** Of a subsection: whether this value has to be sent; default: always. */
  readonly needed?: (state: StateWith<F, U>) => boolean;
}

/**
 * Declares a state.
 *
 * @example
 * const STATE = vmstate({
 *   name: 'counter',
 *   version: 1,
 *   fields: { count: field.u32, deadline: field.timer },
 * });
 */
export function vmstate<const F extends Fields, const U extends Subsections = Record<never, never>>(
  options: VmStateOptions<F, U>,
): VmState<StateWith<F, U>> {
  type S = StateWith<F, U>;
  const { name, version, minimumVersion = version, priority = 0, fields, needed = () => true } = options;
  const subsections = options.subsections ?? {};
  const { preSave, postLoad, memoryBytes } = options;
  const codec = new StateCodec({
    name,
    version,
    minimumVersion,
    memoryBytes,
    fields,
    subsections,
    preSave,
    postLoad,
  });
  return {
    name,
    version,
    minimumVersion,
    priority,
    descriptorField: codec.descriptorField,
    codec,
    needed,
    size: codec.size,
    encode: (state, into) => encode(codec, state, into),
    // The codec was made from the fields that make the type.
    decode: (bytes, place) => decode(codec, bytes, place) as S,
    extent: (streamVersion, place) => extent(codec, { ...place, version: streamVersion }),
    describe: (state) => codec.describe(state),
    dump: () => codec.dump(),
  };
}

function encode(codec: StateCodec, state: unknown, into?: Uint8Array): Uint8Array {
  try {
    const writer = new StateWriter(codec.measure(state), into);
    codec.write(writer, state);
    return writer.bytes;
  } catch (error) {
    throw finished(error, { place: codec, name: codec.name, version: codec.version });
  }
}

function decode(codec: StateCodec, bytes: Uint8Array, place: StatePlace): unknown {
  const reader = new StateReader(bytes, place.offset ?? 0);
  try {
    checkVersion(codec, place.version, reader.offset);
    const state = codec.read(reader, place.version);
    const extra = bytes.length - reader.at;
    if (extra > 0) throw trouble('vmstate/leftover', { at: reader.offset, extra });
    return state;
  } catch (error) {
    throw finished(error, { place, name: codec.name, version: codec.version });
  }
}

function* extent(codec: StateCodec, place: StatePlace): Generator<ExtentStep, void, Uint8Array> {
  const cursor = { offset: place.offset ?? 0, allowance: new Allowance() };
  try {
    checkVersion(codec, place.version, cursor.offset);
    yield* codec.extent(cursor, place.version);
  } catch (error) {
    throw finished(error, { place, name: codec.name, version: codec.version });
  }
}
