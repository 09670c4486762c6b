import { describe, expect, test } from 'vitest';
import { type MonitorConfig, parseEndpoint, parseMonitors } from '../../src/qmp/monitor-options.ts';

const parse = (qmp: readonly string[], chardevs: readonly string[] = [], mons: readonly string[] = []) =>
  parseMonitors({ qmp: qmp.map((text) => ({ text, pretty: false })), chardevs, mons });

const UNIX = { path: '/tmp/s' };

describe('-qmp', () => {
  test.for<[string, MonitorConfig]>([
    ['stdio', { kind: 'stdio' }],
    ['unix:/tmp/s', { kind: 'client', id: 'compat_monitor0', endpoint: UNIX }],
    ['unix:/tmp/s,server=off', { kind: 'client', id: 'compat_monitor0', endpoint: UNIX }],
    ['unix:/tmp/s,server=on', { kind: 'server', id: 'compat_monitor0', endpoint: UNIX, wait: true }],
    ['unix:/tmp/s,server=on,wait=off', { kind: 'server', id: 'compat_monitor0', endpoint: UNIX, wait: false }],
    ['unix:/tmp/s,server,nowait', { kind: 'server', id: 'compat_monitor0', endpoint: UNIX, wait: false }],
    [
      'unix:/tmp/a,,b,server=on,wait=off',
      { kind: 'server', id: 'compat_monitor0', endpoint: { path: '/tmp/a,b' }, wait: false },
    ],
    [
      'tcp:127.0.0.1:0,server=on,wait=off,nodelay=on',
      { kind: 'server', id: 'compat_monitor0', endpoint: { host: '127.0.0.1', port: 0 }, wait: false },
    ],
    ['tcp::4444,server=on', { kind: 'server', id: 'compat_monitor0', endpoint: { host: '', port: 4444 }, wait: true }],
    ['tcp:[::1]:4444', { kind: 'client', id: 'compat_monitor0', endpoint: { host: '::1', port: 4444 } }],
    ['unix:/tmp/s,server=on,server=off', { kind: 'client', id: 'compat_monitor0', endpoint: UNIX }],
  ])('%s', ([text, expected]) => {
    expect(parse([text])).toEqual([expected]);
  });

  test.for([
    ['unix:', "'unix:'"],
    ['tcp:localhost', "'tcp:localhost'"],
    ['tcp:localhost:abc', "'tcp:localhost:abc'"],
    ['tcp:localhost:65536', "'tcp:localhost:65536'"],
    ['foo:bar', "'foo:bar'"],
    ['stdio,foo=1', "'stdio'"],
    ['unix:/tmp/s,server=on,wait=maybe', 'wait=maybe'],
    ['unix:/tmp/s,server=on,foo=1', "'foo'"],
    ['unix:/tmp/s,wait=off', 'wait without server=on'],
    ['unix:/tmp/s,server=on,reconnect=1', "'reconnect'"],
    ['unix:/tmp/s,', "''"],
    ['unix:/tmp/s,=1', "'=1'"],
  ])('%s is refused, naming %s', ([text = '', named = '']) => {
    expect(() => parse([text])).toThrow(
      expect.objectContaining({
        code: 'option/bad-value',
        details: expect.objectContaining({ option: `-qmp ${text}`, actual: expect.stringContaining(named) }),
      }),
    );
  });
});

