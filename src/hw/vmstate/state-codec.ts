/**
 * The work behind a schema: its fields in order, then its subsections (spec/wire.md §9.1, §9.4, §9.5), for a state as a
 * plain object. Here versions, predicates, hooks and paths are handled; single values are the fields' own.
 */

import { assert } from '../../base/assert.ts';
import { messageOf } from '../../base/errors.ts';
import type { DescribedState, DumpedState, ExtentStep } from './schema.ts';
import { StateReader, type StateWriter } from './state-bytes.ts';
import { copyOf, type Extent, type ExtentCursor, type Siblings, type StateField, shown, take } from './state-field.ts';
import {
  measureSubsections,
  readSubsections,
  type Subsection,
  subsectionExtent,
  writeSubsections,
} from './subsections.ts';
import { trouble, within } from './trouble.ts';

/** What a codec is made from. */
export interface CodecOptions {
  readonly name: string;
  readonly version: number;
  readonly minimumVersion: number;
  readonly memoryBytes?: number | undefined;
  readonly fields: Readonly<Record<string, StateField<unknown>>>;
  readonly subsections: Readonly<Record<string, { readonly codec: StateCodec; needed(state: unknown): boolean }>>;
  readonly preSave?: ((state: never) => unknown) | undefined;
  readonly postLoad?: ((state: never, version: number) => unknown) | undefined;
}

type Steps = Generator<ExtentStep, void, Uint8Array>;

interface Entry {
  readonly key: string;
  readonly field: StateField<unknown>;
  /** Its name in descriptions. */
  readonly name: string;
  /** Whether a later field needs its value to find the end of the state. */
  readonly isWanted: boolean;
}

/** Encodes, decodes, finds and describes states of one schema, wherever they are: a section, a struct, an element. */
export class StateCodec {
  readonly name: string;
  readonly version: number;
  readonly minimumVersion: number;
  readonly subsections: readonly Subsection[];
  /** Bytes of every state; undefined when they differ. */
  readonly size: number | undefined;
  /** Whether a description of one state speaks for all. */
  readonly uniform: boolean;
  /** Bytes of such a struct in QEMU's memory, as its dump tells; 0 where nothing is known. */
  readonly memoryBytes: number;
  /** Whether all fields are in every version. */
  readonly sinceStart: boolean;
  /** The field because of which no state can be sent, if there is one. */
  readonly descriptorField: string | undefined;
  readonly #options: CodecOptions;
  readonly #entries: readonly Entry[];
  readonly #zero: object;
  readonly #preSave: (state: unknown) => Siblings;
  readonly #postLoad: ((state: unknown, version: number) => unknown) | undefined;

  constructor(options: CodecOptions) {
    this.#options = options;
    this.name = options.name;
    this.version = options.version;
    this.minimumVersion = options.minimumVersion;
    this.#entries = entriesOf(options.fields);
    this.subsections = Object.entries(options.subsections).map(([key, inner]) => ({ key, ...inner }));
    checkOptions(options, this.#entries);
    const fields = this.#entries.map(({ field }) => field);
    const isPlain = this.subsections.length === 0 && fields.every(({ when }) => when === undefined);
    this.uniform = isPlain && fields.every(({ uniform }) => uniform);
    this.sinceStart = fields.every(({ since = 0 }) => since === 0);
    this.descriptorField = this.#entries.find(
      ({ field: { isDescriptor, when, since = 0 } }) =>
        isDescriptor === true && when === undefined && since <= this.version,
    )?.key;
    const isFixed = isPlain && fields.every(({ since = 0, size }) => size !== undefined && since <= this.version);
    this.size = isFixed ? fields.reduce((sum, { size }) => sum + (size ?? 0), 0) : undefined;
    this.memoryBytes = options.memoryBytes ?? this.size ?? 0;
    this.#zero = zeroObject(this.#entries);
    // The types of the hooks' states are checked where the schema is declared.
    this.#preSave = (options.preSave ?? ((state: unknown) => state)) as (state: unknown) => Siblings;
    this.#postLoad = options.postLoad as ((state: unknown, version: number) => unknown) | undefined;
  }

