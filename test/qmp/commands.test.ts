import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { RecordingVm } from '../support/recording-vm.ts';
import { failure, SessionDriver } from '../support/session-driver.ts';
import { tempDir } from '../support/temp.ts';

const NO_DESCRIPTOR = 'No file descriptor supplied via SCM_RIGHTS: the monitors of Switchover cannot receive any';
const FILE_CHANNEL = { 'channel-type': 'main', addr: { transport: 'file', filename: '/f', offset: 4096 } };

async function ask(command: string, args?: object, vm = new RecordingVm()): Promise<unknown> {
  const driver = await SessionDriver.negotiated({ vm });
  driver.messages();
  const messages = await driver.ask({ execute: command, ...(args && { arguments: args }) });
  return messages.find((message) => !Object.hasOwn(message as object, 'event'));
}

describe('queries', () => {
  test.for<[string, unknown]>([
    ['query-version', { qemu: { major: 10, minor: 0, micro: 2 }, package: 'Switchover 1.2.3' }],
    ['query-name', {}],
    ['query-uuid', { UUID: '00000000-0000-0000-0000-000000000000' }],
    ['query-status', { status: 'running', running: true }],
    ['query-memory-size-summary', { 'base-memory': 0, 'plugged-memory': 0 }],
    ['query-cpus-fast', []],
    ['query-kvm', { enabled: false, present: false }],
    ['query-target', { arch: 'x86_64' }],
    ['query-memdev', []],
    ['query-migrationthreads', []],
    ['query-migrate', {}],
  ])('%s', async ([command, expected]) => {
    expect(await ask(command)).toEqual({ return: expected });
  });

  test('qom-list-types tells machines, objects and, when asked, what they implement', async () => {
    expect(await ask('qom-list-types', { implements: 'machine' })).toEqual({
      return: [
        { name: 'none-machine', parent: 'machine' },
        { name: 'harness-machine', parent: 'machine' },
      ],
    });
    const { return: all } = (await ask('qom-list-types', { abstract: true })) as { return: { name: string }[] };
    expect(all.map(({ name }) => name)).toEqual(expect.arrayContaining(['authz', 'authz-simple', 'tls-creds-x509']));
    expect(await ask('qom-list-types', { implements: 'nope' })).toEqual({ return: [] });
  });

  test('objects come and go', async () => {
    const vm = new RecordingVm();
    const size = 4096;
    expect(await ask('object-add', { 'qom-type': 'memory-backend-ram', id: 'm', size, share: true }, vm)).toEqual({
      return: {},
    });
    expect(await ask('query-memdev', {}, vm)).toMatchObject({ return: [{ id: 'm', size, share: true }] });
    expect(await ask('object-del', { id: 'm' }, vm)).toEqual({ return: {} });
    expect(await ask('object-del', { id: 'm' }, vm)).toEqual(failure("object 'm' not found"));
  });

  test('query-commands names what is there, and only that', async () => {
    const { return: commands } = (await ask('query-commands')) as { return: { name: string }[] };
    const names = commands.map(({ name }) => name);
    expect(names).toContain('migrate-set-parameters');
    expect(names).toContain('query-commands');
    expect(names).not.toContain('query-events');
    for (const name of names) {
      const reply = await ask(name, { 'no-such-argument': 1 });
      expect(reply).not.toMatchObject({ error: { desc: expect.stringContaining('has not been found') } });
    }
  });

  test('parameters of 64 bits survive', async () => {
    const vm = new RecordingVm();
    const driver = await SessionDriver.negotiated({ vm });
    const set = '{"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": 18446744073709551615}}';
    expect((await driver.ask(set)).at(-1)).toEqual({ return: {} });
    await driver.ask({ execute: 'query-migrate-parameters' });
    expect(driver.raw.at(-1)).toContain('"max-bandwidth": 18446744073709551615');
  });
});

