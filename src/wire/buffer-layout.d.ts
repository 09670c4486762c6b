/** The part of buffer-layout 1.2 that wire/struct.ts uses; the package has no types of its own. */
declare module 'buffer-layout' {
  export abstract class Layout {
    constructor(span: number, property?: string);
    readonly span: number;
    abstract decode(bytes: Uint8Array, offset?: number): unknown;
    abstract encode(value: unknown, bytes: Uint8Array, offset?: number): number;
  }
  export function s8(property?: string): Layout;
  export function s16be(property?: string): Layout;
  export function s32be(property?: string): Layout;
  export function f64be(property?: string): Layout;
  export function blob(length: number, property?: string): Layout;
  export function struct(fields: readonly Layout[], property?: string): Layout;
}
