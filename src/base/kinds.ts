/**
 * Value kinds: how data from outside (QMP arguments, device properties) becomes a typed value. Errors are `qmp/generic`
 * with QEMU's texts and path notation (spec/control.md §5.1), because clients match on them.
 * Members are checked in the order of the struct; then the first member the struct does not have is refused.
 */

import { HarnessError } from './errors.ts';
import type { JsonValue } from './json.ts';

/** How one value is read: `parse` returns it typed, or throws naming `path`, e.g. `capabilities[0].state`. */
export interface Kind<T> {
  /** QEMU's word for the kind, for messages and documentation. */
  readonly name: string;
  /** What it is made of; absent for a plain value, which `name` describes. */
  readonly shape?: KindShape;
  parse(value: JsonValue, path: string): T;
}

/** The parts of a composite kind, for descriptions such as query-qmp-schema. */
export type KindShape =
  | { readonly type: 'enum'; readonly names: readonly string[] }
  | { readonly type: 'array'; readonly element: Kind<unknown> }
  | { readonly type: 'struct'; readonly members: Members }
  | {
      readonly type: 'union';
      readonly tag: string;
      readonly branches: Readonly<Record<string, Kind<object>>>;
      /** Members that every branch has; they are described only. */
      readonly common?: Members;
    };

/** The type of the values a kind returns. */
export type KindValue<K> = K extends Kind<infer T> ? T : never;

/** A member of a struct and whether it must be there. */
export interface Member<T, R extends boolean> {
  readonly kind: Kind<T>;
  readonly required: R;
}

type Members = Readonly<Record<string, Member<unknown, boolean>>>;
type RequiredKeys<M extends Members> = { [K in keyof M]: M[K]['required'] extends true ? K : never }[keyof M];
type MemberValue<M> = M extends Member<infer T, boolean> ? T : never;

/** The object a struct of these members returns; optional members that were not sent are absent. */
type StructValue<M extends Members> = Flat<
  { readonly [K in RequiredKeys<M>]: MemberValue<M[K]> } & {
    readonly [K in Exclude<keyof M, RequiredKeys<M>>]?: MemberValue<M[K]>;
  }
>;
type Flat<T> = { readonly [K in keyof T]: T[K] };

/** The object a union returns: the tag and the members of the branch it names. */
export type UnionValue<Tag extends string, B extends Readonly<Record<string, Kind<object>>>> = {
  [K in keyof B]: { readonly [T in Tag]: K } & KindValue<B[K]>;
}[keyof B];

/** A struct kind also shows its members, for documentation and command lines. */
export interface StructKind<M extends Members> extends Kind<StructValue<M>> {
  readonly members: M;
}

/** `true` or `false`. */
export const boolean: Kind<boolean> = {
  name: 'boolean',
  parse: (value, path) => (typeof value === 'boolean' ? value : wrongType(path, 'boolean')),
};

/** Any string. */
export const string: Kind<string> = {
  name: 'string',
  parse: (value, path) => (typeof value === 'string' ? value : wrongType(path, 'string')),
};

/** A string, or null, which means the empty string. */
export const stringOrNull: Kind<string> = {
  name: 'StrOrNull',
  parse: (value, path) => (value === null ? '' : typeof value === 'string' ? value : wrongType(path, 'StrOrNull')),
};

/** Any JSON value, unchanged. */
export const any: Kind<JsonValue> = { name: 'any', parse: (value) => value };

/** A number of any kind. */
export const float: Kind<number> = {
  name: 'number',
  parse: (value, path) =>
    typeof value === 'number' || typeof value === 'bigint' ? Number(value) : wrongType(path, 'number'),
};

const INT64_MIN = -(1n << 63n);
const INT64_MAX = (1n << 63n) - 1n;
const UINT64_MAX = (1n << 64n) - 1n;

/** A signed 64-bit integer. */
export const int64: Kind<bigint> = { name: 'int', parse: (value, path) => signed(value, path) };

/** A signed integer small enough for a JavaScript number (53 bits); QEMU's `int` where no larger one makes sense. */
export const number: Kind<number> = {
  name: 'int',
  parse(value, path) {
    const integer = Number(signed(value, path));
    if (!Number.isSafeInteger(integer)) generic(`Parameter '${path}' expects an integer below 2^53`);
    return integer;
  },
};

/** An integer of 8 bits, 0…255. */
export const uint8: Kind<number> = narrow('uint8_t', 0xff);
/** An integer of 16 bits, 0…65535. */
export const uint16: Kind<number> = narrow('uint16_t', 0xffff);
/** An integer of 32 bits, 0…4294967295. */
export const uint32: Kind<number> = narrow('uint32_t', 0xffff_ffff);
/** An unsigned integer of 64 bits; negative ones are read modulo 2^64, as QEMU does (−1 is 2^64−1). */
export const uint64: Kind<bigint> = {
  name: 'uint64',
  parse: (value, path) => BigInt.asUintN(64, unsigned(value, path)),
};
/** A byte count or time as unsigned integer of 64 bits; in QMP the same as `uint64`, in texts it may have a suffix. */
export const size: Kind<bigint> = { name: 'size', parse: uint64.parse };

