import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { stringify } from '../../src/base/json.ts';
import { type QmpInput, QmpParser } from '../../src/qmp/parser.ts';
import { LIMITS } from '../../src/wire/limits.ts';

function parse(...chunks: (string | Uint8Array)[]): QmpInput[] {
  const parser = new QmpParser();
  return chunks.flatMap((chunk) => parser.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk));
}

/** Values as QEMU would print them, errors without their common beginning. */
function brief(inputs: readonly QmpInput[]): string[] {
  return inputs.map((input) =>
    'value' in input ? stringify(input.value) : `! ${input.syntaxError.replace('JSON parse error, ', '')}`,
  );
}

describe('values', () => {
  test.for<[string, string[]]>([
    ['{"a": 1}{"b": 2} [3]', ['{"a": 1}', '{"b": 2}', '[3]']],
    [`{'it\\'s': 'a "b"'}`, [`{"it's": "a \\"b\\""}`]],
    [
      '"\\ud83d\\ude00 \\u00e9 \\u0001 \\/ \\b\\f\\n\\r\\t \\" \\\\ \\\' x"',
      ['"\\uD83D\\uDE00 \\u00E9 \\u0001 / \\b\\f\\n\\r\\t \\" \\\\ \' x"'],
    ],
    ['"\\u0000"', ['"\\u0000"']],
    ['"\u007f😀é"', ['"\\u007F\\uD83D\\uDE00\\u00E9"']],
    ['{"__proto__": 1}', ['{"__proto__": 1}']],
    ['18446744073709551615 -9223372036854775808 -0 ', ['18446744073709551615', '-9223372036854775808', '0']],
    [
      '1e5 1.5 0.1 18446744073709551616 -9223372036854775809 ',
      ['100000', '1.5', '0.10000000000000001', '1.8446744073709552e+19', '-9.2233720368547758e+18'],
    ],
    ['[] {} null true false ', ['[]', '{}', 'null', 'true', 'false']],
  ])('%s', ([input, expected]) => {
    expect(brief(parse(input))).toEqual(expected);
  });

  test('an integer is a bigint, a number with a fraction or exponent is not', () => {
    expect(parse('[1, 1.0, 1e0]')).toEqual([{ value: [1n, 1, 1] }]);
  });

  test('NUL may be written as two bytes', () => {
    expect(brief(parse(Buffer.from('"a\xc0\x80b"', 'latin1')))).toEqual(['"a\\u0000b"']);
  });
});

// Every row was recorded from QEMU 10.0.2.
describe('what QEMU says to bad input', () => {
  test.for<[string, string[]]>([
    ['{"execute":"x" "id"}', ['! expected separator in dict']],
    ['[1 2]', ['! expected separator in list']],
    ['[1}]\n', ['! expected separator in list', '! expecting value']],
    ['{]}\n', ['! expecting value', '! expecting value']],
    ['[{]}\n', ['! expecting value']],
    ['{"a":{]\n}\n}\n', ['! expecting value', '! expecting value', '! expecting value']],
    ['{"a":1,"a":2,"b":\n}\n', ['! duplicate key']],
    ['{"a":1,"a":}', ['! expecting value']],
    ['{"a"}', ['! missing : in object pair']],
    ['{"a",1}', ['! missing : in object pair']],
    ['{1:2}', ['! key is not a string in object']],
    ['{{}:1}', ['! key is not a string in object']],
    ['{nul:1}', ["! invalid keyword 'nul'"]],
    ['{"a":1,}', ['! expecting value']],
    ['[1,]', ['! expecting value']],
    [':\n', ['! expecting value']],
    ['}}', ['! expecting value', '! expecting value']],
    ['nul1\n', ["! invalid keyword 'nul'", '1']],
    ['nullX\n', ['null', "! stray 'X'"]],
    ['12.5.3\n', ['12.5', "! stray '.'"]],
    ['1e}\n', ["! stray '1e}'"]],
    ['-\n', ["! stray '-\n'"]],
    ['{"a":01}\n', ["! stray '01'", '! expecting value']],
    ['{"a":"x\ny"}', [`! stray '"x\n'`, '! expecting value']],
    ['{"a":True}\n', ["! stray 'T'", '! expecting value']],
    [
      '{"execute":\u0001"q","id":4}',
      ["! stray '\u0001'", '! expecting value', '"id"', '! expecting value', '4', '! expecting value'],
    ],
    ['@\u0001\u0002\n', ["! stray '@'", "! stray '\u0001'", "! stray '\u0002'"]],
    ['@\tx{"a": 2}\n', ["! stray '@'", '{"a": 2}']],
    ['\0', ["! stray ''"]],
    ['{"a":"\\q"}', ['! invalid escape sequence in string']],
    ['{"a":"\\u12"}', ['! \\u12" is not a valid Unicode character']],
    ['{"a":"\\ud83d\\ud83dxyz"}', ['! \\ud83d is not a valid Unicode character']],
    ['{"a":"\\ude00"}', ['! \\ude00 is not a valid Unicode character']],
    ['{"a":"\\ufffe"}', ['! \\ufffe is not a valid Unicode character']],
    ['"\ufffe"', ['! invalid UTF-8 sequence in string']],
    ['"\\\n', [`! stray '"\\\n'`]],
  ])('%j', ([input, expected]) => {
    expect(brief(parse(input))).toEqual(expected);
  });

  test.for<[string, string[]]>([
    ['22 ff 22 7d 0a', ["! stray '\"\ufffd'", '! expecting value']],
    ['22 ed a0 80 22', ['! invalid UTF-8 sequence in string']],
    ['22 fd 22', ['! invalid UTF-8 sequence in string']],
    ['c3 a9 0a', ["! stray '\ufffd'"]],
  ])('bytes %s', ([hex, expected]) => {
    expect(brief(parse(Buffer.from(hex.replaceAll(' ', ''), 'hex')))).toEqual(expected);
  });

  test('a number that no double holds is refused, where QEMU would echo inf', () => {
    expect(brief(parse('1e400 '))).toEqual(["! number '1e400' is too large"]);
  });

  test('after any rubbish a newline and a command are understood', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (rubbish) => {
        // What ends an open string and closes any braces: 0xff is never part of JSON.
        const parser = new QmpParser();
        parser.push(rubbish);
        parser.push(Buffer.from([0xff, 0x0a]));
        expect(brief(parser.push(Buffer.from('{"execute": "x"}')))).toEqual(['{"execute": "x"}']);
      }),
    );
  });
});

