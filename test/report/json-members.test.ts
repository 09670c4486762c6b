import fc from 'fast-check';
import { expect, test } from 'vitest';
import { JsonMembers, type MemberValue, parseJsonMembers } from '../../src/report/json-members.ts';

/** The value as JSON.parse gives it: of equal names the last. */
function plain(value: MemberValue): unknown {
  if (value instanceof JsonMembers) {
    // Own properties whatever their name, `__proto__` too.
    return Object.fromEntries(value.entries.map(([name, member]) => [name, plain(member)]));
  }
  return Array.isArray(value) ? value.map(plain) : value;
}

test('members of one name are all kept, in order', () => {
  const value = parseJsonMembers('{"a": 1, "b": [true, null], "a": "x\\u0041"}', 0);
  expect(value).toBeInstanceOf(JsonMembers);
  expect((value as JsonMembers).entries).toEqual([
    ['a', 1],
    ['b', [true, null]],
    ['a', 'xA'],
  ]);
  expect((value as JsonMembers).get('a')).toBe(1);
});

test('it agrees with JSON.parse on every JSON text', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      expect(plain(parseJsonMembers(text, 0))).toEqual(JSON.parse(text));
    }),
  );
});

test('what JSON.parse refuses is refused, with the place in the file', () => {
  const broken = fc.tuple(fc.json(), fc.nat(), fc.constantFrom('"', '{', '}', ',', ':', '\\', '0', 'x', '\n'));
  fc.assert(
    fc.property(broken, ([text, nth, character]) => {
      const at = nth % (text.length + 1);
      const changed = `${text.slice(0, at)}${character}${text.slice(at + 1)}`;
      let expected: unknown;
      try {
        expected = JSON.parse(changed);
      } catch {
        expect(() => parseJsonMembers(changed, 100)).toThrow(/^bad stream at byte [1-9]\d\d/);
        return;
      }
      expect(plain(parseJsonMembers(changed, 100))).toEqual(expected);
    }),
  );
});

test('nesting is bounded', () => {
  expect(() => parseJsonMembers('['.repeat(100_000), 0)).toThrow('at most 64 levels');
});
