/**
 * Subsections (spec/wire.md §9.4): `05 | str8 full name | u32 version | payload` after the fields. On the way in any order is
 * fine and none is missed; one that starts with another name belongs to an enclosing state.
 */

import { LAYOUTS } from '../../wire/struct.ts';
import type { ExtentStep } from './schema.ts';
import type { StateReader, StateWriter } from './state-bytes.ts';
import type { StateCodec } from './state-codec.ts';
import type { Extent, ExtentCursor, Siblings } from './state-field.ts';
import { trouble, within } from './trouble.ts';

/** One optional part of a state; it is there when the state has a value of it and that value is `needed`. */
export interface Subsection {
  readonly key: string;
  readonly codec: StateCodec;
  needed(state: unknown): boolean;
}

/** The byte before a subsection's name. */
const SUBSECTION = 0x05;
const VERSION_BYTES = 4;

const ascii = new TextDecoder('latin1');
const utf8 = new TextEncoder();

/** Bytes of the subsections that a state needs. */
export function measureSubsections(codec: StateCodec, state: Siblings): number {
  return neededBy(codec, state).reduce((sum, { codec: inner, value, segment }) => {
    try {
      return sum + 2 + inner.name.length + VERSION_BYTES + inner.measure(value);
    } catch (error) {
      throw within(error, segment, undefined);
    }
  }, 0);
}

/** Writes them in the order of the schema. */
export function writeSubsections(to: StateWriter, codec: StateCodec, state: Siblings): void {
  for (const { codec: inner, value, segment } of neededBy(codec, state)) {
    const name = utf8.encode(inner.name);
    to.put(LAYOUTS.u8, SUBSECTION);
    to.put(LAYOUTS.u8, name.length);
    to.bytes.set(name, to.take(name.length));
    to.put(LAYOUTS.u32, inner.version);
    try {
      inner.write(to, value);
    } catch (error) {
      throw within(error, segment, undefined);
    }
  }
}

/** Reads the subsections that begin here into `state`. */
export function readSubsections(from: StateReader, codec: StateCodec, state: Record<string, unknown>): void {
  for (const { key } of codec.subsections) state[key] = undefined;
  while (from.has(1) && from.bytes[from.at] === SUBSECTION) {
    const rest = from.bytes.subarray(from.at);
    if (!isOwn(rest, codec)) return;
    const at = from.offset;
    const nameBytes = rest[1] ?? 0;
    const start = from.take(2 + nameBytes + VERSION_BYTES) + 2;
    const name = ascii.decode(from.bytes.subarray(start, start + nameBytes));
    const version = from.valueAt(LAYOUTS.u32, start + nameBytes);
    from.allowance.subsection(at);
    const { key, codec: inner } = chosen(codec, { name, version, at });
    try {
      state[key] = inner.read(from, version);
    } catch (error) {
      throw within(error, segmentOf(codec, inner.name), undefined, from.offset);
    }
  }
}

/** Finds the end of the subsections that begin here. */
export function* subsectionExtent(cursor: ExtentCursor, codec: StateCodec): Extent {
  for (;;) {
    const [mark] = yield { peek: 1 };
    if (mark !== SUBSECTION) return;
    const [, nameBytes = 0] = yield { peek: 2 };
    if (nameBytes <= codec.name.length) return;
    if (!(yield* beginsWith(codec.name))) return;
    const at = cursor.offset;
    const header = yield { take: 2 + nameBytes + VERSION_BYTES };
    cursor.offset += header.length;
    const name = ascii.decode(header.subarray(2, 2 + nameBytes));
    const version = new DataView(header.buffer, header.byteOffset).getUint32(2 + nameBytes);
    cursor.allowance.subsection(at);
    const { codec: inner } = chosen(codec, { name, version, at });
    try {
      yield* inner.extent(cursor, version);
    } catch (error) {
      throw within(error, segmentOf(codec, inner.name), undefined, cursor.offset);
    }
  }
}

/** Looks no further than the names agree: another's bytes may be the last of the stream. */
function* beginsWith(parent: string): Generator<ExtentStep, boolean, Uint8Array> {
  const prefix = `${parent}/`;
  for (let nth = 0; nth < prefix.length; nth++) {
    const bytes = yield { peek: 3 + nth };
    if (bytes[2 + nth] !== prefix.charCodeAt(nth)) return false;
  }
  return true;
}

/** Throws unless this version of a state can be read. */
export function checkVersion(codec: StateCodec, version: number, at: number): void {
  if (version >= codec.minimumVersion && version <= codec.version) return;
  throw trouble('vmstate/version', { at, version, minimum: codec.minimumVersion, maximum: codec.version });
}

/** Whether the bytes, which begin with a subsection's mark, name one of this description's, known or not. */
function isOwn(bytes: Uint8Array, codec: StateCodec): boolean {
  const prefix = `${codec.name}/`;
  const nameBytes = bytes[1] ?? 0;
  return nameBytes >= prefix.length && ascii.decode(bytes.subarray(2, 2 + prefix.length)) === prefix;
}

function chosen(codec: StateCodec, found: { name: string; version: number; at: number }): Subsection {
  const subsection = codec.subsections.find(({ codec: inner }) => inner.name === found.name);
  if (subsection === undefined) {
    const known = codec.subsections.map(({ codec: inner }) => inner.name);
    throw trouble('vmstate/unknown-subsection', { at: found.at, subsection: found.name, known });
  }
  try {
    checkVersion(subsection.codec, found.version, found.at);
  } catch (error) {
    throw within(error, segmentOf(codec, found.name), undefined);
  }
  return subsection;
}

/** A subsection's name as part of a path: `timeout` of `serial/timeout`. */
function segmentOf(codec: StateCodec, name: string): string {
  return name.slice(codec.name.length + 1);
}

function neededBy(codec: StateCodec, state: Siblings): readonly (Subsection & { value: unknown; segment: string })[] {
  return codec.subsections.flatMap((subsection) => {
    const value = state[subsection.key];
    if (value === undefined || !subsection.needed(value)) return [];
    return [{ ...subsection, value, segment: segmentOf(codec, subsection.codec.name) }];
  });
}