describe('what reaches the machine', () => {
  test.for<[string, object | undefined, unknown[]]>([
    ['stop', undefined, ['stop']],
    ['cont', {}, ['cont']],
    ['system_reset', undefined, ['reset']],
    ['quit', undefined, ['quit', 'host-qmp-quit']],
    ['migrate', { uri: 'tcp:h:1', detach: true }, ['migrate', { uri: 'tcp:h:1', detach: true }]],
    ['migrate', { uri: 'tcp:h:1', channels: [] }, ['migrate', { uri: 'tcp:h:1' }]],
    ['migrate', { channels: [FILE_CHANNEL] }, ['migrate', { channels: [FILE_CHANNEL] }]],
    [
      'migrate-incoming',
      { uri: 'defer', 'exit-on-error': false },
      ['migrateIncoming', { uri: 'defer', 'exit-on-error': false }],
    ],
    ['migrate_cancel', undefined, ['migrateCancel']],
    ['migrate-continue', { state: 'pre-switchover' }, ['migrateContinue', 'pre-switchover']],
    ['migrate-set-parameters', { 'multifd-channels': 4 }, ['setParameters', { 'multifd-channels': 4 }]],
    [
      'migrate-set-capabilities',
      { capabilities: [{ capability: 'events', state: true }] },
      ['setCapabilities', [{ capability: 'events', state: true }]],
    ],
  ])('%s %j', async ([command, args, call]) => {
    const vm = new RecordingVm();
    await ask(command, args, vm);
    expect(vm.calls).toEqual([call]);
  });
});

describe('addresses of channels', () => {
  const migrate = (addr: object) => ask('migrate', { channels: [{ 'channel-type': 'main', addr }] });

  test.for<[object, string]>([
    [{}, "Parameter 'channels[0].addr.transport' is missing"],
    [{ transport: 'x' }, "Parameter 'transport' does not accept value 'x'"],
    [{ transport: 'socket', type: 'inet', host: 'a' }, "Parameter 'channels[0].addr.port' is missing"],
    [{ transport: 'socket', type: 'inet', host: 'a', port: '1', z: 1 }, "Parameter 'channels[0].addr.z' is unexpected"],
    [{ transport: 'socket', type: 'inet', host: 'a', port: '1', to: 70000 }, "Parameter 'to' expects uint16_t"],
    [{ transport: 'exec', args: [1] }, "Invalid parameter type for 'channels[0].addr.args[0]', expected: string"],
    [{ transport: 'file', filename: 'a', offset: 1.5 }, "Parameter 'channels[0].addr.offset' expects uint64"],
  ])('%j: as QEMU says', async ([addr, text]) => {
    expect(await migrate(addr)).toEqual(failure(text));
  });

  test.for<[object, RegExp]>([
    [{ transport: 'rdma', host: 'a', port: '1' }, /rdma:a:1.*RDMA/],
    [{ transport: 'socket', type: 'vsock', cid: '1', port: '2' }, /vsock:1:2.*vsock/],
    [{ transport: 'file', filename: 'f', offset: -1 }, /file:f.*offset/],
  ])('%j: refused by name', async ([addr, text]) => {
    expect(await migrate(addr)).toMatchObject({ error: { class: 'GenericError', desc: expect.stringMatching(text) } });
  });
});

describe('postcopy while it is off', () => {
  test.for<[string, object, string]>([
    ['migrate-start-postcopy', {}, 'Enable postcopy with migrate_set_capability before the start of migration'],
    ['migrate-pause', {}, 'migrate-pause is currently only supported during postcopy-active or postcopy-recover state'],
    ['migrate-recover', { uri: 'x' }, 'Migrate recover can only be run when postcopy is paused.'],
  ])('%s', async ([command, args, text]) => {
    expect(await ask(command, args)).toEqual(failure(text));
  });
});