  /** The same in an earlier version: as such it is written, described and read. */
  inVersion(version: number): StateCodec {
    assert(
      version >= this.minimumVersion && version <= this.version,
      `${this.name}: ${version} is a version from ${this.minimumVersion} to ${this.version}`,
    );
    return version === this.version ? this : new StateCodec({ ...this.#options, version });
  }

  /** The state of a device that was never touched. */
  zero(): Siblings {
    const state: Record<string, unknown> = { ...this.#zero };
    // Each state has its own arrays and objects.
    for (const { key, field } of this.#entries) if (field.hidden === undefined) state[key] = field.zero();
    return state;
  }

  /** Bytes of a state, after `preSave`. */
  measure(given: unknown): number {
    const state = this.#saved(given);
    if (this.size !== undefined) return this.size;
    return (
      this.#each(state, (field, value) => field.size ?? field.measure(value, state)) + measureSubsections(this, state)
    );
  }

  /** Writes a state as `measure` measured it. */
  write(to: StateWriter, given: unknown): void {
    const state = this.#saved(given);
    this.#each(state, (field, value) => {
      field.write(to, value, state);
      return 0;
    });
    writeSubsections(to, this, state);
  }

  /** Reads the fields of `version` and the subsections that follow. */
  read(from: StateReader, version: number): unknown {
    const state: Record<string, unknown> = { ...this.#zero };
    const entries = this.#entries;
    let nth = 0;
    try {
      for (; nth < entries.length; nth += 1) {
        const { key, field } = entries[nth]!;
        if (isPresent(field, state, version)) {
          const value = field.read(from, state);
          if (field.hidden === undefined) state[key] = value;
        } else if (field.hidden === undefined) state[key] = field.zero();
      }
    } catch (error) {
      throw within(error, entries[nth]?.key ?? '', previousOf(entries, nth), from.offset);
    }
    readSubsections(from, this, state);
    return this.#loaded(state, version, from.offset);
  }

  /** Finds the end of a state on a stream; returns what of it later fields of an outer state may need. */
  *extent(cursor: ExtentCursor, version: number): Extent {
    const state: Record<string, unknown> = { ...this.#zero };
    const entries = this.#entries;
    for (let nth = 0; nth < entries.length; ) {
      const run = this.#runFrom(nth, version);
      if (run.length > 0) yield* readRun(run, cursor, state);
      nth += run.length;
      const entry = entries[nth];
      if (entry === undefined) break;
      try {
        yield* readOne(entry, { cursor, state, version });
      } catch (error) {
        throw within(error, entry.key, previousOf(entries, nth), cursor.offset);
      }
      nth += 1;
    }
    yield* subsectionExtent(cursor, this);
    return state;
  }

  /** The members that a description has of a state. */
  describe(given: unknown): DescribedState {
    const state = this.#saved(given);
    const subsections = this.subsections.flatMap(({ key, codec, needed }) => {
      const inner = state[key];
      return inner === undefined || !needed(inner) ? [] : [codec.describe(inner)];
    });
    return {
      vmsd_name: this.name,
      version: this.version,
      fields: this.#entries.flatMap(({ key, field, name }) =>
        isPresent(field, state, this.version) ? field.describe(name, state[key], state) : [],
      ),
      ...(subsections.length === 0 ? {} : { subsections }),
    };
  }

  /** What `-dump-vmstate` tells: every field and subsection that there can be. */
  dump(): DumpedState {
    const fields = this.#entries.flatMap(({ key, field }) => {
      const value = field.dump();
      if (value === undefined) return [];
      const { wireName = key, since = 0, when } = field;
      return [{ field: wireName, version_id: since, field_exists: when !== undefined, ...value }];
    });
    const subsections = this.subsections.map(({ codec }) => codec.dump());
    return {
      name: this.name,
      version_id: this.version,
      minimum_version_id: this.minimumVersion,
      ...(fields.length === 0 ? {} : { Fields: fields }),
      ...(subsections.length === 0 ? {} : { Subsections: subsections }),
    };
  }

  /** Fields whose sizes are known without looking at a value: one piece of the stream. */
  #runFrom(first: number, version: number): readonly Entry[] {
    const end = this.#entries.findIndex(
      ({ field }, nth) =>
        nth >= first && (field.size === undefined || field.when !== undefined || (field.since ?? 0) > version),
    );
    return this.#entries.slice(first, end < 0 ? undefined : end);
  }

  #saved(given: unknown): Siblings {
    if (typeof given !== 'object' || given === null)
      throw trouble('vmstate/unsavable', { expected: 'an object', actual: shown(given) });
    return this.#preSave(given);
  }

  #loaded(state: Siblings, version: number, at: number): unknown {
    try {
      return this.#postLoad?.(state, version) ?? state;
    } catch (error) {
      throw trouble('vmstate/hook', { at, hook: 'postLoad', why: messageOf(error) }, error);
    }
  }

  /** Sums what `use` returns for every field that is written. */
  #each(state: Siblings, use: (field: StateField<unknown>, value: unknown) => number): number {
    const entries = this.#entries;
    let sum = 0;
    let nth = 0;
    try {
      for (; nth < entries.length; nth += 1) {
        const { key, field } = entries[nth]!;
        if (isPresent(field, state, this.version)) sum += use(field, state[key]);
      }
    } catch (error) {
      throw within(error, entries[nth]?.key ?? '', previousOf(entries, nth));
    }
    return sum;
  }
}

