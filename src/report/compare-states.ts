/**
 * Two formats of a state, field by field (spec/wire.md §9). The source writes the fields of its own version, the destination
 * reads those of the version it was told: of a section or subsection the source's, of a struct inside its own.
 */

import type { DumpedField, DumpedState } from '../hw/vmstate/schema.ts';
import { type Aligned, alignFields, type NamedField, plainBytes } from './align-fields.ts';
import {
  type BothWays,
  type Breaks,
  bothWays,
  type Difference,
  type DifferenceKind,
  weakerBothWays,
} from './dump-difference.ts';

/** Where a state is: its path, whether its version travels with it, and whether it is sent at all. */
export interface StateContext {
  readonly path: string;
  /** False for a struct inside a state. */
  readonly hasVersionOnStream: boolean;
  readonly sent: BothWays<Breaks>;
}

interface Pair {
  readonly a: DumpedState;
  readonly b: DumpedState;
  readonly context: StateContext;
}

const NEVER = bothWays('no');

/** Everything in which two formats differ, inner ones included. */
export function* compareStates(a: DumpedState, b: DumpedState, context: StateContext): Generator<Difference> {
  const pair = { a, b, context };
  yield* compareNames(pair);
  yield* compareVersions(pair);
  for (const step of alignFields(a.Fields ?? [], b.Fields ?? [])) yield* compareStep(step, pair);
  yield* compareSubsections(pair);
}

function* compareNames({ a, b, context }: Pair): Generator<Difference> {
  if (a.name === b.name) return;
  yield {
    path: `${context.path}.name`,
    kind: 'name',
    a: a.name,
    b: b.name,
    breaks: context.hasVersionOnStream ? context.sent : NEVER,
    why: context.hasVersionOnStream ? 'sections are found by this name' : "a struct's name is not on the stream",
  };
}

function* compareVersions(pair: Pair): Generator<Difference> {
  const { a, b, context } = pair;
  const { path, hasVersionOnStream, sent } = context;
  if (a.version_id !== b.version_id) {
    const breaks = hasVersionOnStream
      ? { forward: versionBreaks(a, b), backward: versionBreaks(b, a) }
      : bothWays(versionMovesFields(pair) ? 'yes' : 'no');
    yield {
      path: `${path}.version_id`,
      kind: 'version',
      a: a.version_id,
      b: b.version_id,
      breaks: weakerBothWays(breaks, sent),
      why: hasVersionOnStream
        ? `A loads ${range(a)}, B loads ${range(b)}`
        : "a struct's version is not on the stream, only its fields are",
    };
  }
  if (a.minimum_version_id !== b.minimum_version_id) {
    const breaks = { forward: isTooOld(a, b), backward: isTooOld(b, a) };
    yield {
      path: `${path}.minimum_version_id`,
      kind: 'minimum-version',
      a: a.minimum_version_id,
      b: b.minimum_version_id,
      breaks: hasVersionOnStream ? weakerBothWays(breaks, sent) : NEVER,
      why: hasVersionOnStream
        ? `A sends ${a.version_id}, B sends ${b.version_id}`
        : 'no version is checked of a struct',
    };
  }
}

function versionBreaks(from: DumpedState, to: DumpedState): Breaks {
  return from.version_id > to.version_id || isTooOld(from, to) === 'yes' ? 'yes' : 'no';
}

function isTooOld(from: DumpedState, to: DumpedState): Breaks {
  return from.version_id < to.minimum_version_id ? 'yes' : 'no';
}

function range({ minimum_version_id, version_id }: DumpedState): string {
  return minimum_version_id === version_id ? `${version_id}` : `${minimum_version_id} to ${version_id}`;
}

/** Whether fields that both declare alike are there on one side only, because the struct's versions differ. */
function versionMovesFields({ a, b }: Pair): boolean {
  const declared = new Set((b.Fields ?? []).filter((one) => !one.field_exists).map(versioned));
  return (a.Fields ?? []).some(
    (field) =>
      !field.field_exists &&
      declared.has(versioned(field)) &&
      field.version_id <= a.version_id !== field.version_id <= b.version_id,
  );
}

function versioned({ field, version_id }: DumpedField): string {
  return `${version_id} ${field}`;
}

/** Whether the source `from` writes a field. */
function writes(from: DumpedState, field: DumpedField): Breaks {
  if (field.field_exists) return 'maybe';
  return field.version_id <= from.version_id ? 'yes' : 'no';
}

/** Whether the destination `to` reads a field. */
function reads(to: DumpedState, field: DumpedField, told: { from: DumpedState; context: StateContext }): Breaks {
  if (field.field_exists) return 'maybe';
  const version = told.context.hasVersionOnStream ? told.from.version_id : to.version_id;
  return field.version_id <= version ? 'yes' : 'no';
}