/** One of the given names. */
export function enumOf<const N extends string>(names: readonly N[]): Kind<N> & { readonly names: readonly N[] } {
  return {
    name: names.join('|'),
    names,
    shape: { type: 'enum', names },
    parse(value, path) {
      const text = string.parse(value, path);
      return (
        names.find((name) => name === text) ?? generic(`Parameter '${memberOf(path)}' does not accept value '${text}'`)
      );
    },
  };
}

/** A list of values of one kind. */
export function arrayOf<T>(element: Kind<T>): Kind<T[]> {
  return {
    name: `array of ${element.name}`,
    shape: { type: 'array', element },
    parse(value, path) {
      if (!Array.isArray(value)) return wrongType(path, 'array');
      return value.map((item, index) => element.parse(item, `${path}[${index}]`));
    },
  };
}

/** A member that must be sent. */
export function required<T>(kind: Kind<T>): Member<T, true> {
  return { kind, required: true };
}

/** A member that may be left out; null is not the same as leaving it out. */
export function optional<T>(kind: Kind<T>): Member<T, false> {
  return { kind, required: false };
}

/** An object with exactly these members. Parse the arguments of a command with path `''`. */
export function struct<const M extends Members>(members: M): StructKind<M> {
  return {
    name: 'object',
    members,
    shape: { type: 'struct', members },
    parse(value, path) {
      const object = objectAt(value, path);
      const result: [string, unknown][] = [];
      for (const [key, member] of Object.entries(members)) {
        const present = memberAt(object, key);
        if (present !== undefined) result.push([key, member.kind.parse(present, join(path, key))]);
        else if (member.required) generic(`Parameter '${join(path, key)}' is missing`);
      }
      for (const key of Object.keys(object)) {
        if (!Object.hasOwn(members, key)) generic(`Parameter '${join(path, key)}' is unexpected`);
      }
      // The loop above built exactly the members the mapped type names.
      return Object.fromEntries(result) as StructValue<M>;
    },
  };
}

/** A flat union: member `tag` names the branch, the other members are the branch's (QAPI's flat unions). */
export function union<const Tag extends string, const B extends Readonly<Record<string, Kind<object>>>>(
  tag: Tag,
  branches: B,
): Kind<UnionValue<Tag, B>> {
  const tagKind = enumOf(Object.keys(branches));
  return {
    name: 'object',
    shape: { type: 'union', tag, branches },
    parse(value, path) {
      const object = objectAt(value, path);
      const sent = memberAt(object, tag);
      if (sent === undefined) return generic(`Parameter '${join(path, tag)}' is missing`);
      const name = tagKind.parse(sent, join(path, tag));
      const { [tag]: _, ...rest } = object;
      // The branch exists, for the tag's kind accepts only its names; tag and branch members make the union's type.
      return { [tag]: name, ...branches[name]!.parse(rest, path) } as UnionValue<Tag, B>;
    },
  };
}

function narrow(name: string, maximum: number): Kind<number> {
  return {
    name,
    parse(value, path) {
      const integer = unsigned(value, path);
      if (integer < 0n || integer > maximum) generic(`Parameter '${memberOf(path)}' expects ${name}`);
      return Number(integer);
    },
  };
}

/** QEMU reads every unsigned integer as 64 bits first, so what is none at all is reported as not being a uint64. */
function unsigned(value: JsonValue, path: string): bigint {
  if (typeof value === 'bigint' && value >= INT64_MIN && value <= UINT64_MAX) return value;
  return generic(`Parameter '${path}' expects uint64`);
}

function signed(value: JsonValue, path: string): bigint {
  if (typeof value === 'bigint' && value >= INT64_MIN && value <= INT64_MAX) return value;
  return wrongType(path, 'integer');
}

function objectAt(value: JsonValue, path: string): { readonly [key: string]: JsonValue } {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  return wrongType(path, 'object');
}

function memberAt(object: { readonly [key: string]: JsonValue }, key: string): JsonValue | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}

/** QEMU names the member alone in these messages; for an element of a list (where QEMU has no name) the path. */
function memberOf(path: string): string {
  return path.endsWith(']') ? path : path.slice(path.lastIndexOf('.') + 1);
}

function wrongType(path: string, expected: string): never {
  return generic(`Invalid parameter type for '${path === '' ? 'arguments' : path}', expected: ${expected}`);
}

function generic(text: string): never {
  throw new HarnessError('qmp/generic', { text });
}
