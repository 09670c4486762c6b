/** Migration URIs and channel lists (spec/control.md §6, §8.3). */

import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../../src/base/errors.ts';
import { addressOf, incomingAddressOf, parseUri } from '../../../src/migration/transport/address.ts';
import { familyOf, parseTcp, portNumber } from '../../../src/migration/transport/tcp-address.ts';
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

const tcp = (host: string, port: string, more: object = {}) => ({ kind: 'tcp', host, port, ...more });

test.for([
  ['tcp:localhost:4444', tcp('localhost', '4444')],
  ['tcp:192.0.2.1:0', tcp('192.0.2.1', '0')],
  ['tcp::4444', tcp('', '4444')],
  ['tcp:::1:4444', tcp('', ':1:4444')],
  ['tcp:h:http', tcp('h', 'http')],
  [`tcp:${'h'.repeat(64)}:1`, tcp('h'.repeat(64), '1')],
  [`tcp:h:${'1'.repeat(40)}`, tcp('h', '1'.repeat(32))],
  ['tcp:[::1]:4444', tcp('::1', '4444')],
  ['tcp:host:4444,to=4450', tcp('host', '4444', { to: 4450 })],
  ['tcp:host:4444,to=99999', tcp('host', '4444', { to: 65_535 })],
  ['tcp:host:1,to', tcp('host', '1')],
  ['tcp:host:1,nodelay=on', tcp('host', '1')],
  ['tcp:host:1,,', tcp('host', '1')],
  [
    'tcp:host:4444,ipv4=on,ipv6=off,keep-alive=on,mptcp',
    tcp('host', '4444', { ipv4: true, ipv6: false, keepAlive: true }),
  ],
  ['tcp:host:1,ipv6', tcp('host', '1', { ipv6: true })],
  ['unix:/run/m.sock', { kind: 'unix', path: '/run/m.sock' }],
  ['unix:relative:with:colons', { kind: 'unix', path: 'relative:with:colons' }],
  ['exec:cat > "a b"', { kind: 'exec', command: ['/bin/sh', '-c', 'cat > "a b"'] }],
  ['file:/tmp/x', { kind: 'file', path: '/tmp/x', offset: 0 }],
  ['file:/tmp/x,offset=0x1000', { kind: 'file', path: '/tmp/x', offset: 4096 }],
  ['file:/tmp/x,offset=4k', { kind: 'file', path: '/tmp/x', offset: 4096 }],
  ['file:/tmp/x,offset=1.5K', { kind: 'file', path: '/tmp/x', offset: 1536 }],
  ['file:/tmp/x,offset=7B', { kind: 'file', path: '/tmp/x', offset: 7 }],
  ['file:', { kind: 'file', path: '', offset: 0 }],
  ['exec:', { kind: 'exec', command: ['/bin/sh', '-c', ''] }],
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
    // Each answer was given by a real QEMU 10.0.2.
    ['tcp:', 'transport/bad-uri', "error parsing address ''"],
    ['tcp:host', 'transport/bad-uri', "error parsing address 'host'"],
    ['tcp::', 'transport/bad-uri', "error parsing port in address ':'"],
    ['tcp:host:', 'transport/bad-uri', "error parsing address 'host:'"],
    ['tcp:[::1]', 'transport/bad-uri', "error parsing IPv6 address '[::1]'"],
    ['tcp:[::1]:', 'transport/bad-uri', "error parsing IPv6 address '[::1]:'"],
    ['tcp:[::1:1', 'transport/bad-uri', "error parsing IPv6 address '[::1:1'"],
    ['tcp:[::1]x:1', 'transport/bad-uri', "error parsing IPv6 address '[::1]x:1'"],
    ['tcp:host:1,to=x', 'transport/bad-uri', 'error parsing to= argument'],
    ['tcp:host:1,to=', 'transport/bad-uri', 'error parsing to= argument'],
    ['tcp:host:1,ipv4=x', 'transport/bad-uri', "error parsing 'ipv4' flag '=x'"],
    ['tcp:host:1,ipv4=onx', 'transport/bad-uri', "error parsing 'ipv4' flag '=onx'"],
    ['tcp:host:1,keep-alive=x', 'transport/bad-uri', "error parsing 'keep-alive' flag '=x'"],
    [`tcp:${'h'.repeat(65)}:1`, 'transport/bad-uri', `error parsing address '${'h'.repeat(65)}:1'`],
    ['unix:', 'transport/bad-uri', 'invalid Unix socket address'],
    ['file:x,offset=', 'transport/bad-uri', 'file URI has bad offset : Invalid argument'],
    ['file:x,offset=zz', 'transport/bad-uri', 'file URI has bad offset zz: Invalid argument'],
    ['file:x,offset=-1', 'transport/bad-uri', 'file URI has bad offset -1: Numerical result out of range'],
    ['file:x,offset=0x', 'transport/bad-uri', 'file URI has bad offset 0x: Invalid argument'],
    ['file:x,offset=1.5', 'transport/bad-uri', 'file URI has bad offset 1.5: Invalid argument'],
    ['file:x,offset=1x', 'transport/bad-uri', 'file URI has bad offset 1x: Invalid argument'],
    ['file:x,offset=1Kx', 'transport/bad-uri', 'file URI has bad offset 1Kx: Invalid argument'],
    ['file:x,offset=1,offset=2', 'transport/bad-uri', 'file URI has bad offset 1,offset=2: Invalid argument'],
    ['fd:', 'transport/bad-uri', 'invalid file descriptor address'],
    ['vsock:3', 'qmp/generic', "error parsing address '3'"],
    ['vsock:3:1', 'transport/unsupported', 'no sockets of the family vsock'],
    ['rdma:host:1', 'transport/unsupported', 'no RDMA transport'],
  ] as const)('%s', ([uri, code, text]) => {
    const found = codeAndText(() => parseUri(uri));
    expect(found.code).toBe(code);
    expect(found.text).toContain(text);
    if (code === 'transport/bad-uri') expect(found.text).toBe(text);
  });
});

