import { expect, test } from 'vitest';
import { parseCommandLine } from '../../src/qmp/command-line.ts';
import { completeCommandLine } from '../../src/qmp/completion.ts';
import { qmpSchema } from '../../src/qmp/schema.ts';
import { SchemaIndex } from '../../src/qmp/schema-index.ts';

const schema = new SchemaIndex(qmpSchema());

test.each<[string, object | undefined]>([
  ['', undefined],
  ['  # a comment', undefined],
  ['query-status', { execute: 'query-status' }],
  ['{"exec-oob": "migrate-pause", "id": 1}', { 'exec-oob': 'migrate-pause', id: 1n }],
  ['migrate {"uri": "tcp:h:1"}', { execute: 'migrate', arguments: { uri: 'tcp:h:1' } }],
  // The schema says what a text is: a URI is a string even if it looks like a number.
  ['migrate uri=5 detach=on', { execute: 'migrate', arguments: { uri: '5', detach: true } }],
  [
    'migrate-set-parameters max-bandwidth=18446744073709551615 tls-creds=null',
    { execute: 'migrate-set-parameters', arguments: { 'max-bandwidth': 2n ** 64n - 1n, 'tls-creds': null } },
  ],
  [
    `migrate-set-capabilities capabilities=[{'capability': "xbzrle", "state": true}]`,
    { execute: 'migrate-set-capabilities', arguments: { capabilities: [{ capability: 'xbzrle', state: true }] } },
  ],
  [
    'human-monitor-command command-line="info \\"x\\" y"',
    { execute: 'human-monitor-command', arguments: { 'command-line': 'info "x" y' } },
  ],
  [
    `human-monitor-command command-line='a=b "c"'`,
    { execute: 'human-monitor-command', arguments: { 'command-line': 'a=b "c"' } },
  ],
  ['yank instances=[]', { execute: 'yank', arguments: { instances: [] } }],
  [
    'other a.b.c=1 a.d=true a.e=x=y f=1.5',
    { execute: 'other', arguments: { a: { b: { c: 1n }, d: true, e: 'x=y' }, f: 1.5 } },
  ],
  [`other a={"it's": [1, "}"]}`, { execute: 'other', arguments: { a: { "it's": [1n, '}'] } } }],
  // What does not fit its type is sent as text, so that the server says what is wrong.
  [
    'migrate-set-parameters max-bandwidth=lots',
    { execute: 'migrate-set-parameters', arguments: { 'max-bandwidth': 'lots' } },
  ],
])('%s', (line, message) => {
  expect(parseCommandLine(line, schema)).toEqual(message);
});

test.each([
  ['migrate uri', "'uri': expected key=value"],
  ['migrate uri=a uri=b', "'uri' is given twice"],
  ['other a=1 a.b=2', "'a' is given twice"],
  ['migrate uri="x', 'the closing quote is missing'],
  ['migrate channels=[{"a": 1}', 'a closing brace or bracket is missing'],
  ['{"execute": "x"', 'the message are not JSON: the end is missing'],
  ['migrate {"uri" "x"}', 'the arguments are not JSON: JSON parse error'],
  ['{"execute": "x"} {}', 'more than one value'],
])('%s is refused', (line, why) => {
  expect(() => parseCommandLine(line, schema)).toThrow(why);
});

test('without a schema a value is what it looks like', () => {
  expect(parseCommandLine('x a=1 b=true c="1" d=null e=tcp:1', undefined)).toEqual({
    execute: 'x',
    arguments: { a: 1n, b: true, c: '1', d: null, e: 'tcp:1' },
  });
});

test.each<[string, string[]]>([
  ['migrate-in', ['migrate-incoming ']],
  ['migrate ', ['uri=', 'channels=', 'detach=', 'resume=']],
  ['migrate uri=x d', ['detach=']],
  ['migrate uri=x detach=', ['detach=true ', 'detach=false ']],
  ['migrate-set-parameters zero-page-detection=m', ['zero-page-detection=multifd ']],
  ['help query-stat', ['query-status ']],
  ['nonsense ', []],
])('Tab after "%s"', (line, candidates) => {
  const [found, part] = completeCommandLine(line, schema);
  expect(found).toEqual(candidates);
  expect(line.endsWith(part)).toBe(true);
});

test('a schema that is none offers nothing and breaks nothing', () => {
  for (const odd of [null, 'x', [null, 1, { name: 3 }, { name: 'c', 'meta-type': 'command', 'arg-type': 7 }]]) {
    const index = new SchemaIndex(odd);
    expect(index.argumentsOf('c') ?? []).toEqual([]);
    expect(parseCommandLine('c a=1', index)).toEqual({ execute: 'c', arguments: { a: 1n } });
  }
});
