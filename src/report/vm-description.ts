/**
 * The description at the end of a stream (spec/wire.md §9.9): finding it in a file, and its devices as layouts, which are
 * what gives FULL sections of unknown devices their size. Everything here comes from the file and is checked.
 */

import { HarnessError, isHarnessError } from '../base/errors.ts';
import { LIMITS } from '../wire/limits.ts';
import { ELEMENT } from '../wire/stream.ts';
import { JsonMembers, type MemberValue, parseJsonMembers } from './json-members.ts';

/** The fields and subsections of one description, and the bytes they take together. */
export interface ObjectLayout {
  readonly vmsdName: string;
  readonly version: number;
  readonly fields: readonly FieldLayout[];
  readonly subsections: readonly ObjectLayout[];
  readonly size: number;
}

/** One entry of `fields`. */
export interface FieldLayout {
  readonly name: string;
  readonly type: string;
  /** Of one element. */
  readonly size: number;
  /** 1 when the entry is not an array. */
  readonly count: number;
  /** The place in an array that is described element by element. */
  readonly index: number | undefined;
  /** Inner descriptions: one of a struct, several of a queue. */
  readonly inner: readonly ObjectLayout[];
}

/** One section as the description has it. */
export interface DeviceLayout extends ObjectLayout {
  readonly idstr: string;
  readonly instanceId: number;
}

/** A parsed description and its place in the file, type byte included. */
export interface VmDescription {
  readonly offset: number;
  readonly size: number;
  readonly pageSize: number | undefined;
  readonly devices: readonly DeviceLayout[];
}

/** Type byte and length before the JSON text. */
const HEADER_BYTES = 5;
/** Candidates that are parsed before the search gives up: file content may look like descriptions on purpose. */
const MAX_CANDIDATES = 16;
/** Longer names are refused; QEMU's fields have a few dozen characters. */
const MAX_NAME_CHARACTERS = 255;
const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;
/** Name, length byte, type byte and version of a subsection (spec/wire.md §9.4). */
const SUBSECTION_OVERHEAD = 6;

const latin1 = new TextDecoder('latin1');

/** The last description in a file: type byte behind an EOF byte, a length that fits, JSON that parses. */
export function findVmDescription(bytes: Uint8Array): VmDescription | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const first = Math.max(1, bytes.length - LIMITS.VMDESCRIPTION_BYTES);
  let candidates = 0;
  for (let at = bytes.length - HEADER_BYTES - 2; at >= first && candidates < MAX_CANDIDATES; at -= 1) {
    if (bytes[at] !== ELEMENT.VMDESCRIPTION || bytes[at - 1] !== ELEMENT.EOF) continue;
    const length = view.getUint32(at + 1);
    const end = at + HEADER_BYTES + length;
    if (bytes[at + HEADER_BYTES] !== BRACE_OPEN || end > bytes.length || bytes[end - 1] !== BRACE_CLOSE) continue;
    candidates += 1;
    try {
      return readVmDescription(bytes, at, length);
    } catch (error) {
      // Not a description after all; an earlier place may hold one.
      if (!isHarnessError(error)) throw error;
    }
  }
  return undefined;
}

/** The description at `offset` whose text has `length` bytes; throws `stream/bad-value` when it is none. */
export function readVmDescription(bytes: Uint8Array, offset: number, length: number): VmDescription {
  const textAt = offset + HEADER_BYTES;
  const root = parseJsonMembers(latin1.decode(bytes.subarray(textAt, textAt + length)), textAt);
  const devices = root instanceof JsonMembers ? root.get('devices') : undefined;
  if (!(root instanceof JsonMembers) || !Array.isArray(devices)) throw bad(textAt, 'devices', 'a list', root);
  const pageSize = root.get('page_size');
  return {
    offset,
    size: HEADER_BYTES + length,
    pageSize: typeof pageSize === 'number' ? pageSize : undefined,
    devices: devices.map((device) => deviceLayout(device, textAt)),
  };
}

