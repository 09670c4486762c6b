/** What changes a field: its name on the stream, versions and predicates under which it is there, checks (spec/wire.md §9.1). */

import { fixedField, type LooksAt, type Siblings, type StateField } from './state-field.ts';
import { trouble } from './trouble.ts';

/** The field under another name in descriptions: QEMU's, where the state's own reads better. */
export function named<F extends StateField<unknown>>(wireName: string, field: F): F {
  return { ...field, wireName };
}

/** A field that QEMU keeps in memory of its own: its vmstate dump then does not know the size and says 0. */
export function allocated<F extends StateField<unknown>>(field: F): F {
  return { ...field, dump: () => ({ ...field.dump(), size: 0 }) };
}

/** A field that states of versions before `version` do not have; it is zero, or `preset`, when one of those is loaded. */
export function since<T>(version: number, field: StateField<T>, preset?: T): StateField<T> {
  return { ...field, since: version, zero: () => (preset === undefined ? field.zero() : preset) };
}

/**
 * A field that is there only if `isThere`: it sees the fields before it, when saving and when loading, and the version
 * of the section. Where it is not, its value is zero.
 */
export function when<T, S = Siblings>(
  isThere: (state: S, version: number) => boolean,
  field: StateField<T>,
): StateField<T> & LooksAt<S> {
  // What the predicate is given is the state it was declared for, as far as it is loaded.
  return { ...field, uniform: false, when: isThere as (state: Siblings, version: number) => boolean };
}

/** No bytes: something that must be true of the fields before it, when saving and when loading. */
export function validate<S = Siblings>(
  rule: string,
  isTrue: (state: S) => boolean,
): StateField<undefined> & LooksAt<S> {
  const check = isTrue as (state: unknown) => boolean; // as in `when`
  return {
    ...fixedField('', 0),
    hidden: true,
    zero: () => undefined,
    describe: () => [],
    dump: () => undefined,
    write(_, __, siblings) {
      if (!check(siblings))
        throw trouble('vmstate/unsavable', { expected: rule, actual: 'a state where it is not so' });
    },
    read(from, siblings) {
      if (check(siblings)) return undefined;
      throw trouble('vmstate/bad-value', { at: from.offset, expected: rule, actual: 'a state where it is not so' });
    },
  };
}
