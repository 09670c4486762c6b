import { describe, expect, test } from 'vitest';
import type { IncomingArguments } from '../../src/migration/vm-control.ts';
import { parseIncoming } from '../../src/qmp/incoming-option.ts';

function channel(addr: object): IncomingArguments {
  return { channels: [{ 'channel-type': 'main', addr }] } as IncomingArguments;
}

const INET = channel({ transport: 'socket', type: 'inet', host: '::1', port: '0', ipv4: true, to: 9 });

describe('what -incoming says', () => {
  test.each<[string, IncomingArguments]>([
    ['tcp:127.0.0.1:0', { uri: 'tcp:127.0.0.1:0' }],
    ['file:/tmp/a,channel-type=main', { uri: 'file:/tmp/a,channel-type=main' }],
    ['bar:x', { uri: 'bar:x' }],
    ['channel-type=main,addr.transport=socket,addr.type=inet,addr.host=::1,addr.port=0,addr.ipv4=on,addr.to=9', INET],
    [
      '{"channel-type":"main","addr":{"transport":"socket","type":"inet","host":"::1","port":"0","ipv4":true,"to":9}}',
      INET,
    ],
    [
      'main,addr.transport=socket,addr.type=unix,addr.path=/tmp/a,,b,addr.path=/tmp/c,,,,d',
      channel({ transport: 'socket', type: 'unix', path: '/tmp/c,,d' }),
    ],
    [
      'addr.transport=exec,addr.args.1=b,addr.args.0=a,channel-type=main',
      channel({ transport: 'exec', args: ['a', 'b'] }),
    ],
    [
      'main,addr.transport=file,addr.filename=/tmp/x,addr.offset=0x10',
      channel({ transport: 'file', filename: '/tmp/x', offset: 16 }),
    ],
  ])('%s', (text, expected) => {
    expect(parseIncoming(text)).toEqual(expected);
  });

  // What a QEMU 10.0.2 says to each of them; test/interop/incoming-option.test.ts asks a live one.
  test.each([
    ['main,a', "Expected '=' after parameter 'a'"],
    ['main,=x', "Invalid parameter ''"],
    ['main,addr=x,addr.transport=file', "Parameters 'addr.*' used inconsistently"],
    ['main,addr.transport=exec,addr.args.1=b', "Parameter 'addr.args.0' missing"],
  ])('%s is refused', (text, why) => {
    expect(() => parseIncoming(text)).toThrow(why);
  });
});
