/** The words of a human monitor line: flags, bare and quoted strings, on/off. Messages are those scripts see from QEMU. */

/** What an argument may be; with a question mark it may be missing. */
export type ArgumentKind = 'string' | 'string?' | 'on-off' | 'int' | 'int?';

/** The arguments of a line. */
export interface LineArguments {
  readonly flags: ReadonlySet<string>;
  readonly values: readonly string[];
}

/** A line that does not fit its command; `labelled` if the message goes behind the command's name. */
export class LineError extends Error {
  readonly labelled: boolean;

  constructor(message: string, labelled = true) {
    super(message);
    this.labelled = labelled;
  }
}

const UINT64_MAX = (1n << 64n) - 1n;
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', '\\': '\\', "'": "'", '"': '"' };

/** The first word of a line, which is never quoted, and what follows it. */
export function splitName(line: string): { readonly name: string; readonly rest: string } {
  const [, name = '', rest = ''] = /^\s*(\S*)(.*)$/s.exec(line) ?? [];
  return { name, rest };
}

/** Reads flags (each letter of `flags` may be given as `-x`), then the arguments. Throws LineError. */
export function parseLine(
  text: string,
  expected: { readonly flags: string; readonly arguments: readonly ArgumentKind[] },
): LineArguments {
  const flags = new Set<string>();
  let rest = text.trimStart();
  // Each flag has its place: what is none of those that may still come is refused, and one that is too late is no flag.
  for (const [place, flag] of [...expected.flags].entries()) {
    if (!rest.startsWith('-')) continue;
    const given = rest[1] ?? '';
    if (given === flag) {
      flags.add(flag);
      rest = rest.slice(2).trimStart();
    } else if (given === '' || !expected.flags.includes(given, place)) {
      throw new LineError(`unsupported option -${given}`);
    }
  }
  const values: string[] = [];
  for (const kind of expected.arguments) {
    if (kind.endsWith('?') && rest === '') break;
    const isInt = kind.startsWith('int');
    if (isInt && rest.startsWith('"')) throw new LineError(`invalid char '"' in expression`, false);
    const word = nextWord(rest);
    if (kind === 'on-off' && word?.value !== 'on' && word?.value !== 'off') {
      throw new LineError("Expected 'on' or 'off'", false);
    }
    if (word === undefined) {
      throw isInt ? new LineError('unexpected end of expression', false) : new LineError('string expected');
    }
    values.push(isInt ? String(integerOf(word.value)) : word.value);
    rest = word.rest.trimStart();
  }
  if (rest !== '') throw new LineError('extraneous characters at the end of line');
  return { flags, values };
}

/** Decimal, with 0x hexadecimal, with 0 octal; what fits into 64 bits only without a sign is negative. */
function integerOf(text: string): bigint {
  const [, sign, hex, octal, decimal] = /^([+-]?)(?:0x([\da-f]+)|0([0-7]+)|(\d+))$/i.exec(text) ?? [];
  if (sign === undefined) {
    const stray = /[^\d+-]|(?<=\d)[+-](?=.)/.exec(text)?.[0];
    throw new LineError(
      stray === undefined ? 'unexpected end of expression' : `invalid char '${stray}' in expression`,
      false,
    );
  }
  const size = BigInt(hex !== undefined ? `0x${hex}` : octal !== undefined ? `0o${octal}` : (decimal ?? 0));
  if (size > UINT64_MAX) throw new LineError('number too large', false);
  return BigInt.asIntN(64, sign === '-' ? -size : size);
}

/** A bare word, or a double-quoted one with escapes; undefined when there is none, or a bad one. */
function nextWord(text: string): { readonly value: string; readonly rest: string } | undefined {
  if (!text.startsWith('"')) {
    const bare = /^\S+/.exec(text)?.[0];
    return bare === undefined ? undefined : { value: bare, rest: text.slice(bare.length) };
  }
  const quoted = /^"((?:[^"\\]|\\[nr\\'"])*)"/.exec(text);
  if (quoted === null) return undefined;
  const [whole, body = ''] = quoted;
  const value = body.replace(/\\(.)/g, (_match, character: string) => ESCAPES[character] ?? character);
  return { value, rest: text.slice(whole.length) };
}
