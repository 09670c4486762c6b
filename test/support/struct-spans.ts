/** Where the fields of a struct of the wire lie: for tests that cut or change every one of them. */

/** A run of bytes that is one field. */
export interface FieldSpan {
  readonly name: string;
  /** From the first byte of whatever it is a part of. */
  readonly at: number;
  readonly length: number;
}

/** The fields of `struct`, whose first byte is at `base`. */
export function spansOf(struct: { readonly size: number; fieldAt(offset: number): string }, base = 0): FieldSpan[] {
  const spans: { name: string; at: number; length: number }[] = [];
  for (let offset = 0; offset < struct.size; offset++) {
    const name = struct.fieldAt(offset);
    const last = spans.at(-1);
    if (last?.name === name) last.length += 1;
    else spans.push({ name, at: base + offset, length: 1 });
  }
  return spans;
}

/** Lengths that end in each field: at its first byte, inside it, and before its last byte. */
export function cutsIn(spans: readonly FieldSpan[]): { length: number; field: string }[] {
  return spans.flatMap(({ name, at, length }) =>
    [...new Set([0, length >>> 1, length - 1])].map((part) => ({ length: at + part, field: name })),
  );
}