function deviceLayout(device: MemberValue, at: number): DeviceLayout {
  if (!(device instanceof JsonMembers)) throw bad(at, 'device', 'an object', device);
  return {
    ...objectLayout(device.entries, at),
    idstr: text(device, 'name', at),
    instanceId: count(device, 'instance_id', at),
  };
}

function objectLayout(members: JsonMembers['entries'], at: number): ObjectLayout {
  const object = new JsonMembers(members);
  // Savers written by hand have no description of their own, only fields.
  const vmsdName = object.get('vmsd_name') === undefined ? '' : text(object, 'vmsd_name', at);
  const version = object.get('version') === undefined ? 0 : count(object, 'version', at);
  const fields: FieldLayout[] = [];
  for (const field of list(object, 'fields', at)) fields.push(fieldLayout(field, fields.at(-1), at));
  const subsections = list(object, 'subsections', at).map((inner) => {
    if (!(inner instanceof JsonMembers)) throw bad(at, 'subsection', 'an object', inner);
    return objectLayout(inner.entries, at);
  });
  const fieldBytes = fields.reduce((sum, field) => sum + field.size * field.count, 0);
  const subsectionBytes = subsections.reduce((sum, inner) => sum + subsectionHeaderBytes(inner) + inner.size, 0);
  const size = fieldBytes + subsectionBytes;
  if (!Number.isSafeInteger(size)) throw bad(at, 'size', 'a sum below 2^53', size);
  return { vmsdName, version, fields, subsections, size };
}

/** Bytes of a subsection before its fields. */
export function subsectionHeaderBytes(subsection: ObjectLayout): number {
  return SUBSECTION_OVERHEAD + subsection.vmsdName.length;
}

function fieldLayout(field: MemberValue, previous: FieldLayout | undefined, at: number): FieldLayout {
  if (!(field instanceof JsonMembers)) throw bad(at, 'field', 'an object', field);
  const name = text(field, 'name', at);
  return {
    name,
    type: text(field, 'type', at),
    size: count(field, 'size', at),
    count: field.get('array_len') === undefined ? 1 : count(field, 'array_len', at),
    index: field.get('index') === undefined ? indexAfter(previous, name) : count(field, 'index', at),
    inner: innerLayouts(field, at),
  };
}

/** QEMU 10 leaves out the index of an array's last element; it is the one after the element before. */
function indexAfter(previous: FieldLayout | undefined, name: string): number | undefined {
  return previous?.name === name && previous.index !== undefined ? previous.index + 1 : undefined;
}

/** A struct nests; other aggregates have their members in the field itself, once more for each queue element. */
function innerLayouts(field: JsonMembers, at: number): ObjectLayout[] {
  const struct = field.get('struct');
  if (struct instanceof JsonMembers) return [objectLayout(struct.entries, at)];
  const starts = field.entries.flatMap(([key], place) => (key === 'vmsd_name' ? [place] : []));
  return starts.map((start, nth) => objectLayout(field.entries.slice(start, starts[nth + 1]), at));
}

function list(object: JsonMembers, name: string, at: number): readonly MemberValue[] {
  const value = object.get(name) ?? [];
  if (!Array.isArray(value)) throw bad(at, name, 'a list', value);
  return value;
}

function text(object: JsonMembers, name: string, at: number): string {
  const value = object.get(name);
  if (typeof value !== 'string' || value.length > MAX_NAME_CHARACTERS) {
    throw bad(at, name, `text of at most ${MAX_NAME_CHARACTERS} characters`, value);
  }
  return value;
}

function count(object: JsonMembers, name: string, at: number): number {
  const value = object.get(name);
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw bad(at, name, 'a whole number', value);
  return value;
}

function bad(at: number, field: string, expected: string, actual: unknown): HarnessError {
  const shown = typeof actual === 'object' ? 'something else' : String(actual).slice(0, 40);
  return new HarnessError('stream/bad-value', { at, section: 'vmdescription', field, expected, actual: shown });
}