test('the chunks that input comes in make no difference', () => {
  const fragment = fc.oneof(
    fc.json(),
    fc.constantFrom(
      '{"a":',
      "'b\\'",
      '"\\u00e9',
      '\u{1f600}',
      '-',
      '1.5e',
      '[[',
      '}',
      '\n',
      'nul',
      '@',
      '\\',
      '\u0001',
    ),
    fc.string({ unit: 'binary' }),
  );
  fc.assert(
    fc.property(fc.array(fragment), fc.array(fc.nat({ max: 30 })), (fragments, cuts) => {
      const bytes = Buffer.from(fragments.join(''));
      const chunks: Buffer[] = [];
      let at = 0;
      for (const cut of cuts) chunks.push(bytes.subarray(at, (at += cut)));
      expect(parse(...chunks, bytes.subarray(at))).toEqual(parse(bytes));
    }),
  );
});

test('what JSON.parse accepts is read as the same value', () => {
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
      const text = JSON.stringify({ value });
      // Noncharacters are legal JSON that QEMU refuses.
      fc.pre(!/[\ufdd0-\ufdef\ufffe\uffff]|[\ud800-\udbff][\udffe\udfff]/.test(text));
      const [input] = parse(text);
      expect(input !== undefined && 'value' in input && JSON.parse(stringify(input.value))).toEqual(JSON.parse(text));
    }),
  );
});

describe('limits', () => {
  test('nesting to the limit is accepted, deeper is an error after which parsing goes on', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
    expect(parse(nested(LIMITS.QMP_NESTING))).toHaveLength(1);
    const deeper = parse(nested(LIMITS.QMP_NESTING + 1), '{"a":1}');
    expect(deeper[0]).toEqual({ syntaxError: 'JSON nesting depth limit exceeded' });
    expect(deeper).toHaveLength(LIMITS.QMP_NESTING + 3);
    expect(deeper.at(-1)).toEqual({ value: { a: 1n } });
  });

  test('a string that never ends is dropped at the limit, and memory with it', () => {
    const parser = new QmpParser();
    const chunk = Buffer.alloc(1024 * 1024, 'a');
    expect(parser.push(Buffer.from('"'))).toEqual([]);
    const inputs = Array.from({ length: 200 }, () => parser.push(chunk)).flat();
    expect(inputs).toEqual([{ syntaxError: 'JSON token size limit exceeded' }]);
    expect(process.memoryUsage().arrayBuffers).toBeLessThan(2.5 * LIMITS.QMP_INPUT_BYTES);
    expect(brief(parser.push(Buffer.from('"\n{"a": 1}')))).toEqual(['{"a": 1}']);
  });

  test('many tokens in one value are an error', () => {
    const inputs = parse(`[${'1,'.repeat(1024 * 1024 + 1)}`);
    expect(inputs[0]).toEqual({ syntaxError: 'JSON token count limit exceeded' });
  });

  test('a long value in single bytes takes time in proportion to its length', () => {
    const millis = (length: number) => {
      const parser = new QmpParser();
      const byte = Buffer.from('a');
      parser.push(Buffer.from('"'));
      const start = performance.now();
      for (let index = 0; index < length; index += 1) parser.push(byte);
      return performance.now() - start;
    };
    const best = (length: number) => Math.min(...[1, 2, 3].map(() => millis(length)));
    // Quadratic growth would make it 64 times as long; the rest is for a busy machine.
    expect(best(400_000) / best(50_000)).toBeLessThan(32);
  });
});
