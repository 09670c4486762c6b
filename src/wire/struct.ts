/**
 * Fixed runs of big-endian fields: one declaration gives encode, decode, size, TypeScript type and the field names that
 * errors and vmdescriptions need. The only file that knows buffer-layout. Not for per-page work.
 */

import * as layout from 'buffer-layout';

/** What buffer-layout makes of a field. Told here, because that package has no types which those of ours could name. */
export interface FieldLayout<T = unknown> {
  /** Bytes. */
  readonly span: number;
  /** `bytes` are a Buffer's. */
  decode(bytes: Uint8Array, offset?: number): T;
  /** The same; returns the bytes written. Does not check the value. */
  encode(value: T, bytes: Uint8Array, offset?: number): number;
}

/** One field: its name, what a vmdescription calls its type (spec/wire.md §9.2), its bytes, and its TypeScript value. */
export interface Field<N extends string, T> {
  readonly name: N;
  readonly type: string;
  readonly size: number;
  readonly layout: FieldLayout;
  /** What an encoder writes when no value is given; undefined where one must be. */
  readonly padding?: T;
}

/** Any field. */
type AnyField = Field<string, unknown>;
type Given<F extends readonly AnyField[]> = Exclude<F[number], { readonly padding: unknown }>;

/** The plain object that a list of fields describes; padding is left out. */
export type StructValue<F extends readonly AnyField[]> = {
  [K in Given<F>['name']]: Extract<F[number], { readonly name: K }> extends Field<string, infer T> ? T : never;
};

/** A run of fields with a fixed size in bytes. */
export interface Struct<F extends readonly AnyField[]> {
  readonly fields: F;
  readonly size: number;
  encode(value: StructValue<F>): Uint8Array;
  /** `bytes` holds at least `size` bytes. */
  decode(bytes: Uint8Array): StructValue<F>;
  /** Name of the field that byte `offset` belongs to, for errors. */
  fieldAt(offset: number): string;
}

/** Where two words become 64 bits: Node's own way is arithmetic on bigints. */
const words = new DataView(new ArrayBuffer(8));

/**
 * Layouts of unsigned integers and of 64 bits. buffer-layout's own look up the method for their size once a value, which
 * takes most of a value's time.
 */
const SCALARS = {
  u8: scalar<number>(1, {
    read: (bytes, at) => bytes.readUInt8(at),
    write: (bytes, value, at) => bytes.writeUInt8(value, at),
  }),
  u16: scalar<number>(2, {
    read: (bytes, at) => bytes.readUInt16BE(at),
    write: (bytes, value, at) => bytes.writeUInt16BE(value, at),
  }),
  u32: scalar<number>(4, {
    read: (bytes, at) => bytes.readUInt32BE(at),
    write: (bytes, value, at) => bytes.writeUInt32BE(value, at),
  }),
  u64: scalar<bigint>(8, {
    read(bytes, at) {
      gather(bytes, at);
      return words.getBigUint64(0);
    },
    write: scatter,
  }),
  i64: scalar<bigint>(8, {
    read(bytes, at) {
      gather(bytes, at);
      return words.getBigInt64(0);
    },
    write: scatter,
  }),
} as const;

/** Makes the layouts of one kind of value, by name; every layout's bytes are a Buffer's. */
function scalar<T>(
  span: number,
  { read, write }: { read(bytes: Buffer, at: number): T; write(bytes: Buffer, value: T, at: number): unknown },
): (name: string) => FieldLayout<T> {
  class Scalar extends layout.Layout {
    decode(bytes: Uint8Array, offset = 0): T {
      return read(bytes as Buffer, offset);
    }

    encode(value: unknown, bytes: Uint8Array, offset = 0): number {
      write(bytes as Buffer, value as T, offset); // the struct's type admits only a T here
      return span;
    }
  }
  return (name) => new Scalar(span, name);
}

function gather(bytes: Buffer, at: number): void {
  words.setUint32(0, bytes.readUInt32BE(at));
  words.setUint32(4, bytes.readUInt32BE(at + 4));
}

function scatter(bytes: Buffer, value: bigint, at: number): void {
  words.setBigUint64(0, value); // its low 64 bits, also of a negative one
  bytes.writeUInt32BE(words.getUint32(0), at);
  bytes.writeUInt32BE(words.getUint32(4), at + 4);
}

/** Layouts of single values, for states whose fields are not known before a device is (hw/vmstate). */
export const LAYOUTS = {
  u8: SCALARS.u8(''),
  u16: SCALARS.u16(''),
  u32: SCALARS.u32(''),
  u64: SCALARS.u64(''),
  i8: layout.s8() as FieldLayout<number>,
  i16: layout.s16be() as FieldLayout<number>,
  i32: layout.s32be() as FieldLayout<number>,
  i64: SCALARS.i64(''),
  double: layout.f64be() as FieldLayout<number>,
} as const;

/** One byte. */
export function u8<const N extends string>(name: N): Field<N, number> {
  return { name, type: 'uint8', size: 1, layout: SCALARS.u8(name) };
}

/** Two bytes. */
export function u16<const N extends string>(name: N): Field<N, number> {
  return { name, type: 'uint16', size: 2, layout: SCALARS.u16(name) };
}

/** Four bytes. */
export function u32<const N extends string>(name: N): Field<N, number> {
  return { name, type: 'uint32', size: 4, layout: SCALARS.u32(name) };
}

/** Eight bytes, as bigint. */
export function u64<const N extends string>(name: N): Field<N, bigint> {
  return { name, type: 'uint64', size: 8, layout: SCALARS.u64(name) };
}

/** Eight bytes, signed, as bigint. */
export function i64<const N extends string>(name: N): Field<N, bigint> {
  return { name, type: 'int64', size: 8, layout: SCALARS.i64(name) };
}

/** Raw bytes of a fixed length. */
export function buffer<const N extends string>(name: N, length: number): Field<N, Uint8Array> {
  return { name, type: 'buffer', size: length, layout: layout.blob(length, name) };
}

/** Zero bytes on the way out, skipped on the way in; `type` is what the vmdescription calls them. */
export function padding<const N extends string>(
  name: N,
  length: number,
  type: 'unused_buffer' | 'buffer',
): Field<N, Uint8Array> & { readonly padding: Uint8Array } {
  return { name, type, size: length, layout: layout.blob(length, name), padding: new Uint8Array(length) };
}

/** Declares a struct; the fields follow each other without gaps. */
export function struct<const F extends readonly AnyField[]>(fields: F): Struct<F> {
  const whole = layout.struct(fields.map((field) => field.layout));
  const paddings = Object.fromEntries(
    fields
      .filter((field) => field.padding !== undefined)
      .map((field) => [field.name, Buffer.from(field.padding as Uint8Array)]),
  );
  return {
    fields,
    size: whole.span,
    encode: (value) => {
      const bytes = Buffer.alloc(whole.span);
      const blobs = Object.entries(value).map(([name, member]) => [
        name,
        member instanceof Uint8Array ? Buffer.from(member) : member,
      ]);
      whole.encode({ ...paddings, ...Object.fromEntries(blobs) }, bytes);
      return bytes;
    },
    decode: (bytes) => {
      const decoded = whole.decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)) as Record<
        string,
        unknown
      >;
      // The layouts were made from the same fields as the type.
      return Object.fromEntries(Object.entries(decoded).filter(([name]) => !(name in paddings))) as StructValue<F>;
    },
    fieldAt: (offset) => {
      let end = 0;
      const found = fields.find((field) => (end += field.size) > offset);
      return found?.name ?? 'end';
    },
  };
}