function* compareStep(step: Aligned, pair: Pair): Generator<Difference> {
  const { a, b, context } = pair;
  const { path, sent } = context;
  switch (step.kind) {
    case 'only-a': {
      const breaks = { forward: writes(a, step.a.field), backward: reads(a, step.a.field, { from: b, context }) };
      yield oneSided(
        'field-missing',
        `${path}/${step.a.key}`,
        { a: shown(step.a), b: null },
        weakerBothWays(breaks, sent),
      );
      return;
    }
    case 'only-b': {
      const breaks = { forward: reads(b, step.b.field, { from: a, context }), backward: writes(b, step.b.field) };
      yield oneSided(
        'field-extra',
        `${path}/${step.b.key}`,
        { a: null, b: shown(step.b) },
        weakerBothWays(breaks, sent),
      );
      return;
    }
    case 'unused': {
      const [first] = step.a;
      const isSent = (fields: readonly NamedField[], state: DumpedState) =>
        fields.every(({ field }) => writes(state, field) === 'yes') ? 'no' : 'maybe';
      const breaks: Breaks = isSent(step.a, a) === 'no' && isSent(step.b, b) === 'no' ? 'no' : 'maybe';
      yield {
        path: `${path}/${first?.key}`,
        kind: 'field-unused',
        a: step.a.map(shown).join(' + '),
        b: step.b.map(shown).join(' + '),
        breaks: weakerBothWays(bothWays(breaks), sent),
        why: 'as many bytes, unused on one side',
      };
      return;
    }
    case 'renamed':
    case 'moved':
    case 'same':
      yield* compareFields(step, pair);
      return;
    default:
      step satisfies never;
  }
}

function oneSided(
  kind: DifferenceKind,
  path: string,
  values: { a: string | null; b: string | null },
  breaks: BothWays<Breaks>,
): Difference {
  const why =
    breaks.forward === 'no' && breaks.backward === 'no'
      ? 'it is in no version that is sent'
      : breaks.forward === 'maybe' || breaks.backward === 'maybe'
        ? 'only one side has it; whether it is sent depends on the state'
        : 'only one side has it: what follows is read from the wrong bytes';
  return { path, kind, ...values, breaks, why };
}

/** A field in words. */
function shown({ field: { field, size, num, Description } }: NamedField): string {
  const what = Description === undefined ? (size === 0 ? 'bytes that vary' : `${size} bytes`) : `'${Description.name}'`;
  return `${field} (${num === undefined ? '' : `${num} x `}${what})`;
}

/** Two fields that are one field on either side. */
function* compareFields(
  step: { readonly kind: 'same' | 'moved' | 'renamed'; readonly a: NamedField; readonly b: NamedField },
  pair: Pair,
): Generator<Difference> {
  const { a, b, context } = pair;
  const path = `${context.path}/${step.a.key}`;
  const [left, right] = [step.a.field, step.b.field];
  const forward = { written: writes(a, left), read: reads(b, right, { from: a, context }) };
  const backward = { written: writes(b, right), read: reads(a, left, { from: b, context }) };
  const sent = weakerBothWays(context.sent, { forward: isThere(forward), backward: isThere(backward) });
  if (step.kind === 'renamed') {
    const why = 'it fits; whether both mean the same, a dump does not say';
    yield {
      path,
      kind: 'field-renamed',
      a: left.field,
      b: right.field,
      breaks: weakerBothWays(bothWays('maybe'), sent),
      why,
    };
  }
  if (step.kind === 'moved') {
    const why = 'another place among the fields: values get into the wrong ones';
    yield { path, kind: 'field-order', a: step.a.index, b: step.b.index, breaks: sent, why };
  }
  if (left.version_id !== right.version_id) {
    const breaks = weakerBothWays(context.sent, { forward: isOnlyOne(forward), backward: isOnlyOne(backward) });
    const why =
      breaks.forward === 'no' && breaks.backward === 'no' ? 'both have it in what is sent' : 'one side has it';
    yield { path: `${path}.version_id`, kind: 'field-version', a: left.version_id, b: right.version_id, breaks, why };
  }
  if (left.field_exists !== right.field_exists) {
    const breaks = weakerBothWays(context.sent, bothWays('maybe'));
    const why = 'on one side the state decides whether it is there';
    yield {
      path: `${path}.field_exists`,
      kind: 'field-exists',
      a: left.field_exists,
      b: right.field_exists,
      breaks,
      why,
    };
  }
  yield* compareExtents(left, right, { path, sent });
  yield* compareInner(left, right, { path, sent });
}

/** Whether either side counts on a field. */
function isThere({ written, read }: { written: Breaks; read: Breaks }): Breaks {
  return written === 'no' ? read : written;
}

function isOnlyOne({ written, read }: { written: Breaks; read: Breaks }): Breaks {
  if (written === read) return 'no';
  return written === 'maybe' || read === 'maybe' ? 'maybe' : 'yes';
}

