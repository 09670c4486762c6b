import { describe, expect, test } from 'vitest';
import { connectQmp } from '../../src/qmp/client.ts';
import { endpointName, type SocketEndpoint } from '../../src/qmp/monitor-options.ts';
import { QmpServer } from '../../src/qmp/server.ts';
import { RecordingVm } from '../support/recording-vm.ts';

async function serve() {
  const vm = new RecordingVm();
  const server = await QmpServer.start({
    vm,
    packageVersion: '1.2.3',
    monitors: [{ kind: 'server', id: 'compat_monitor0', endpoint: { host: '127.0.0.1', port: 0 }, wait: false }],
    warn: () => {},
  });
  // The one monitor listens.
  const endpoint = server.endpoints[0] as SocketEndpoint;
  return { vm, endpoint, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

describe('a connection', () => {
  test('shows the greeting', async () => {
    await using server = await serve();
    await using client = await connectQmp(server.endpoint);
    expect((await client.ready).version).toEqual({
      qemu: { major: 10, minor: 0, micro: 2 },
      package: 'Switchover 1.2.3',
    });
  });

  test('takes an address as text', async () => {
    await using server = await serve();
    await using client = await connectQmp(endpointName(server.endpoint));
    expect(await client.execute('query-name')).toEqual({});
    await expect(connectQmp('udp:x')).rejects.toMatchObject({ code: 'option/bad-value' });
  });

  test('that nobody accepts is an error naming the address', async () => {
    await expect(connectQmp('unix:/nonexistent/qmp')).rejects.toMatchObject({
      code: 'transport/connect',
      details: { uri: 'unix:/nonexistent/qmp' },
    });
  });

  test('attempt to a busy server ends with the signal', async () => {
    await using server = await serve();
    await using _first = await connectQmp(server.endpoint);
    const reason = new Error('enough');
    const controller = new AbortController();
    const second = connectQmp(server.endpoint, { signal: controller.signal });
    setImmediate(() => controller.abort(reason));
    await expect(second).rejects.toBe(reason);
    await expect(connectQmp(server.endpoint, { signal: controller.signal })).rejects.toBe(reason);
  });
});

describe('commands', () => {
  test('may be sent without waiting for each other', async () => {
    await using server = await serve();
    await using client = await connectQmp(server.endpoint);
    const replies = await Promise.all([
      client.execute('query-name'),
      client.execute('query-kvm'),
      client.execute('stop'),
    ]);
    expect(replies).toEqual([{}, { enabled: false, present: false }, {}]);
  });

  test('that fail reject with the server’s text and class', async () => {
    await using server = await serve();
    await using client = await connectQmp(server.endpoint);
    await expect(client.execute('nope')).rejects.toMatchObject({
      code: 'qmp/command-not-found',
      message: 'The command nope has not been found',
    });
    await expect(client.execute('stop', { x: 1 })).rejects.toMatchObject({ code: 'qmp/generic' });
  });

  test('carry 64 bits in both directions, and plain numbers as numbers', async () => {
    await using server = await serve();
    await using client = await connectQmp(server.endpoint);
    await client.execute('migrate-set-parameters', { 'max-bandwidth': 2n ** 64n - 1n, 'downtime-limit': 5 });
    expect(await client.execute('query-migrate-parameters')).toMatchObject({
      'max-bandwidth': 2n ** 64n - 1n,
      'downtime-limit': 5,
    });
  });

  test('in flight fail when the server goes away, and so do later ones', async () => {
    const server = await serve();
    await using client = await connectQmp(server.endpoint);
    server.vm.hold('stop');
    const stuck = expect(client.execute('stop')).rejects.toMatchObject({ code: 'transport/closed' });
    await server[Symbol.asyncDispose]();
    await stuck;
    await expect(client.execute('stop')).rejects.toMatchObject({ code: 'transport/closed' });
    await expect(client.waitEvent(() => true)).rejects.toMatchObject({ code: 'transport/closed' });
  });
});

describe('events', () => {
  test('reach listeners until they are removed', async () => {
    await using server = await serve();
    await using client = await connectQmp(server.endpoint);
    const seen: string[] = [];
    const remove = client.onEvent(({ event }) => seen.push(event));
    await client.execute('stop');
    remove();
    await client.execute('cont');
    expect(seen).toEqual(['STOP']);
  });

  test('can be waited for', async () => {
    await using server = await serve();
    await using client = await connectQmp(server.endpoint);
    const waited = client.waitEvent(({ event, data }) => event === 'MIGRATION' && data?.['status'] === 'completed');
    server.vm.emit({ name: 'MIGRATION', data: { status: 'active' } });
    server.vm.emit({ name: 'MIGRATION', data: { status: 'completed' } });
    expect(await waited).toMatchObject({ data: { status: 'completed' }, timestamp: { seconds: expect.any(Number) } });
  });

  test('that never come end with the signal', async () => {
    await using server = await serve();
    await using client = await connectQmp(server.endpoint);
    const controller = new AbortController();
    const waited = client.waitEvent(() => true, controller.signal);
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(waited).rejects.toBe(reason);
  });
});
