/**
 * Two lists of fields side by side: which are the same, which have moved, which are on one side only. Fields are known by
 * their names, those of one name by their order; where a name is new on one side, what stood there before is its partner.
 * Unused space has no name of its own: it stands for as many bytes of whatever there was.
 */

import type { DumpedField } from '../hw/vmstate/schema.ts';

/** A field with the name that tells it from others of its state. */
export interface NamedField {
  readonly key: string;
  readonly field: DumpedField;
  readonly index: number;
}

/** One step through both lists. */
export type Aligned =
  | { readonly kind: 'same' | 'moved' | 'renamed'; readonly a: NamedField; readonly b: NamedField }
  | { readonly kind: 'only-a'; readonly a: NamedField }
  | { readonly kind: 'only-b'; readonly b: NamedField }
  /** As many bytes, unused on one side. */
  | { readonly kind: 'unused'; readonly a: readonly NamedField[]; readonly b: readonly NamedField[] };

const UNUSED = 'unused';

/** Pairs the fields of A and B. */
export function alignFields(a: readonly DumpedField[], b: readonly DumpedField[]): Aligned[] {
  const left = named(a);
  const right = named(b);
  const places = new Map(right.filter(isNamed).map((entry) => [entry.key, entry.index]));
  const common = left.flatMap((entry) => {
    const place = isNamed(entry) ? places.get(entry.key) : undefined;
    return place === undefined ? [] : [{ a: entry.index, b: place }];
  });
  const inOrder = increasing(common);
  const kept = new Set(inOrder.map((pair) => pair.a));
  const moved = common.filter((pair) => !kept.has(pair.a));
  const movedA = new Set(moved.map((pair) => pair.a));
  const movedB = new Set(moved.map((pair) => pair.b));

  const steps: Aligned[] = [];
  let [nextA, nextB] = [0, 0];
  for (const anchor of [...inOrder, { a: left.length, b: right.length }]) {
    const between = (all: readonly NamedField[], range: [number, number], gone: ReadonlySet<number>) =>
      all.slice(...range).filter(({ index }) => !gone.has(index));
    steps.push(...pairGap(between(left, [nextA, anchor.a], movedA), between(right, [nextB, anchor.b], movedB)));
    const [fieldA, fieldB] = [left[anchor.a], right[anchor.b]];
    if (fieldA !== undefined && fieldB !== undefined) steps.push({ kind: 'same', a: fieldA, b: fieldB });
    [nextA, nextB] = [anchor.a + 1, anchor.b + 1];
  }
  for (const pair of moved) steps.push({ kind: 'moved', a: left[pair.a]!, b: right[pair.b]! });
  return steps;
}

/** Bytes of a field on the stream, when a dump tells: not of structs, and not of what varies. */
export function plainBytes({ size, num = 1, Description }: DumpedField): number | undefined {
  return Description === undefined && size > 0 ? size * num : undefined;
}

function isNamed({ field }: NamedField): boolean {
  return field.field !== UNUSED;
}

function named(fields: readonly DumpedField[]): NamedField[] {
  const seen = new Map<string, number>();
  return fields.map((field, index) => {
    const order = (seen.get(field.field) ?? 0) + 1;
    seen.set(field.field, order);
    return { key: order === 1 ? field.field : `${field.field}#${order}`, field, index };
  });
}

/** What lies between two fields that are the same. */
function pairGap(a: readonly NamedField[], b: readonly NamedField[]): Aligned[] {
  const steps: Aligned[] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    const [left, right] = [a[i]!, b[j]!];
    const run = isNamed(left) && isNamed(right) ? undefined : unusedRun(a.slice(i), b.slice(j));
    if (run !== undefined) {
      const isSame = run.a.length === 1 && run.b.length === 1 && left.field.field === right.field.field;
      steps.push(isSame ? { kind: 'same', a: left, b: right } : { kind: 'unused', ...run });
      i += run.a.length;
      j += run.b.length;
    } else if (isAlike(left.field, right.field)) {
      steps.push({ kind: 'renamed', a: left, b: right });
      i += 1;
      j += 1;
    } else if (!isNamed(left) || (isNamed(right) && a.length - i >= b.length - j)) {
      steps.push({ kind: 'only-a', a: left });
      i += 1;
    } else {
      steps.push({ kind: 'only-b', b: right });
      j += 1;
    }
  }
  for (; i < a.length; i += 1) steps.push({ kind: 'only-a', a: a[i]! });
  for (; j < b.length; j += 1) steps.push({ kind: 'only-b', b: b[j]! });
  return steps;
}

/** Unused space at the front of one list and as many bytes at the front of the other. */
function unusedRun(
  a: readonly NamedField[],
  b: readonly NamedField[],
): { a: readonly NamedField[]; b: readonly NamedField[] } | undefined {
  const [first, second] = [a[0], b[0]];
  if (first === undefined || second === undefined) return undefined;
  if (!isNamed(first) && !isNamed(second) && first.field.size === second.field.size) return { a: [first], b: [second] };
  const wanted = Math.max(...[first, second].filter((one) => !isNamed(one)).map(({ field }) => plainBytes(field) ?? 0));
  const left = prefixOf(a, wanted);
  const right = prefixOf(b, wanted);
  return left === undefined || right === undefined ? undefined : { a: left, b: right };
}

/** The first fields, if they are exactly so many bytes. */
function prefixOf(fields: readonly NamedField[], bytes: number): readonly NamedField[] | undefined {
  let sum = 0;
  for (const [index, { field }] of fields.entries()) {
    const own = plainBytes(field);
    if (own === undefined || field.field_exists) return undefined;
    sum += own;
    if (sum === bytes) return fields.slice(0, index + 1);
    if (sum > bytes) return undefined;
  }
  return undefined;
}

/** Whether one may be the other under a new name. */
function isAlike(a: DumpedField, b: DumpedField): boolean {
  if (a.field === UNUSED || b.field === UNUSED) return false;
  if (a.Description === undefined || b.Description === undefined) {
    return a.Description === b.Description && a.size === b.size && a.num === b.num;
  }
  return JSON.stringify([a.num, a.Description]) === JSON.stringify([b.num, b.Description]);
}

/** The longest part of the pairs, which ascend in `a`, that also ascends in `b` (patience sorting). */
function increasing(pairs: readonly { a: number; b: number }[]): { a: number; b: number }[] {
  const piles: { pair: { a: number; b: number }; before: number }[][] = [];
  for (const pair of pairs) {
    let [low, high] = [0, piles.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (piles[middle]!.at(-1)!.pair.b < pair.b) low = middle + 1;
      else high = middle;
    }
    const entry = { pair, before: (piles[low - 1]?.length ?? 0) - 1 };
    if (low === piles.length) piles.push([entry]);
    else piles[low]!.push(entry);
  }
  const chain: { a: number; b: number }[] = [];
  let at = (piles.at(-1)?.length ?? 0) - 1;
  for (const pile of piles.toReversed()) {
    const entry = pile[at]!;
    chain.push(entry.pair);
    at = entry.before;
  }
  return chain.reverse();
}
