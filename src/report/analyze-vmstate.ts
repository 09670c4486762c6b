/** The values of a FULL section by the layout that the stream's description gives (spec/wire.md §9). */

import type { FieldValue } from './analysis.ts';
import type { StreamCursor } from './stream-cursor.ts';
import { type FieldLayout, type ObjectLayout, subsectionHeaderBytes } from './vm-description.ts';

/** Values kept of one file; a real machine has some thousands. */
const MAX_VALUES = 100_000;
/** Bytes of one value that are shown; the rest is counted. */
const MAX_HEX_BYTES = 4096;
/** Longer paths are cut. */
const MAX_PATH_CHARACTERS = 512;
const NOT_ARMED = 0xffff_ffff_ffff_ffffn;
const QUEUES: ReadonlySet<string> = new Set(['qtailq', 'qlist']);
/** An element follows. */
const QUEUE_MORE = 0x01;

/** Decodes section after section of one file. */
export class VmStateDecoder {
  readonly #cursor: StreamCursor;
  #values: FieldValue[] = [];
  #kept = 0;

  constructor(cursor: StreamCursor) {
    this.#cursor = cursor;
  }

  /** Takes exactly `layout.size` bytes; throws when they are not there or a subsection is not where the layout has it. */
  decode(layout: ObjectLayout): FieldValue[] {
    this.#values = [];
    this.#object(layout, '');
    return this.#values;
  }

  #object(layout: ObjectLayout, prefix: string): void {
    for (const field of layout.fields) this.#field(field, prefix);
    for (const subsection of layout.subsections) {
      this.#subsectionHeader(subsection);
      this.#object(subsection, `${prefix}${subsection.vmsdName}.`);
    }
  }

  #subsectionHeader(subsection: ObjectLayout): void {
    const { vmsdName: name, version } = subsection;
    const cursor = this.#cursor;
    const at = cursor.at;
    const found = { type: cursor.u8('subsection type'), name: cursor.shortText('subsection name') };
    if (found.type === 5 && found.name === name && cursor.u32('subsection version') === version) return;
    cursor.at = at;
    throw cursor.badValue({
      at,
      field: 'subsection',
      expected: `'${name}' version ${version}, as the description says`,
      actual: `bytes ${hex(cursor.bytes.subarray(at, at + subsectionHeaderBytes(subsection)))}`,
    });
  }

  #field(field: FieldLayout, prefix: string): void {
    const name = `${prefix}${field.name}`;
    const end = this.#cursor.at + field.size * field.count;
    // Elements without bytes have no values, whatever their number is said to be.
    for (let nth = 0; nth < field.count && field.size > 0; nth += 1) {
      const index = field.index ?? (field.count > 1 ? nth : undefined);
      this.#element(field, shorten(index === undefined ? name : `${name}[${index}]`));
    }
    this.#cursor.take(end - this.#cursor.at, field.name);
  }

  #element(field: FieldLayout, path: string): void {
    const [first] = field.inner;
    if (QUEUES.has(field.type) && isQueue(field)) this.#queue(field.inner, path);
    else if (first !== undefined && field.inner.length === 1 && first.size === field.size)
      this.#object(first, `${path}.`);
    else this.#scalar(field, path);
  }

  /** Mark, element, mark, element, end mark. */
  #queue(elements: readonly ObjectLayout[], path: string): void {
    for (const [nth, element] of elements.entries()) {
      this.#mark(QUEUE_MORE, path);
      this.#object(element, `${path}[${nth}].`);
    }
    this.#mark(0, path);
  }

  #mark(expected: number, path: string): void {
    const { at } = this.#cursor;
    const mark = this.#cursor.u8(`${path}: queue mark`);
    // Any mark but zero means that an element follows.
    if (Math.min(mark, QUEUE_MORE) === expected) return;
    throw this.#cursor.badValue({ at, field: `${path}: queue mark`, expected: `${expected}`, actual: `${mark}` });
  }

  #scalar(field: FieldLayout, path: string): void {
    const { type, size } = field;
    const offset = this.#cursor.take(size, path);
    if ((this.#kept += 1) > MAX_VALUES) {
      throw this.#cursor.unsupported({ at: offset, field: path, what: `more than ${MAX_VALUES} values in one file` });
    }
    this.#values.push({ path, type, offset, size, value: scalarValue(type, this.#cursor.view, offset, size) });
  }
}

/** Whether the parts of a queue make up the size that the field claims. */
function isQueue(field: FieldLayout): boolean {
  return field.inner.reduce((sum, element) => sum + 1 + element.size, 1) === field.size;
}

function scalarValue(type: string, view: DataView, at: number, size: number): number | boolean | string {
  if (type === 'bool' && size === 1) return view.getUint8(at) !== 0;
  if (type === 'timer' && size === 8) {
    const expires = view.getBigUint64(at);
    return expires === NOT_ARMED ? 'not armed' : exact(expires);
  }
  if (type === 'CPU_Double_U' && size === 8) {
    const value = view.getFloat64(at);
    return Number.isFinite(value) ? value : String(value);
  }
  const integer = /^(u?)int(8|16|32|64)(?: equal| le)?$/.exec(type);
  if (integer === null || Number(integer[2]) !== size * 8) {
    const shown = Math.min(size, MAX_HEX_BYTES);
    const text = hex(new Uint8Array(view.buffer, view.byteOffset + at, shown));
    return shown === size ? text : `${text}… (${size - shown} more bytes)`;
  }
  // QEMU names its unsigned 64-bit comparison without the u.
  return integerValue(view, at, size, integer[1] === '' && type !== 'int64 equal');
}

function integerValue(view: DataView, at: number, size: number, signed: boolean): number | string {
  switch (size) {
    case 1:
      return signed ? view.getInt8(at) : view.getUint8(at);
    case 2:
      return signed ? view.getInt16(at) : view.getUint16(at);
    case 4:
      return signed ? view.getInt32(at) : view.getUint32(at);
    default:
      return exact(signed ? view.getBigInt64(at) : view.getBigUint64(at));
  }
}

/** A number where it is exact, else hex text. */
function exact(value: bigint): number | string {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

function shorten(path: string): string {
  return path.length <= MAX_PATH_CHARACTERS ? path : `${path.slice(0, MAX_PATH_CHARACTERS)}…`;
}

/** Bytes as hex text without separators. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