describe('-chardev with -mon', () => {
  test.for<[string, string, MonitorConfig]>([
    [
      'socket,id=a,path=/tmp/s,server=on,wait=off',
      'chardev=a,mode=control',
      { kind: 'server', id: 'a', endpoint: UNIX, wait: false },
    ],
    ['socket,id=a,path=/tmp/s', 'a,mode=control,pretty=off', { kind: 'client', id: 'a', endpoint: UNIX }],
    [
      'socket,host=h,port=1,id=a',
      'mode=control,chardev=a',
      { kind: 'client', id: 'a', endpoint: { host: 'h', port: 1 } },
    ],
    ['stdio,id=a', 'chardev=a,mode=control', { kind: 'stdio' }],
    ['stdio,id=a', 'chardev=a,mode=control,pretty=on', { kind: 'stdio', pretty: true }],
  ])('%s %s', ([chardev, mon, expected]) => {
    expect(parse([], [chardev], [mon])).toEqual([expected]);
  });

  test.for<[string, string, string]>([
    ['socket,path=/tmp/s', 'chardev=a,mode=control', 'none'],
    ['socket,id=1a,path=/tmp/s', 'chardev=a,mode=control', 'id=1a'],
    ['pipe,id=a', 'chardev=a,mode=control', "'pipe'"],
    ['socket,id=a', 'chardev=a,mode=control', 'neither'],
    ['socket,id=a,host=h', 'chardev=a,mode=control', 'neither'],
    ['socket,id=a,path=/tmp/s,port=1', 'chardev=a,mode=control', 'both'],
    ['socket,id=a,port=x', 'chardev=a,mode=control', 'port=x'],
    ['socket,id=a,path=/tmp/s,zzz=1', 'chardev=a,mode=control', "'zzz'"],
    ['socket,id=a,path=/tmp/s', 'chardev=b,mode=control', 'chardev=b'],
    ['socket,id=a,path=/tmp/s', 'mode=control', 'none'],
    ['socket,id=a,path=/tmp/s', 'chardev=a', 'no mode'],
    ['socket,id=a,path=/tmp/s', 'chardev=a,mode=readline', 'mode=readline'],
    ['socket,id=a,path=/tmp/s', 'chardev=a,mode=control,pretty=1', 'pretty=1'],
    ['socket,id=a,path=/tmp/s', 'chardev=a,mode=control,foo=1', "'foo'"],
  ])('%s %s is refused, naming %s', ([chardev, mon, named]) => {
    expect(() => parse([], [chardev], [mon])).toThrow(
      expect.objectContaining({ code: 'option/bad-value', details: expect.objectContaining({ actual: named }) }),
    );
  });

  test('an id is used once, by one -chardev and one -mon', () => {
    const chardev = 'socket,id=a,path=/tmp/s';
    const mon = 'chardev=a,mode=control';
    expect(() => parse([], [chardev, chardev], [mon])).toThrow(/-chardev socket,id=a.*'a'/);
    expect(() => parse([], [chardev], [mon, mon])).toThrow(/-mon chardev=a/);
    expect(() => parse([], [chardev], [])).toThrow(/id=a without one/);
  });
});

test('-qmp-pretty is counted with -qmp', () => {
  const qmp = [
    { text: 'unix:/a', pretty: false },
    { text: 'unix:/b', pretty: true },
  ];
  expect(parseMonitors({ qmp, chardevs: [], mons: [] })).toEqual([
    { kind: 'client', id: 'compat_monitor0', endpoint: { path: '/a' } },
    { kind: 'client', id: 'compat_monitor1', endpoint: { path: '/b' }, pretty: true },
  ]);
});

test('-qmp monitors come first, then those of -mon in their order', () => {
  const monitors = parse(
    ['unix:/q'],
    ['socket,id=a,path=/a', 'socket,id=b,path=/b'],
    ['b,mode=control', 'a,mode=control'],
  );
  expect(monitors.map((monitor) => monitor.kind === 'client' && monitor.endpoint)).toEqual([
    { path: '/q' },
    { path: '/b' },
    { path: '/a' },
  ]);
});

test('standard input can serve one monitor only', () => {
  expect(() => parse(['stdio'], ['stdio,id=a'], ['a,mode=control'])).toThrow(/one monitor on standard input/);
});

test('an endpoint alone has no options', () => {
  expect(parseEndpoint('unix:/a,b')).toEqual({ path: '/a,b' });
  expect(parseEndpoint('/a')).toBeUndefined();
});
