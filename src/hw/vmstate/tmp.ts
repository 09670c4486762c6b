/**
 * A temporary (spec/wire.md §9.3): fields that a state does not keep. They are made of it when it is saved, and what they say is
 * put into it when it is loaded.
 */

import { assert } from '../../base/assert.ts';
import { messageOf } from '../../base/errors.ts';
import type { LooksAt, Siblings, StateField } from './state-field.ts';
import { trouble } from './trouble.ts';
import type { VmState } from './vmstate.ts';

/**
 * Fields of `schema`, whose values `make` takes from the state. When they have been loaded `put` sees them and the fields
 * before this one, and returns the members of the state that they change, or throws. A length that a later field goes by
 * must not be among them.
 */
export function tmp<T, S = Siblings>(
  schema: VmState<T>,
  hooks: { make(state: S): T; put?(value: T, loaded: S): Partial<S> | undefined },
): StateField<undefined> & LooksAt<S> {
  const { codec } = schema;
  assert(
    codec.minimumVersion === 0 && codec.sinceStart,
    `${schema.name}: a temporary is loaded in version 0, which must have all its fields`,
  );
  // What hooks are given is the state they were declared for, as far as it is loaded.
  const { make, put } = hooks as unknown as {
    make: (state: Siblings) => T;
    put?: (value: T, state: Siblings) => Siblings | undefined;
  };
  return {
    hidden: true,
    looksAround: true,
    uniform: codec.uniform,
    size: codec.size,
    zero: () => undefined,
    measure: (_, siblings) => codec.measure(make(siblings)),
    write: (to, _, siblings) => codec.write(to, make(siblings)),
    read(from, siblings) {
      const value = codec.read(from, 0) as T; // codecs are typed where they are declared
      try {
        Object.assign(siblings, put?.(value, siblings));
      } catch (error) {
        throw trouble('vmstate/hook', { at: from.offset, hook: 'put', why: messageOf(error) }, error);
      }
      return undefined;
    },
    extent: (cursor) => codec.extent(cursor, 0),
    describe(name, _, siblings) {
      const value = make(siblings);
      return [{ name, type: 'tmp', elements: [codec.describe(value)], size: codec.measure(value) }];
    },
    dump: () => ({ size: codec.memoryBytes, Description: codec.dump() }),
  };
}
