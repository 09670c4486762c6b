/**
 * Reads a file that `-dump-vmstate` wrote, QEMU's or ours, of any version: `vmschkmachine`, and devices by the names of their types.
 * What is missing, doubled or of another type is an error that says where; members that are none of the format's are passed over.
 */

import { HarnessError, isHarnessError } from '../base/errors.ts';
import type { DumpedField, DumpedState } from '../hw/vmstate/schema.ts';
import { JsonMembers, type MemberValue, parseJsonMembers } from './json-members.ts';

/** One type of device in a dump. */
export interface DumpedDevice {
  readonly type: string;
  readonly version: number;
  readonly minimumVersion: number;
  readonly state: DumpedState;
}

/** A whole dump. */
export interface VmstateDump {
  /** The machine type it was made with; undefined where the file does not say. */
  readonly machine: string | undefined;
  readonly devices: ReadonlyMap<string, DumpedDevice>;
}

const MACHINE = 'vmschkmachine';

/** Parses the text of `file`. Throws `dump/bad-value` with line and column, or the path of the member that is wrong. */
export function parseVmstateDump(text: string, file: string): VmstateDump {
  const root = new Place(file, '', parsed(text, file)).members();
  const devices = new Map<string, DumpedDevice>();
  let machine: string | undefined;
  for (const [name, place] of root) {
    if (name === MACHINE) machine = place.member('Name').text();
    else devices.set(name, deviceOf(place));
  }
  if (machine === undefined && devices.size === 0) {
    throw bad(file, { at: 'top level', expected: `'${MACHINE}' or a device`, actual: 'neither' });
  }
  return { machine, devices };
}

function parsed(text: string, file: string): MemberValue {
  try {
    return parseJsonMembers(text, 0);
  } catch (error) {
    if (!isHarnessError(error, 'stream/bad-value')) throw error;
    const { at, expected, actual } = error.details;
    const before = text.slice(0, at).split('\n');
    const where = `line ${before.length} column ${(before.at(-1)?.length ?? 0) + 1}`;
    throw bad(file, { at: where, expected, actual: String(actual) }, error);
  }
}

function deviceOf(place: Place): DumpedDevice {
  return {
    type: place.member('Name').text(),
    version: place.member('version_id').integer(),
    minimumVersion: place.member('minimum_version_id').integer(),
    state: stateOf(place.member('Description')),
  };
}

function stateOf(place: Place): DumpedState {
  const fields = place.optional('Fields')?.items().map(fieldOf);
  const subsections = place.optional('Subsections')?.items().map(stateOf);
  return {
    name: place.member('name').text(),
    version_id: place.member('version_id').integer(),
    minimum_version_id: place.member('minimum_version_id').integer(),
    ...(fields === undefined ? {} : { Fields: fields }),
    ...(subsections === undefined ? {} : { Subsections: subsections }),
  };
}

function fieldOf(place: Place): DumpedField {
  const num = place.optional('num')?.integer();
  const description = place.optional('Description');
  return {
    field: place.member('field').text(),
    version_id: place.member('version_id').integer(),
    field_exists: place.member('field_exists').flag(),
    ...(num === undefined ? {} : { num }),
    size: place.member('size').integer(),
    ...(description === undefined ? {} : { Description: stateOf(description) }),
  };
}

/** A value and where it is in the file. */
class Place {
  readonly #file: string;
  readonly #path: string;
  readonly #value: MemberValue | undefined;
  #members: Map<string, Place> | undefined;

  constructor(file: string, path: string, value: MemberValue | undefined) {
    this.#file = file;
    this.#path = path;
    this.#value = value;
  }

  /** An object's members; one name twice is an error. */
  members(): ReadonlyMap<string, Place> {
    if (this.#members !== undefined) return this.#members;
    if (!(this.#value instanceof JsonMembers)) throw this.#not('an object');
    const members = new Map<string, Place>();
    for (const [name, value] of this.#value.entries) {
      const place = new Place(this.#file, this.#path === '' ? name : `${this.#path}.${name}`, value);
      if (members.has(name)) throw place.#not('a member of this name once', 'a second one');
      members.set(name, place);
    }
    this.#members = members;
    return members;
  }

  optional(name: string): Place | undefined {
    return this.members().get(name);
  }

  member(name: string): Place {
    return this.optional(name) ?? new Place(this.#file, `${this.#path}.${name}`, undefined);
  }

  items(): readonly Place[] {
    const value = this.#value;
    if (!Array.isArray(value)) throw this.#not('an array');
    return value.map((item: MemberValue, index) => new Place(this.#file, `${this.#path}[${index}]`, item));
  }

  text(): string {
    if (typeof this.#value !== 'string') throw this.#not('a string');
    return this.#value;
  }

  integer(): number {
    if (!Number.isSafeInteger(this.#value)) throw this.#not('a whole number');
    return this.#value as number; // that is what was asked
  }

  flag(): boolean {
    if (typeof this.#value !== 'boolean') throw this.#not('true or false');
    return this.#value;
  }

  #not(expected: string, actual = kindOf(this.#value)): HarnessError {
    return bad(this.#file, { at: this.#path === '' ? 'top level' : this.#path, expected, actual });
  }
}

function kindOf(value: MemberValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (value instanceof JsonMembers) return 'an object';
  if (Array.isArray(value)) return 'an array';
  return JSON.stringify(value).slice(0, 40);
}

function bad(file: string, what: { at: string; expected: string; actual: string }, cause?: unknown): HarnessError {
  return new HarnessError('dump/bad-value', { file, ...what }, cause === undefined ? {} : { cause });
}
