import { expect, test } from 'vitest';
import { isHarnessError } from '../../src/base/errors.ts';
import { MONITOR_LAYOUT, stringify, stringifyLines } from '../../src/base/json.ts';

test.each([
  [{ return: {} }, '{"return": {}}'],
  [[], '[]'],
  [[1, 2n, null, true, 'x'], '[1, 2, null, true, "x"]'],
  [{ a: undefined, b: { c: [] } }, '{"b": {"c": []}}'],
  [18446744073709551615n, '18446744073709551615'],
  [-9223372036854775808n, '-9223372036854775808'],
  [1e20, '1e+20'],
  [1e300, '1.0000000000000001e+300'],
  [0.1, '0.10000000000000001'],
  [1e-5, '1.0000000000000001e-05'],
  [5e-324, '4.9406564584124654e-324'],
  [-0, '-0'],
  [0.5, '0.5'],
])('%o prints on one line as QEMU prints it', (value, text) => {
  expect(stringify(value)).toBe(text);
});

test('everything that is not printable ASCII is escaped, as in a real QEMU echo', () => {
  expect(stringify('\u007f é 😀 / \b\f\n\r\t\u0001 \\ " ÿ \' \u0000')).toBe(
    `"\\u007F \\u00E9 \\uD83D\\uDE00 / \\b\\f\\n\\r\\t\\u0001 \\\\ \\" \\u00FF ' \\u0000"`,
  );
  expect(stringify({ 'ключ\n': 1 })).toMatch(/^[\x20-\x7e]+$/);
});

test('what is printed reads back with JSON.parse', () => {
  const value = { text: 'é"\\\n\u2028', list: [1.5, -3, false, null, { deep: {} }] };
  expect(JSON.parse(stringify(value))).toEqual(value);
});

test('over several lines as a real QEMU indents it', () => {
  const value = { return: {}, id: [1n, { a: [] }, 'é'], left: undefined };
  expect(stringifyLines(value, MONITOR_LAYOUT)).toBe(
    [
      '{',
      '    "return": {',
      '    },',
      '    "id": [',
      '        1,',
      '        {',
      '            "a": [',
      '            ]',
      '        },',
      '        "\\u00E9"',
      '    ]',
      '}',
    ].join('\n'),
  );
});

test('a number beyond the integers has an exponent, as QEMU prints it', () => {
  expect(stringify([1e17, -(2 ** 63), 2 ** 64, 1e22, 99_999_999_999_999_980])).toBe(
    '[1e+17, -9.2233720368547758e+18, 1.8446744073709552e+19, 1e+22, 99999999999999984]',
  );
});

test.each([Number.NaN, Number.POSITIVE_INFINITY, { f: () => 0 }])('%o is our own bug, not JSON', (value) => {
  const error = (() => {
    try {
      return stringify(value);
    } catch (thrown) {
      return thrown;
    }
  })();
  expect(isHarnessError(error, 'internal/assertion')).toBe(true);
});