function isPresent({ since = 0, when }: StateField<unknown>, state: Siblings, version: number): boolean {
  return when === undefined ? since <= version : when(state, version);
}

function previousOf(entries: readonly Entry[], nth: number): string | undefined {
  return entries[nth - 1]?.key;
}

function* readRun(run: readonly Entry[], cursor: ExtentCursor, state: Record<string, unknown>): Steps {
  const { offset } = cursor;
  const bytes = yield* take({ count: run.reduce((sum, { field }) => sum + (field.size ?? 0), 0), cursor });
  let at = 0;
  for (const { key, field, isWanted } of run) {
    const end = at + (field.size ?? 0);
    // A copy: the driver may use its memory again.
    if (isWanted)
      state[key] = field.read(new StateReader(copyOf(bytes.subarray(at, end)), offset + at, cursor.allowance), state);
    at = end;
  }
}

function* readOne(
  { key, field, isWanted }: Entry,
  from: { cursor: ExtentCursor; state: Record<string, unknown>; version: number },
): Steps {
  const { cursor, state, version } = from;
  if (!isPresent(field, state, version)) {
    if (field.hidden === undefined) state[key] = field.zero();
    return;
  }
  if (field.size === undefined) {
    const value = yield* field.extent(cursor, state, isWanted);
    if (isWanted) state[key] = value;
    return;
  }
  const { offset } = cursor;
  const bytes = yield* take({ count: field.size, cursor });
  if (isWanted) state[key] = field.read(new StateReader(copyOf(bytes), offset, cursor.allowance), state);
}

/** The fields with what follows from their places. */
function entriesOf(fields: CodecOptions['fields']): readonly Entry[] {
  const all = Object.entries(fields);
  const looks = all.some(([, { when, looksAround }]) => when !== undefined || looksAround === true);
  const counting = new Set(all.map(([, { countedBy }]) => countedBy));
  const names = all.map(([key, { wireName }]) => wireName ?? key);
  return all.map(([key, field], nth) => {
    const name = names[nth]!;
    // QEMU tells fields of one name apart by their order (spec/wire.md §9.9).
    const isUnique = names.indexOf(name) === names.lastIndexOf(name);
    const order = names.slice(0, nth).filter((earlier) => earlier === name).length;
    const isWanted = field.hidden === undefined && (looks || counting.has(key));
    return { key, field, name: isUnique ? name : `${name}[${order}]`, isWanted };
  });
}

/** All values zero, in an object that keeps its shape when values are stored: `JSON.parse` makes such, a loop does not. */
function zeroObject(entries: readonly Entry[]): object {
  const keys = entries
    .filter(({ field }) => field.hidden === undefined)
    .map(({ key }) => `${JSON.stringify(key)}:null`);
  return JSON.parse(`{${keys.join(',')}}`) as object; // one literal per schema
}

function checkOptions({ name, version, minimumVersion, subsections }: CodecOptions, entries: readonly Entry[]): void {
  assert(minimumVersion <= version, `${name}: minimumVersion is not above version`);
  entries.forEach(({ key, field: { countedBy } }, nth) => {
    assert(!/^\d+$/.test(key), `${name}: a field called ${key} would lose its place among the others`);
    const counter = entries.slice(0, nth).find((earlier) => earlier.key === countedBy);
    assert(
      countedBy === undefined || counter?.field.counts === true,
      `${name}/${key}: ${countedBy} must be an integer field before it`,
    );
  });
  for (const [key, { codec }] of Object.entries(subsections)) {
    assert(codec.name.startsWith(`${name}/`), `${name}: its subsection must be called ${name}/…, not ${codec.name}`);
    assert(!entries.some((entry) => entry.key === key), `${name}: ${key} is a field and a subsection`);
  }
}