interface FieldContext {
  readonly path: string;
  readonly sent: BothWays<Breaks>;
}

/** Sizes and numbers of elements. */
function* compareExtents(a: DumpedField, b: DumpedField, { path, sent }: FieldContext): Generator<Difference> {
  const isStruct = a.Description !== undefined && b.Description !== undefined;
  const bytes = plainBytes(a);
  const isAsLong = bytes !== undefined && bytes === plainBytes(b);
  if (a.size !== b.size) {
    const [breaks, why]: [Breaks, string] = isStruct
      ? ['no', 'of a struct this is its size in memory, not on the stream']
      : isAsLong
        ? ['no', 'other elements, but as many bytes']
        : a.size === 0 || b.size === 0
          ? ['maybe', 'on one side the state decides how long it is']
          : ['yes', 'another number of bytes: what follows is read from the wrong ones'];
    yield {
      path: `${path}.size`,
      kind: 'size',
      a: a.size,
      b: b.size,
      breaks: weakerBothWays(bothWays(breaks), sent),
      why,
    };
  }
  if (a.num !== b.num) {
    const isSingle = (a.num ?? 1) === (b.num ?? 1);
    const [breaks, why]: [Breaks, string] = isAsLong
      ? ['no', 'other elements, but as many bytes']
      : a.num === undefined || b.num === undefined
        ? [isSingle ? 'no' : 'maybe', 'on one side there is one, or the state decides how many']
        : ['yes', 'another number of elements: what follows is read from the wrong bytes'];
    const values = { a: a.num ?? null, b: b.num ?? null };
    yield { path: `${path}.num`, kind: 'num', ...values, breaks: weakerBothWays(bothWays(breaks), sent), why };
  }
}

/** What the elements are made of. */
function* compareInner(a: DumpedField, b: DumpedField, { path, sent }: FieldContext): Generator<Difference> {
  const [left, right] = [a.Description, b.Description];
  if (left !== undefined && right !== undefined) {
    yield* compareStates(left, right, { path, hasVersionOnStream: false, sent });
  } else if (left !== undefined || right !== undefined) {
    const why = 'a struct on one side only';
    yield {
      path: `${path}.Description`,
      kind: 'struct',
      a: left?.name ?? null,
      b: right?.name ?? null,
      breaks: sent,
      why,
    };
  }
}

/** Subsections travel by name, in any order, and only when they are needed. */
function* compareSubsections({ a, b, context }: Pair): Generator<Difference> {
  const { path, sent } = context;
  const [left, right] = [named(a.Subsections ?? []), named(b.Subsections ?? [])];
  const inside = (key: string): StateContext => ({ path: `${path}/[${key}]`, hasVersionOnStream: true, sent });
  const extra = new Map([...right].filter(([key]) => !left.has(key)));
  const partners = new Map([...extra].map(([key, state]) => [content(state), key]));
  for (const [key, state] of left) {
    const other = right.get(key);
    if (other !== undefined) {
      yield* compareStates(state, other, inside(key));
      continue;
    }
    const renamed = partners.get(content(state));
    if (renamed !== undefined && extra.delete(renamed)) {
      const breaks = weakerBothWays(sent, bothWays('maybe'));
      const why = 'whoever is sent one does not know it';
      yield { path: inside(key).path, kind: 'subsection-renamed', a: state.name, b: renamed, breaks, why };
      continue;
    }
    const breaks = weakerBothWays(sent, { forward: 'maybe', backward: 'no' });
    const why = 'B does not know it; A sends it when its state needs it';
    yield { path: inside(key).path, kind: 'subsection-missing', a: state.name, b: null, breaks, why };
  }
  for (const [key, state] of extra) {
    const breaks = weakerBothWays(sent, { forward: 'no', backward: 'maybe' });
    const why = 'A does not know it; B sends it when its state needs it';
    yield { path: inside(key).path, kind: 'subsection-extra', a: null, b: state.name, breaks, why };
  }
  const order = (one: ReadonlyMap<string, unknown>, other: ReadonlyMap<string, unknown>) =>
    [...one.keys()].filter((key) => other.has(key)).join(', ');
  if (order(left, right) === order(right, left)) return;
  const why = 'subsections are found by name';
  yield { path, kind: 'subsection-order', a: order(left, right), b: order(right, left), breaks: NEVER, why };
}

function named(states: readonly DumpedState[]): ReadonlyMap<string, DumpedState> {
  const seen = new Map<string, number>();
  return new Map(
    states.map((state) => {
      const order = (seen.get(state.name) ?? 0) + 1;
      seen.set(state.name, order);
      return [order === 1 ? state.name : `${state.name}#${order}`, state];
    }),
  );
}

/** A subsection but for its name. */
function content({ name: _, ...rest }: DumpedState): string {
  return JSON.stringify(rest);
}