describe('saving memory', () => {
  const BYTES = 3 * 1024 * 1024;

  test('pmemsave writes exactly the range', async () => {
    await using dir = await tempDir();
    const vm = new RecordingVm({ ramBytes: BYTES });
    const filename = dir.file('ram');
    expect(await ask('pmemsave', { val: 1, size: BYTES - 1, filename }, vm)).toEqual({ return: {} });
    const content = await readFile(filename);
    expect(content.length).toBe(BYTES - 1);
    expect(content.equals(vm.readPhysical(1, BYTES - 1))).toBe(true);
  });

  test('pmemsave of what is not RAM is refused and touches no file', async () => {
    await using dir = await tempDir();
    const filename = dir.file('ram');
    const vm = new RecordingVm({ ramBytes: BYTES });
    expect(await ask('pmemsave', { val: BYTES - 1, size: 2, filename }, vm)).toMatchObject({ error: {} });
    await expect(readFile(filename)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('a file that cannot be opened is reported as QEMU does', async () => {
    await using dir = await tempDir();
    const missing = `${dir.path}/no/file`;
    expect(await ask('pmemsave', { val: 0, size: 0, filename: missing })).toEqual(
      failure(`Could not open '${missing}': No such file or directory`),
    );
    expect(await ask('pmemsave', { val: 0, size: 0, filename: dir.path })).toEqual(
      failure(`Could not open '${dir.path}': Is a directory`),
    );
  });

  test('memsave needs a CPU, and there is none', async () => {
    const text = "Parameter 'cpu-index' expects a CPU number";
    expect(await ask('memsave', { val: 0, size: 1, filename: '/nowhere' })).toEqual(failure(text));
    expect(await ask('memsave', { val: 0, size: 1 })).toEqual(failure("Parameter 'filename' is missing"));
  });
});

describe('yank', () => {
  test('closes a migration once, and names what is not there', async () => {
    const vm = new RecordingVm();
    const notFound = failure('Instance not found', { class: 'DeviceNotFound' });
    expect(await ask('query-yank', {}, vm)).toEqual({ return: [] });
    expect(await ask('yank', { instances: [{ type: 'migration' }] }, vm)).toEqual(notFound);
    vm.yankable = true;
    expect(await ask('query-yank', {}, vm)).toEqual({ return: [{ type: 'migration' }] });
    const both = [{ type: 'migration' }, { type: 'chardev', id: 'c' }];
    expect(await ask('yank', { instances: both }, vm)).toEqual(notFound);
    expect(await ask('yank', { instances: [] }, vm)).toEqual({ return: {} });
    expect(vm.calls).toEqual([]);
    expect(await ask('yank', { instances: [{ type: 'migration' }] }, vm)).toEqual({ return: {} });
    expect(vm.calls).toEqual([['yank']]);
  });
});

describe('what a machine here does not have', () => {
  test.for<[string, object, string]>([
    ['getfd', { fdname: 'a' }, NO_DESCRIPTOR],
    ['add-fd', {}, NO_DESCRIPTOR],
    ['closefd', { fdname: 'a' }, "File descriptor named 'a' not found"],
    ['remove-fd', { 'fdset-id': 1 }, "File descriptor named 'fdset-id:1' not found"],
    ['block-dirty-bitmap-add', { node: 'a', name: 'b' }, "Cannot find device='a' nor node-name='a'"],
    ['block-dirty-bitmap-add', { node: 'a', name: '' }, 'Bitmap name cannot be empty'],
    ['block-dirty-bitmap-merge', { node: 'a', target: 'b', bitmaps: [] }, "Node 'a' not found"],
    ['snapshot-delete', { 'job-id': 'j', tag: 't', devices: [] }, 'Snapshots inside disk images are not implemented'],
    ['job-dismiss', { id: 'j' }, 'Job not found'],
    ['x-colo-lost-heartbeat', {}, 'VM is not in COLO mode'],
  ])('%s %j is refused', async ([command, args, text]) => {
    expect(await ask(command, args)).toMatchObject({ error: { desc: expect.stringContaining(text) } });
  });

  test('an announcement has nobody to announce, and succeeds', async () => {
    const timing = { initial: 50, max: 550, rounds: 5 };
    expect(await ask('announce-self', { ...timing, step: 100 })).toEqual({ return: {} });
    expect(await ask('announce-self', timing)).toEqual(failure("Parameter 'step' is missing"));
  });
});
