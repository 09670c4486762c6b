/** Migration URIs and channel lists (spec/control.md §6, §8.3). */

import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../../src/base/errors.ts';
import { addressOf, parseUri } from '../../../src/migration/transport/address.ts';
import { isBidirectional } from '../../../src/migration/transport/transport.ts';
import type { MigrationAddress, MigrationChannel } from '../../../src/migration/vm-control.ts';

function codeAndText(run: () => unknown): { code: string; text: string } {
  try {
    run();
  } catch (error) {
    if (isHarnessError(error)) return { code: error.code, text: error.message };
    throw error;
  }
  throw new Error('it was accepted');
}

const tcp = (host: string, port: number, lastPort = port) => ({ kind: 'tcp', host, port, lastPort });

test.for([
  ['tcp:localhost:4444', tcp('localhost', 4444)],
  ['tcp:192.0.2.1:0', tcp('192.0.2.1', 0)],
  ['tcp::4444', tcp('', 4444)],
  ['tcp:0:65535', tcp('0', 65_535)],
  ['tcp:[::1]:4444', tcp('::1', 4444)],
  ['tcp:host:4444,to=4450', tcp('host', 4444, 4450)],
  ['tcp:host:4444,ipv4=on,ipv6=off,keep-alive=on,mptcp', tcp('host', 4444)],
  ['unix:/run/m.sock', { kind: 'unix', path: '/run/m.sock' }],
  ['unix:relative:with:colons', { kind: 'unix', path: 'relative:with:colons' }],
  ['exec:cat > "a b"', { kind: 'exec', command: ['/bin/sh', '-c', 'cat > "a b"'] }],
  ['file:/tmp/x', { kind: 'file', path: '/tmp/x', offset: 0 }],
  ['file:/tmp/x,offset=0x1000', { kind: 'file', path: '/tmp/x', offset: 4096 }],
  ['file:/tmp/x,offset=4k', { kind: 'file', path: '/tmp/x', offset: 4096 }],
  ['file:a,b', { kind: 'file', path: 'a,b', offset: 0 }],
] as const)('%s', ([uri, expected]) => {
  expect(parseUri(uri)).toEqual({ ...expected, uri });
});

describe('refused', () => {
  test.for([
    ['', 'qmp/generic', 'unknown migration protocol: '],
    ['/run/m.sock', 'qmp/generic', 'unknown migration protocol: /run/m.sock'],
    ['TCP:host:1', 'qmp/generic', 'unknown migration protocol: TCP:host:1'],
    ['defer', 'qmp/generic', 'unknown migration protocol: defer'],
    ['tcp:', 'transport/bad-uri', "expected tcp:HOST:PORT, got 'tcp:'"],
    ['tcp:host', 'transport/bad-uri', "expected tcp:HOST:PORT, got 'tcp:host'"],
    ['tcp:::1:4444', 'transport/bad-uri', 'expected tcp:HOST:PORT'],
    ['tcp:host:', 'transport/bad-uri', "expected a port from 0 to 65535, got ''"],
    ['tcp:host:65536', 'transport/bad-uri', "got '65536'"],
    ['tcp:host:-1', 'transport/bad-uri', "got '-1'"],
    ['tcp:host:http', 'transport/bad-uri', "got 'http'"],
    ['tcp:host:1,to=x', 'transport/bad-uri', "got 'x'"],
    ['tcp:host:1,nodelay=on', 'transport/bad-uri', "unknown option 'nodelay=on'"],
    [`tcp:${'h'.repeat(65)}:1`, 'transport/bad-uri', 'the host is 65 characters long'],
    ['unix:', 'transport/bad-uri', 'the socket path is empty'],
    ['exec:', 'transport/bad-uri', 'the command is empty'],
    ['file:', 'transport/bad-uri', 'the file name is empty'],
    ['file:,offset=1', 'transport/bad-uri', 'the file name is empty'],
    ['file:x,offset=', 'option/bad-value', "got ''"],
    ['file:x,offset=-1', 'option/bad-value', "got '-1'"],
    ['fd:7', 'transport/unsupported', 'no fd: transport'],
    ['vsock:3:1', 'transport/unsupported', 'no vsock: transport'],
    ['rdma:host:1', 'transport/unsupported', 'no rdma: transport'],
  ] as const)('%s', ([uri, code, text]) => {
    const found = codeAndText(() => parseUri(uri));
    expect(found.code).toBe(code);
    expect(found.text).toContain(text);
  });
});

describe('arguments of migrate', () => {
  const main = (addr: MigrationAddress): MigrationChannel => ({ 'channel-type': 'main', addr });
  const unix = main({ transport: 'socket', type: 'unix', path: '/m' });

  test.for([
    [unix, { kind: 'unix', path: '/m', uri: 'unix:/m' }],
    [
      main({ transport: 'socket', type: 'inet', host: '::1', port: '4444' }),
      { ...tcp('::1', 4444), uri: 'tcp:::1:4444' },
    ],
    [main({ transport: 'socket', type: 'inet', host: 'h', port: '0' }), { ...tcp('h', 0), uri: 'tcp:h:0' }],
    [
      main({ transport: 'exec', args: ['/bin/cat', 'a b'] }),
      { kind: 'exec', command: ['/bin/cat', 'a b'], uri: 'exec:/bin/cat a b' },
    ],
    [
      main({ transport: 'file', filename: '/x,offset=1', offset: 4096 }),
      { kind: 'file', path: '/x,offset=1', offset: 4096, uri: 'file:/x,offset=1,offset=4096' },
    ],
  ] as const)('channel %#', ([channel, expected]) => {
    expect(addressOf({ channels: [channel] })).toEqual(expected);
  });

  test('a URI alone is that URI', () => {
    expect(addressOf({ uri: 'unix:/m' })).toEqual(parseUri('unix:/m'));
    expect(addressOf({ uri: 'unix:/m', channels: [] })).toEqual(parseUri('unix:/m'));
  });

  const either = "need either 'uri' or 'channels' argument";
  test.for([
    ['neither', {}, either],
    ['an empty list', { channels: [] }, either],
    ['both', { uri: 'unix:/m', channels: [unix] }, either],
    ['two main channels', { channels: [unix, unix] }, 'Channel list has more than one main entry'],
    ['no main channel', { channels: [{ ...unix, 'channel-type': 'cpr' }] }, 'Channel list has no main entry'],
    ['a cpr channel', { channels: [unix, { ...unix, 'channel-type': 'cpr' }] }, 'no data path for a cpr channel'],
  ] as const)('refused: %s', ([, args, text]) => {
    expect(codeAndText(() => addressOf(args)).text).toContain(text);
  });

  test('refused: an empty command', () => {
    const found = codeAndText(() => addressOf({ channels: [main({ transport: 'exec', args: [] })] }));
    expect(found).toMatchObject({ code: 'transport/bad-uri' });
  });
});

test('only a file cannot carry a return path', () => {
  const uris = ['tcp:h:1', 'unix:/m', 'exec:cat', 'file:/x'];
  expect(uris.filter((uri) => !isBidirectional(parseUri(uri)))).toEqual(['file:/x']);
});