describe('arguments of migrate', () => {
  const main = (addr: MigrationAddress): MigrationChannel => ({ 'channel-type': 'main', addr });
  const unix = main({ transport: 'socket', type: 'unix', path: '/m' });

  test.for([
    [unix, { kind: 'unix', path: '/m', uri: 'unix:/m' }],
    [
      main({ transport: 'socket', type: 'unix', path: 'm', abstract: { tight: false } }),
      { kind: 'unix', path: 'm', abstract: { tight: false }, uri: 'unix:m' },
    ],
    [main({ transport: 'socket', type: 'fd', str: 'f' }), { kind: 'fd', name: 'f', uri: 'fd:f' }],
    [
      main({ transport: 'socket', type: 'inet', host: '::1', port: '4444' }),
      { ...tcp('::1', '4444'), uri: 'tcp:[::1]:4444' },
    ],
    [main({ transport: 'socket', type: 'inet', host: 'h', port: '0' }), { ...tcp('h', '0'), uri: 'tcp:h:0' }],
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

  const cpr = { ...unix, 'channel-type': 'cpr' } as const;
  const either = "need either 'uri' or 'channels' argument";
  test.for([
    ['neither', {}, either],
    ['an empty list', { channels: [] }, either],
    ['both', { uri: 'unix:/m', channels: [unix] }, either],
    ['two main channels', { channels: [unix, unix] }, 'Channel list has more than one main entry'],
    ['no main channel', { channels: [cpr] }, 'Channel list has no main entry'],
    ['two cpr channels', { channels: [unix, cpr, cpr] }, 'Channel list has more than one cpr entry'],
  ] as const)('refused: %s', ([, args, text]) => {
    expect(codeAndText(() => addressOf(args)).text).toBe(text);
  });

  test('a channel for a mode that is off is left alone', () => {
    expect(addressOf({ channels: [cpr, unix] })).toEqual(addressOf({ channels: [unix] }));
  });

  test.for([[[unix, unix]], [[unix, cpr]], [[cpr]]] as const)('refused by a destination: channels %#', ([channels]) => {
    const text = "Channel list must have only one entry, for type 'main'";
    expect(codeAndText(() => incomingAddressOf({ channels })).text).toBe(text);
  });

  test('a destination has one channel or one URI', () => {
    expect(incomingAddressOf({ channels: [unix] })).toEqual(addressOf({ channels: [unix] }));
    expect(codeAndText(() => incomingAddressOf({ uri: 'unix:/m', channels: [unix, unix] })).text).toBe(either);
  });

  test('refused: an empty command', () => {
    const found = codeAndText(() => addressOf({ channels: [main({ transport: 'exec', args: [] })] }));
    expect(found).toMatchObject({ code: 'transport/bad-uri' });
  });
});

describe('when a socket is opened', () => {
  const at = (rest: string) => parseTcp(`tcp:${rest}`, rest);

  test.for([
    ['h:0', 0],
    ['h:65535', 65_535],
    ['h: 80', 80],
  ] as const)('the port of %s', ([rest, port]) => {
    expect(portNumber(at(rest))).toBe(port);
  });

  test.for(['65536', '-1', '1x', 'http', '1'.repeat(32)])('no port: %s', (port) => {
    const { code, text } = codeAndText(() => portNumber(at(`h:${port}`)));
    expect(code).toBe('transport/resolve');
    expect(text).toBe(`address resolution failed for h:${port}: Servname not supported for ai_socktype`);
  });

  test.for([
    ['h:1', 0],
    ['h:1,ipv4', 4],
    ['h:1,ipv4=on,ipv6=on', 0],
    ['h:1,ipv4=off', 6],
    ['h:1,ipv6', 6],
    ['h:1,ipv6=off', 4],
    ['h:1,ipv4=on,ipv6=off', 4],
  ] as const)('the IP version of %s', ([rest, family]) => {
    expect(familyOf(at(rest))).toBe(family);
  });

  test('no IP version at all', () => {
    const { text } = codeAndText(() => familyOf(at('h:1,ipv4=off,ipv6=off')));
    expect(text).toBe('Cannot disable IPv4 and IPv6 at same time');
  });
});

test('only a file cannot carry a return path', () => {
  const uris = ['tcp:h:1', 'unix:/m', 'exec:cat', 'file:/x'];
  expect(uris.filter((uri) => !isBidirectional(parseUri(uri)))).toEqual(['file:/x']);
});
