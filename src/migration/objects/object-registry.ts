/**
 * The objects of one machine by id: made by `-object` and object-add, looked up when something needs them (a migration
 * with `tls-creds` when it opens a channel), gone with object-del unless they are in use (spec/control.md §5.4).
 */

import { HarnessError } from '../../base/errors.ts';
import type { JsonValue } from '../../base/json.ts';
import { textToJson } from '../../base/kind-text.ts';
import { enumOf, type Kind, type KindShape, required, string } from '../../base/kinds.ts';
import { NO_HINTS } from './memory-backend.ts';
import { type ManagedObject, OBJECT_TYPE_NAMES, type ObjectType, objectRow } from './object-kinds.ts';

type ObjectOf<T extends ObjectType> = Extract<ManagedObject, { readonly type: T }>;
type Arguments = { readonly [key: string]: JsonValue };

const typeKind = enumOf(OBJECT_TYPE_NAMES);
const IDENTIFIER = /^[a-z][a-z0-9._-]*$/i;

/** The kind of object-add's arguments as they came; `ObjectRegistry.add` reads them in QEMU's order. */
export const objectKind: Kind<Arguments> = {
  name: 'object',
  shape: {
    type: 'union',
    tag: 'qom-type',
    branches: Object.fromEntries(
      OBJECT_TYPE_NAMES.map((type) => [type, { ...objectRow(type).kind, shape: withId(objectRow(type).kind.shape) }]),
    ),
  },
  // A command's arguments are an object; what is in it is refused or accepted later.
  parse: (value) => value as Arguments,
};

/** See the header. */
export class ObjectRegistry {
  readonly #objects = new Map<string, ManagedObject>();
  readonly #used = new Set<string>();

  /** object-add: arguments as QMP has them, `qom-type` and `id` included. Throws `qmp/generic` in QEMU's words. */
  add(args: Arguments): void {
    const { 'qom-type': type, id, ...rest } = args;
    const known = typeKind.parse(type === undefined ? missing('qom-type') : type, 'qom-type');
    const name = string.parse(id === undefined ? missing('id') : id, 'id');
    const { kind, check, make } = objectRow(known);
    const values = kind.parse(rest, '');
    if (!IDENTIFIER.test(name)) throw generic("Parameter 'id' expects an identifier");
    check?.(values);
    if (this.#objects.has(name)) {
      throw generic(`attempt to add duplicate property '${name}' to object (type 'container')`);
    }
    this.#objects.set(name, make(values, name));
  }

  /** `-object`: the same with values as texts, `on`, `64M`. */
  addFromTexts(texts: ReadonlyMap<string, string>): void {
    const type = typeKind.parse(texts.get('qom-type') ?? missing('qom-type'), 'qom-type');
    const { shape } = objectRow(type).kind;
    const members = shape?.type === 'struct' ? shape.members : {};
    const values = [...texts].map(([key, text]): [string, JsonValue] => {
      const kind = members[key]?.kind;
      return [key, kind === undefined ? text : textToJson(kind, key, text)];
    });
    this.add(Object.fromEntries(values));
  }

  /** object-del. Throws `qmp/generic` for an id that is not there or is in use. */
  remove(id: string): void {
    if (!this.#objects.has(id)) throw generic(`object '${id}' not found`);
    if (this.#used.has(id)) throw generic(`object '${id}' is in use, can not be deleted`);
    this.#objects.delete(id);
  }

  /** The object with this id, if it is there and of one of these types. */
  find<T extends ObjectType>(id: string, ...types: readonly T[]): ObjectOf<T> | undefined {
    const object = this.#objects.get(id);
    // The types that were asked for are those of the result.
    return types.some((type) => type === object?.type) ? (object as ObjectOf<T>) : undefined;
  }

  /** All objects of these types with their ids, in the order in which they were made. */
  list<T extends ObjectType>(...types: readonly T[]): { readonly id: string; readonly object: ObjectOf<T> }[] {
    return [...this.#objects.keys()].flatMap((id) => {
      const object = this.find(id, ...types);
      return object === undefined ? [] : [{ id, object }];
    });
  }

  /** The machine's own RAM, which no command makes and which cannot be deleted. An object that is there already is kept. */
  useAsRam(id: string, size: number): void {
    if (!this.#objects.has(id))
      this.#objects.set(id, { type: 'memory-backend-ram', size, share: false, hints: NO_HINTS });
    this.#used.add(id);
  }
}

function withId(shape: KindShape | undefined): KindShape {
  const members = shape?.type === 'struct' ? shape.members : {};
  return { type: 'struct', members: { id: required(string), ...members } };
}

function missing(name: string): never {
  throw generic(`Parameter '${name}' is missing`);
}

function generic(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}
