import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { QMP_LIMITS } from '../../src/qmp/limits.ts';
import type { MonitorConfig, SocketEndpoint } from '../../src/qmp/monitor-options.ts';
import { QmpServer } from '../../src/qmp/server.ts';
import { LineClient } from '../support/line-client.ts';
import { RecordingVm } from '../support/recording-vm.ts';
import { tempDir } from '../support/temp.ts';

const LOOPBACK: MonitorConfig = {
  kind: 'server',
  id: 'compat_monitor0',
  endpoint: { host: '127.0.0.1', port: 0 },
  wait: false,
};

interface Setup extends AsyncDisposable {
  readonly vm: RecordingVm;
  readonly server: QmpServer;
  readonly endpoint: SocketEndpoint;
  readonly warnings: readonly string[];
}

async function serve(monitors: readonly MonitorConfig[] = [LOOPBACK]): Promise<Setup> {
  const vm = new RecordingVm();
  const warnings: string[] = [];
  const server = await QmpServer.start({ vm, packageVersion: '1.2.3', monitors, warn: (text) => warnings.push(text) });
  const [endpoint] = server.endpoints;
  if (endpoint === undefined) throw new Error('the first monitor does not listen');
  return { vm, server, endpoint, warnings, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** Resolves when a count is not 0 and stays the same for many turns of the event loop that all parties share. */
async function standstill(count: () => number): Promise<void> {
  for (let turns = 0, last = 0; turns < 500; turns += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    if (count() !== last || last === 0) turns = 0;
    last = count();
  }
}

describe('one socket', () => {
  test('greets over TCP and answers', async () => {
    await using setup = await serve();
    await using client = await LineClient.connect(setup.endpoint);
    expect(await client.next()).toMatchObject({ QMP: { version: { package: 'Switchover 1.2.3' } } });
    client.send('{"execute": "qmp_capabilities"}{"execute": "query-status", "id": 1}');
    expect(await client.next()).toEqual({ return: {} });
    expect(await client.next()).toEqual({ return: { status: 'running', running: true }, id: 1 });
  });

  test('serves a second client when the first has left, and events only to the one it serves', async () => {
    await using setup = await serve();
    await using first = await LineClient.negotiated(setup.endpoint);
    await using second = await LineClient.connect(setup.endpoint);
    second.send('{"execute": "qmp_capabilities"}');
    setup.vm.emit({ name: 'STOP' });
    expect(await first.next()).toMatchObject({ event: 'STOP' });
    expect(second.unread).toBe(0);
    first.socket.destroy();
    expect(await second.next()).toMatchObject({ QMP: {} });
    expect(await second.next()).toEqual({ return: {} });
    expect(setup.vm.listenerCount).toBe(1);
  });

  test('a client that only stops sending gets all its replies, then the end', async () => {
    await using setup = await serve();
    await using client = await LineClient.negotiated(setup.endpoint);
    client.send('{"execute": "stop", "id": 1}{"execute": "cont", "id": 2} nul');
    client.socket.end();
    expect(await client.rest()).toMatchObject([{ event: 'STOP' }, { id: 1 }, { event: 'RESUME' }, { id: 2 }]);
  });

  test.for([
    ['while connecting', ''],
    ['during negotiation', '{"execute": "qmp_cap'],
    ['inside a string', '{"execute": "qmp_capabilities"}{"execute": "query-na'],
    ['during a command', '{"execute": "qmp_capabilities"}{"execute": "stop"}{"execute": "cont"}'],
    ['before reading its replies', `{"execute": "qmp_capabilities"}${'{"execute": "query-commands"}'.repeat(2000)}`],
  ])('a client that vanishes %s does no harm', async ([, input = '']) => {
    await using setup = await serve();
    const release = setup.vm.hold('stop');
    const client = await LineClient.connect(setup.endpoint);
    await client.next();
    client.send(input);
    client.socket.resetAndDestroy();
    release();
    await using next = await LineClient.negotiated(setup.endpoint);
    next.send({ execute: 'query-name' });
    expect(await next.next()).toEqual({ return: {} });
    expect(setup.warnings).toEqual([]);
  });

  test('more clients than may wait are turned away', async () => {
    await using setup = await serve();
    await using clients = new AsyncDisposableStack();
    const join = async () => clients.use(await LineClient.connect(setup.endpoint));
    const first = await join();
    await first.next();
    for (let index = 0; index < QMP_LIMITS.WAITING_CLIENTS; index += 1) await join();
    expect(await (await join()).next()).toBeUndefined();
    expect(setup.warnings).toMatchObject([expect.stringContaining('wait')]);
  });
});

describe('a client that does not read', () => {
  test('has no further commands run, and gets every reply once it reads', async () => {
    await using dir = await tempDir();
    await using setup = await serve([
      { kind: 'server', id: 'compat_monitor0', endpoint: { path: dir.file('qmp') }, wait: false },
    ]);
    await using client = await LineClient.negotiated(setup.endpoint);
    client.socket.pause();
    const count = 1000;
    const padding = 'x'.repeat(16 * 1024);
    for (let id = 0; id < count; id += 1) client.send({ execute: 'migrate_cancel', id: { id, padding } });
    await standstill(() => setup.vm.calls.length);
    // Our limit, and what the buffers of the system take.
    expect(setup.vm.calls.length * padding.length).toBeLessThan(4 * QMP_LIMITS.UNREAD_REPLY_BYTES);
    client.socket.resume();
    for (let id = 0; id < count; id += 1) expect(await client.next()).toMatchObject({ id: { id } });
    expect(setup.warnings).toEqual([]);
  });

  test('is cut off when its events reach the limit', async () => {
    await using setup = await serve();
    await using client = await LineClient.negotiated(setup.endpoint);
    client.socket.pause();
    const event = { name: 'SHUTDOWN', data: { guest: false, reason: 'x'.repeat(64 * 1024) } } as const;
    const sent = QMP_LIMITS.UNREAD_OUTPUT_BYTES / (64 * 1024);
    for (let index = 0; index < sent * 2; index += 1) setup.vm.emit(event);
    expect(setup.warnings).toMatchObject([expect.stringMatching(/left \d+ bytes unread and was disconnected/)]);
    expect(setup.vm.listenerCount).toBe(1);
    client.socket.resume();
    expect((await client.rest()).length).toBeLessThan(sent + 2);
    await using next = await LineClient.negotiated(setup.endpoint);
    expect(next.unread).toBe(0);
  });
});

describe('several monitors', () => {
  test('a unix and a TCP socket serve side by side, and both hear events', async () => {
    await using dir = await tempDir();
    const path = dir.file('qmp');
    await using setup = await serve([
      { kind: 'server', id: 'compat_monitor0', endpoint: { path }, wait: false },
      LOOPBACK,
    ]);
    const [, tcp] = setup.server.endpoints;
    await using one = await LineClient.negotiated({ path });
    await using other = await LineClient.negotiated(tcp!);
    one.send({ execute: 'stop' });
    expect(await other.next()).toMatchObject({ event: 'STOP' });
    expect(await one.next()).toMatchObject({ event: 'STOP' });
    expect(await one.next()).toEqual({ return: {} });
  });

  test('yank lists them by their ids, and cuts off the client of the one that is named', async () => {
    await using dir = await tempDir();
    const path = dir.file('qmp');
    await using setup = await serve([{ kind: 'server', id: 'other', endpoint: { path }, wait: false }, LOOPBACK]);
    await using cut = await LineClient.negotiated({ path });
    await using client = await LineClient.negotiated(setup.server.endpoints[1]!);
    client.send({ execute: 'query-yank' });
    expect(await client.next()).toEqual({
      return: ['other', 'compat_monitor0'].map((id) => ({ type: 'chardev', id })),
    });
    client.send({ execute: 'yank', arguments: { instances: [{ type: 'chardev', id: 'nope' }] } });
    expect(await client.next()).toMatchObject({ error: { class: 'DeviceNotFound' } });
    client.send({ execute: 'yank', arguments: { instances: [{ type: 'chardev', id: 'other' }] } });
    expect(await client.next()).toEqual({ return: {} });
    expect(await cut.next()).toBeUndefined();
    await using next = await LineClient.negotiated({ path });
    expect(next.unread).toBe(0);
  });
});

describe('opening and closing', () => {
  test('a socket file of a dead process is replaced, any other file is not', async () => {
    await using dir = await tempDir();
    const path = dir.file('qmp');
    // A server that was closed without removing its socket: Node only removes what it listens at.
    await using setup = await serve([{ kind: 'server', id: 'compat_monitor0', endpoint: { path }, wait: false }]);
    await using again = await serve([{ kind: 'server', id: 'compat_monitor0', endpoint: { path }, wait: false }]);
    await using client = await LineClient.negotiated({ path });
    client.send({ execute: 'stop' });
    await client.next();
    expect([setup.vm.calls, again.vm.calls]).toEqual([[], [['stop']]]);
    const file = dir.file('precious');
    await writeFile(file, 'content');
    await expect(
      serve([{ kind: 'server', id: 'compat_monitor0', endpoint: { path: file }, wait: false }]),
    ).rejects.toMatchObject({
      code: 'transport/listen',
    });
    expect(await readdir(dir.path)).toContain('precious');
  });

  test('a place that cannot be listened at is named in the error', async () => {
    const endpoint = { path: '/nonexistent/qmp' };
    await expect(serve([{ kind: 'server', id: 'compat_monitor0', endpoint, wait: false }])).rejects.toMatchObject({
      code: 'transport/listen',
      message: expect.stringContaining('unix:/nonexistent/qmp'),
    });
  });

  test('with wait=on the start waits for the first client', async () => {
    await using dir = await tempDir();
    const path = dir.file('qmp');
    const starting = serve([{ kind: 'server', id: 'compat_monitor0', endpoint: { path }, wait: true }]);
    let client: LineClient | undefined;
    while (client === undefined) client = await LineClient.connect({ path }).catch(() => undefined);
    await using _client = client;
    await using _setup = await starting;
    expect(await client.next()).toMatchObject({ QMP: {} });
  });

  test('nobody is greeted before all monitors are open', async () => {
    await using dir = await tempDir();
    const [first, last] = [{ path: dir.file('first') }, { path: dir.file('last') }];
    const starting = serve([
      { kind: 'server', id: 'compat_monitor0', endpoint: first, wait: false },
      { kind: 'server', id: 'compat_monitor0', endpoint: last, wait: true },
    ]);
    while (!(await readdir(dir.path)).includes('last'));
    await using early = await LineClient.connect(first);
    for (let turns = 0; turns < 100; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(early.unread).toBe(0);
    await using _late = await LineClient.connect(last);
    await using _setup = await starting;
    expect(await early.next()).toMatchObject({ QMP: {} });
  });

  test('a signal ends the waiting, and nothing listens any more', async () => {
    await using dir = await tempDir();
    const path = dir.file('qmp');
    const controller = new AbortController();
    const monitors: MonitorConfig[] = [{ kind: 'server', id: 'compat_monitor0', endpoint: { path }, wait: true }];
    const options = { vm: new RecordingVm(), packageVersion: '1', monitors, signal: controller.signal };
    const starting = QmpServer.start(options);
    while (!(await readdir(dir.path)).includes('qmp'));
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(starting).rejects.toBe(reason);
    expect(await readdir(dir.path)).toEqual([]);
  });

  test('with server=off the monitor connects, and says so when nobody is there', async () => {
    const accepted = Promise.withResolvers<Socket>();
    const listener = createServer((socket) => accepted.resolve(socket)).listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const address = listener.address();
    if (address === null || typeof address === 'string') throw new Error('not a TCP server');
    const endpoint = { host: '127.0.0.1', port: address.port };
    const start = () =>
      QmpServer.start({
        vm: new RecordingVm(),
        packageVersion: '1',
        monitors: [{ kind: 'client', id: 'compat_monitor0', endpoint }],
      });
    const server = await start();
    const socket = await accepted.promise;
    const [greeting] = await once(socket, 'data');
    expect(String(greeting)).toContain('"QMP"');
    socket.end();
    await server[Symbol.asyncDispose]();
    listener.close();
    await once(listener, 'close');
    await expect(start()).rejects.toMatchObject({ code: 'transport/connect' });
  });

  test('closing lets the command that runs finish, and its reply arrive', async () => {
    const setup = await serve();
    await using client = await LineClient.negotiated(setup.endpoint);
    client.send({ execute: 'quit' });
    expect(await setup.vm.exited).toBe(0);
    await setup[Symbol.asyncDispose]();
    expect(await client.rest()).toMatchObject([{ event: 'SHUTDOWN' }, { return: {} }]);
    await expect(LineClient.connect(setup.endpoint)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('closing does not wait for ever for a command that hangs', async () => {
    const setup = await serve();
    setup.vm.hold('stop');
    await using client = await LineClient.negotiated(setup.endpoint);
    client.send({ execute: 'stop' });
    while (setup.vm.calls.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await setup[Symbol.asyncDispose]();
    expect(await client.rest()).toEqual([]);
  });
});
