/**
 * The same QMP input, good, bad and malformed, to a real QEMU and to `switchover vm`: every reply must be the same.
 * After each input comes a command whose id ends the listening, so nothing here depends on time.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectQmp } from '../../src/qmp/client.ts';
import { LineClient } from '../support/line-client.ts';
import type { Peer, PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

/** What is sent, as text or as command with arguments. */
type Input = string | readonly [command: string, args?: object];

const NEGOTIATION: readonly Input[] = [
  '{"execute": "query-status"}',
  '{"execute": "query-commands", "id": 1}',
  '{"execute": "nope"}',
  '{"exec-oob": "query-status"}',
  '[1]',
  '}',
  'nul',
  ['qmp_capabilities', { enable: ['x'] }],
  ['qmp_capabilities', { enable: 'oob' }],
  ['qmp_capabilities', { enable: 3 }],
  ['qmp_capabilities', { foo: 1 }],
  '{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}, "id": {"a": [null, 1.5, true, "é"]}}',
  ['qmp_capabilities'],
];

const ENVELOPES: readonly Input[] = [
  '[]',
  '1 ',
  '"x"',
  'null ',
  '{}',
  '{"execute": 1}',
  '{"execute": "query-status", "foo": 1}',
  '{"execute": "query-status", "arguments": []}',
  '{"execute": "query-status", "arguments": null}',
  '{"execute": "query-status", "arguments": {"x": 1}}',
  '{"arguments": {}}',
  '{"id": 3}',
  '{"id": 3, "foo": 4}',
  '{"execute": "nope", "id": [1, "a"]}',
  '{"execute": "", "id": 2}',
  '{"": 1}',
  '{"execute": "query\\u0000-x"}',
  '{"execute": "éx"}',
  "{'execute': 'query-status', 'id': 'it\\'s \"'}",
  '{"ex\\u0065cute": "query-name", "id": "\\ud83d\\ude00 \\/ \\b\\f\\n\\r\\t"}',
  '{"execute": "query-name", "id": 18446744073709551615}',
  '{"execute": "query-name", "id": -9223372036854775808}',
  '{"execute": "query-name", "id": 123456789012345678901234567890}',
  ...['18446744073709551616', '-9223372036854775809', '1e22', '100000000000000000000', '5e-324', '-0.0'].map(
    (id) => `{"execute": "query-name", "id": ${id}}`,
  ),
  ...['\\u0000', '\\ude00\\ud83d', '\\uFFFF', '\\ufdd0', '\u007f\u0080', 'x'.repeat(60_000)].map(
    (id) => `{"execute": "query-name", "id": "${id}"}`,
  ),
  '{"execute": "query-name", "id": 1, "id": 2}',
  '{"execute": "query-name", "execute": "query-status"}',
  '\ufeff{"execute": "query-name", "id": 1}',
  `{"execute": "query-name", "id": ${'['.repeat(1023)}${']'.repeat(1023)}}`,
  `{"execute": "query-name", "id": ${'{"a": '.repeat(1030)}1${'}'.repeat(1030)}}`,
  `{"execute": "${'q'.repeat(5000)}"}`,
  '{"execute": "query-name", "arguments": {"\\u0000": 1}}',
  '{"execute": "query-name", "id": 1e5}',
  '{"execute": "query-name", "id": 0.1}',
  '{"execute": "query-name", "id": -0}',
  '{"execute": "query-name", "id": 1}{"execute": "query-name", "id": 2}',
  '{"execute": "query-name", "id": 1} x {"execute": "query-name", "id": 2}',
  '{"exec-oob": "query-status", "id": 7}',
  '{"exec-oob": "migrate-pause", "id": 7}',
  '{"exec-oob": "migrate-recover", "arguments": {"uri": "tcp:0:0"}}',
  '{"exec-oob": "migrate-recover", "arguments": {}}',
  '{"exec-oob": "nope"}',
  '{"exec-oob": 1}',
  '{"exec-oob": "qmp_capabilities"}',
  '{"execute": "a", "exec-oob": "b", "id": 7}',
];

const MALFORMED: readonly Input[] = [
  '{"execute": "query-status" "id"}',
  '{]}',
  '[}]',
  '[{]}',
  '[1}\n]',
  '[1 2]',
  '["a": 1]',
  '{"a"}',
  '{"a", 1}',
  '{1: 2}',
  '{{}: 1}',
  '{nul: 1}',
  '{,}',
  '{"a": 1,}',
  '[1,]',
  '{"a": 1, "a": 2}',
  '{"a": 1, "a": }',
  ':',
  '}}',
  'nul ',
  'nullX',
  'truefalse',
  '12.5.3',
  '1a',
  '1e}',
  '-',
  '00',
  '{"a": 01}',
  '{"a": 1.}',
  '{"a": +1}',
  '{"a": True}',
  '{"a": @}',
  '%d',
  '@\u0001\u0002',
  '@\tx{"execute": "query-name", "id": 2}',
  '{"execute": \u0001"query-status", "id": 4}',
  '\u001b',
  '"never ends',
  '"x\ty"',
  '{"a": "x\ny"}',
  '{"a": "\\q"}',
  '{"a": "\\u12"}',
  '{"a": "\\uzzzz"}',
  '{"a": "\\ud83d"}',
  '{"a": "\\ude00"}',
  '{"a": "\\ufffe"}',
  '"\ufffe"',
  '"\\',
  `${'['.repeat(1024)}${']'.repeat(1024)}`,
  `${'['.repeat(1100)}${']'.repeat(1100)}`,
];

const address = (addr: unknown): Input => ['migrate', { channels: [{ 'channel-type': 'main', addr }] }];

const COMMANDS: readonly Input[] = [
  ...['query-name', 'query-uuid', 'query-status', 'query-target', 'query-cpus-fast', 'query-memory-size-summary'],
  ...['query-migrationthreads', 'query-migrate', 'query-migrate-capabilities', 'query-migrate-parameters'],
  ...['query-events', 'migrate-pause', 'migrate-recover', 'migrate-start-postcopy', 'migrate_cancel', 'migrate'],
  ...['migrate-incoming', 'migrate-continue', 'pmemsave', 'memsave', 'human-monitor-command'],
  ...['migrate-set-capabilities', 'migrate-set-parameters', 'stop', 'stop', 'query-status', 'cont', 'cont'],
  ...['stop', 'system_reset', 'query-status', 'system_reset', 'cont', 'query-status'],
].map((command): Input => [command]);

const ARGUMENTS: readonly Input[] = [
  ['migrate', { uri: 1 }],
  ['migrate', { uri: null }],
  ['migrate', { uri: 'tcp:0:0', x: 1 }],
  ['migrate', { uri: 'x', channels: [] }],
  ['migrate', { uri: 'foo:bar' }],
  ['migrate', { uri: 'foo:bar', detach: 1 }],
  ['migrate', { uri: 'foo:bar', resume: 'x' }],
  ['migrate', { uri: 'tcp:127.0.0.1:1', resume: true }],
  ['migrate', { channels: [] }],
  ['migrate', { channels: [{}] }],
  ['migrate', { channels: [1] }],
  ['migrate', { channels: [{ 'channel-type': 'x' }] }],
  ['migrate', { channels: [{ 'channel-type': 'main' }] }],
  ['migrate', { channels: [{ 'channel-type': 'main', addr: { transport: 'exec', args: ['a'] }, z: 1 }] }],
  ['migrate', { uri: 'x', channels: [{ 'channel-type': 'main', addr: { transport: 'exec', args: ['a'] } }] }],
  address(7),
  address({}),
  address({ transport: 'x' }),
  address({ transport: 1 }),
  address({ transport: 'socket' }),
  address({ transport: 'socket', type: 'y' }),
  address({ transport: 'socket', type: 'inet', host: 'a' }),
  address({ transport: 'socket', type: 'inet', host: 'a', port: 1 }),
  address({ transport: 'socket', type: 'inet', host: 'a', port: '1', z: 1 }),
  address({ transport: 'socket', type: 'inet', host: 'a', port: '1', ipv4: 1 }),
  address({ transport: 'socket', type: 'inet', host: 'a', port: '1', to: 70_000 }),
  address({ transport: 'socket', type: 'unix' }),
  address({ transport: 'socket', type: 'vsock' }),
  address({ transport: 'socket', type: 'fd', str: 'abc', z: 1 }),
  address({ transport: 'file', filename: 'a' }),
  address({ transport: 'file', filename: 'a', offset: 1.5 }),
  address({ transport: 'exec' }),
  address({ transport: 'exec', args: [1] }),
  address({ transport: 'rdma', host: 'a' }),
  ['migrate-incoming', { uri: 'tcp:0:0' }],
  ['migrate-incoming', { uri: 'tcp:0:0', 'exit-on-error': 1 }],
  ['migrate-continue', { state: 'x' }],
  ['migrate-continue', { state: 1 }],
  ['migrate-continue', { state: 'pre-switchover' }],
  ['migrate-continue', { state: 'none' }],
  ['migrate-set-capabilities', { capabilities: {} }],
  ['migrate-set-capabilities', { capabilities: [] }],
  ['migrate-set-capabilities', { capabilities: [1] }],
  ['migrate-set-capabilities', { capabilities: [{}] }],
  ['migrate-set-capabilities', { capabilities: [{ capability: 'x' }] }],
  ['migrate-set-capabilities', { capabilities: [{ capability: 1, state: true }] }],
  ['migrate-set-capabilities', { capabilities: [{ capability: 'events' }] }],
  ['migrate-set-capabilities', { capabilities: [{ capability: 'events', state: 1 }] }],
  ['migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true, y: 1 }] }],
  ['migrate-set-capabilities', { capabilities: [{ capability: 'return-path', state: true }] }],
  ['query-migrate-capabilities'],
  ['migrate-set-parameters', { foo: 1 }],
  ['migrate-set-parameters', { 'downtime-limit': 'x' }],
  ['migrate-set-parameters', { 'downtime-limit': -1 }],
  ['migrate-set-parameters', { 'downtime-limit': 1.5 }],
  ['migrate-set-parameters', { 'multifd-channels': 256 }],
  ['migrate-set-parameters', { 'multifd-channels': 0 }],
  ['migrate-set-parameters', { 'downtime-limit': 100, 'max-bandwidth': 1_000_000 }],
  '{"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": 18446744073709551615}}',
  '{"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": 18446744073709551616}}',
  ['query-migrate-parameters'],
  ['pmemsave', { val: 0, size: 16 }],
  ['pmemsave', { val: '0', size: 16, filename: '/nonexistent/file' }],
  ['pmemsave', { val: 1.5, size: 16, filename: '/nonexistent/file' }],
  ['pmemsave', { val: 0, size: 16, filename: '/nonexistent/file' }],
  ['pmemsave', { val: 0, size: 16, filename: '/tmp' }],
  ['memsave', { val: 0, size: 16, filename: '/nonexistent/file', 'cpu-index': '7' }],
  ['memsave', { val: 0, size: 16, filename: '/nonexistent/file', 'cpu-index': 7 }],
  ['human-monitor-command', { 'command-line': 3 }],
  ['human-monitor-command', { 'command-line': 'info status', 'cpu-index': 0 }],
  ['human-monitor-command', { 'command-line': 'info status', x: 1 }],
  ['quit', { x: 1 }],
];

const HUMAN: readonly Input[] = [
  ...['', ' ', 'foo', 'info foo', 'cont;stop', 'info status', 'info  status ', 'info status x', 'stop x', 'q x'],
  ...['stop', 'info status', 'system_reset', 'info status', 'c', 'info status', 'info migrate'],
  ...['info migrate_capabilities', 'info migrate_parameters', 'migrate', 'migrate -d', 'migrate -x tcp:1'],
  ...['migrate -d "exec:cat', 'migrate -d tcp:a:1 b', 'migrate "foo\\"a\\n"', 'migrate "foo\\q"', "migrate 'foo bar'"],
  ...['migrate -d foo:bar', 'migrate foo', 'migrate -d -r exec:false', 'migrate -dr exec:false', 'migrate_cancel'],
  ...['migrate_cancel x', 'migrate_continue', 'migrate_continue foo', 'migrate_pause', 'migrate_recover x'],
  ...['migrate_incoming', 'migrate_start_postcopy', 'migrate_set_capability', 'migrate_set_capability foo on'],
  ...['migrate_set_capability events', 'migrate_set_capability events maybe', 'migrate_set_capability events on'],
  ...['migrate_set_capability postcopy-preempt on', 'migrate_set_parameter', 'migrate_set_parameter foo 1'],
  ...[
    ...['downtime-limit', 'downtime-limit x', 'downtime-limit 5000000', 'downtime-limit 0x10', 'downtime-limit 1M'],
    ...['max-bandwidth 10', 'max-bandwidth 1.5k', 'max-bandwidth -5', 'max-bandwidth 10x', 'max-postcopy-bandwidth 3'],
    ...['avail-switchover-bandwidth 3', 'xbzrle-cache-size 64', 'xbzrle-cache-size 64M', 'x-checkpoint-delay 3'],
    ...['cpu-throttle-initial 3M', 'cpu-throttle-initial 3.5', 'multifd-channels 300', 'multifd-channels 0'],
    ...['multifd-compression foo', 'cpu-throttle-tailslow yes', 'cpu-throttle-tailslow 1', 'announce-rounds 5k'],
    ...['block-bitmap-mapping x', 'mode x', 'x y z'],
  ].map((text) => `migrate_set_parameter ${text}`),
  ...['info migrate_capabilities', 'info migrate_parameters'],
].map((line): Input => ['human-monitor-command', { 'command-line': line }]);

const object = (type: string, rest: object): Input => ['object-add', { 'qom-type': type, ...rest }];
const yankOf = (...instances: object[]): Input => ['yank', { instances }];
const bitmap = (verb: string): Input => [`block-dirty-bitmap-${verb}`, { node: 'a', name: 'b' }];

const OBJECTS: readonly Input[] = [
  ['object-add'],
  ['object-add', { 'qom-type': 1 }],
  object('nope', { id: 'a' }),
  object('authz-simple', {}),
  object('authz-simple', { id: 'a' }),
  object('authz-simple', { id: 'a', identity: 'CN=x' }),
  object('authz-simple', { id: 'a', identity: 'CN=x' }),
  object('authz-simple', { id: '1a', identity: 'CN=x' }),
  object('authz-simple', { id: '', identity: 'CN=x' }),
  object('authz-simple', { id: 'b', identity: 'CN=x', z: 1 }),
  object('authz-simple', { id: 'b', identity: 1 }),
  object('memory-backend-ram', { id: 'm' }),
  object('memory-backend-ram', { id: 'm', size: 0 }),
  object('memory-backend-ram', { id: 'a', size: 0 }),
  object('memory-backend-ram', { id: 'm', size: '1M' }),
  object('memory-backend-ram', { id: 'm', size: 1_048_576, share: true }),
  object('memory-backend-file', { id: 'f', size: 1_048_576 }),
  object('memory-backend-file', { id: 'f', size: 0, 'mem-path': '/nonexistent/ram' }),
  object('memory-backend-file', { id: 'f', size: 4097, 'mem-path': '/nonexistent/ram' }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/nonexistent/ram' }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/dev/null' }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/dev/null', share: 1 }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/dev/null', readonly: true }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/tmp', readonly: true }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/tmp', offset: 100 }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/tmp', offset: 100, align: 100 }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/tmp', rom: 'on', align: 100 }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/tmp', rom: 'off', readonly: true, share: true }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/tmp', rom: 'x' }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/tmp', pmem: 1 }),
  object('memory-backend-shm', { id: 's' }),
  object('memory-backend-shm', { id: 's', size: 0 }),
  object('memory-backend-shm', { id: 's', size: 4097 }),
  object('memory-backend-shm', { id: 's', size: 4097, share: false }),
  object('memory-backend-shm', { id: 's', size: 4096, seal: true }),
  object('memory-backend-shm', { id: 's', size: 4096 }),
  ['object-del', { id: 's' }],
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/tmp', 'discard-data': true }),
  object('memory-backend-file', { id: 'f', size: 4096, 'mem-path': '/tmp' }),
  object('memory-backend-memfd', { id: 'g', size: 0 }),
  object('memory-backend-memfd', { id: 'g', size: 4096, seal: false }),
  object('memory-backend-memfd', { id: 'g' }),
  ['object-del', { id: 'f' }],
  ['object-del', { id: 'g' }],
  ['migrate-set-parameters', { mode: 'cpr-reboot' }],
  ['migrate-set-parameters', { mode: 'normal', 'direct-io': true }],
  ['migrate-set-parameters', { mode: 'cpr', 'direct-io': false }],
  ['migrate-set-parameters', { 'direct-io': 1 }],
  ['migrate-set-capabilities', { capabilities: [{ capability: 'x-ignore-shared', state: true }] }],
  ['migrate-set-capabilities', { capabilities: [{ capability: 'x-ignore-shared', state: false }] }],
  object('tls-creds-x509', { id: 't' }),
  object('tls-creds-x509', { id: 'a' }),
  object('tls-creds-x509', { id: 't', dir: '/nonexistent' }),
  object('tls-creds-x509', { id: 't', dir: '/nonexistent', endpoint: 'x' }),
  object('tls-creds-psk', { id: 't' }),
  object('tls-creds-psk', { id: 't', dir: '/nonexistent', endpoint: 'server' }),
  object('tls-creds-psk', { id: 't', dir: 1 }),
  ['object-del'],
  ['object-del', { id: 'nope' }],
  ['object-del', { id: 'a' }],
  ['object-del', { id: 'a' }],
  ['object-del', { id: 'ram' }],
  ['object-del', { id: 'm' }],
  ['query-memdev'],
  ['qom-list-types', { implements: 'nope' }],
];

const ABSENT: readonly Input[] = [
  ...['query-block', 'query-named-block-nodes', 'query-block-jobs', 'query-jobs', 'query-fdsets', 'query-iothreads'],
  ...['query-memory-devices', 'query-pci', 'query-rx-filter', 'query-colo-status', 'x-colo-lost-heartbeat'],
  ...['query-current-machine', 'query-hotpluggable-cpus', 'system_wakeup', 'yank', 'closefd', 'remove-fd'],
].map((command): Input => [command]);

const AROUND: readonly Input[] = [
  ...ABSENT,
  yankOf(),
  yankOf({ type: 'migration' }),
  yankOf({ type: 'x' }),
  yankOf({ type: 'chardev', id: 'x' }),
  yankOf({ type: 'chardev' }),
  yankOf({ type: 'block-node' }),
  yankOf({ type: 'block-node', 'node-name': 'n' }, { type: 'migration' }),
  '{"exec-oob": "yank", "arguments": {"instances": []}, "id": 1}',
  ['announce-self'],
  ['announce-self', { initial: 50, max: 550, rounds: 5, step: 100 }],
  ['announce-self', { initial: 50, max: 550, rounds: 5, step: 100, id: 'q', interfaces: ['a'] }],
  ['announce-self', { initial: 1.5, max: 550, rounds: 5, step: 100 }],
  ['closefd', { fdname: 'a' }],
  ['remove-fd', { 'fdset-id': 1 }],
  ['remove-fd', { 'fdset-id': 1, fd: 2 }],
  ['job-dismiss', { id: 'j' }],
  ['job-cancel', { id: 'j' }],
  ['device_del', { id: 'x' }],
  ...['remove', 'clear', 'enable', 'disable', 'add'].map(bitmap),
  ['block-dirty-bitmap-add', { node: 'a', name: '' }],
  ['block-dirty-bitmap-merge', { node: 'a', target: 'b', bitmaps: [] }],
  ['x-debug-block-dirty-bitmap-sha256', { node: 'a', name: 'b' }],
];

const calc = (more: object): Input => ['calc-dirty-rate', { 'calc-time': 1, ...more }];
const human = (line: string): Input => ['human-monitor-command', { 'command-line': line }];

const DIRTY: readonly Input[] = [
  ['query-dirty-rate'],
  ['query-dirty-rate', { 'calc-time-unit': 'millisecond' }],
  ['query-dirty-rate', { 'calc-time-unit': 'hour' }],
  human('info dirty_rate'),
  ['calc-dirty-rate'],
  ...[0, -1, 61, 1.5, '1'].map((seconds) => calc({ 'calc-time': seconds })),
  ...[49, 60_001].map((ms) => calc({ 'calc-time': ms, 'calc-time-unit': 'millisecond' })),
  ...[127, 16_385, -1].map((samples) => calc({ 'sample-pages': samples })),
  ...['dirty-bitmap', 'dirty-ring'].map((mode) => calc({ mode, 'sample-pages': 512 })),
  calc({ mode: 'dirty-ring' }),
  calc({ mode: 'x' }),
  calc({ x: 1 }),
  // Which of two mistakes is told.
  calc({ 'calc-time': 0, 'sample-pages': 1 }),
  calc({ 'calc-time': 0, mode: 'dirty-ring' }),
  calc({ 'sample-pages': 1, mode: 'dirty-ring' }),
  calc({ 'sample-pages': 1, mode: 'dirty-bitmap' }),
  ...['', '0', 'x', '61', '1 5', '-b 1 128', '-r 1', '-r -b 1', '-x 1', '1 x'].map((rest) =>
    human(`calc_dirty_rate ${rest}`),
  ),
  ['set-vcpu-dirty-limit', { 'dirty-rate': 5 }],
  ['set-vcpu-dirty-limit', { 'dirty-rate': 0 }],
  ['set-vcpu-dirty-limit', { 'dirty-rate': 5, 'cpu-index': 3 }],
  ['set-vcpu-dirty-limit'],
  ['set-vcpu-dirty-limit', { 'dirty-rate': 'x' }],
  ['cancel-vcpu-dirty-limit'],
  ['cancel-vcpu-dirty-limit', { 'cpu-index': 7 }],
  ['query-vcpu-dirty-limit'],
  ...['set_vcpu_dirty_limit 5', 'set_vcpu_dirty_limit', 'set_vcpu_dirty_limit x', 'cancel_vcpu_dirty_limit'].map(human),
  ...['cancel_vcpu_dirty_limit 3', 'info vcpu_dirty_limit', 'announce_self', 'announce_self a,b id'].map(human),
  ['migrate-set-capabilities', { capabilities: [{ capability: 'dirty-limit', state: true }] }],
  ['announce-self', { initial: -1, max: 550, rounds: 5000, step: -5 }],
  ['announce-self', { initial: 200_000, max: 1, rounds: 0, step: 0 }],
];

const TRANSCRIPTS = { NEGOTIATION, ENVELOPES, MALFORMED, COMMANDS, ARGUMENTS, HUMAN, OBJECTS, AROUND, DIRTY };

const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  beforeAll(async () => {
    dir = await tempDir();
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  test.for(Object.keys(TRANSCRIPTS) as (keyof typeof TRANSCRIPTS)[])('%s is answered the same', async (name) => {
    const inputs = TRANSCRIPTS[name];
    const negotiated = name !== 'NEGOTIATION';
    const [theirs, ours] = await Promise.all([
      record('qemu', { inputs, negotiated, path: dir.file(`q-${name}`) }),
      record('switchover', { inputs, negotiated, path: dir.file(`s-${name}`) }),
    ]);
    expect(ours).toEqual(theirs);
  });

  test('all of them on one monitor, one after the other, are answered the same', async () => {
    const inputs = Object.values(TRANSCRIPTS).flat();
    expect(inputs.length).toBeGreaterThanOrEqual(300);
    const [theirs, ours] = await Promise.all([
      record('qemu', { inputs, negotiated: false, path: dir.file('q-all') }),
      record('switchover', { inputs, negotiated: false, path: dir.file('s-all') }),
    ]);
    expect(ours).toEqual(theirs);
  });

  test.for<PeerKind>(['qemu', 'switchover'])('our client works with %s', async (kind) => {
    const path = dir.file(`client-${kind}`);
    await using _peer = await startPeer(kind, {
      memory: '16M',
      running: true,
      args: ['-qmp', `unix:${path},server=on,wait=off`],
    });
    await using client = await connectQmp({ path });
    const stopped = client.waitEvent(({ event }) => event === 'STOP');
    expect(await client.execute('stop')).toEqual({});
    expect(await stopped).toMatchObject({ event: 'STOP' });
    await expect(client.execute('nope')).rejects.toMatchObject({ code: 'qmp/command-not-found' });
    const { version } = await client.ready;
    expect(version.qemu.major).toBeGreaterThanOrEqual(10);
    expect(version.package.startsWith('Switchover ')).toBe(kind === 'switchover');
  });
});

/** What came of each input: replies in their order, and events apart, for they may come before or after the reply. */
interface Answer {
  readonly input: string;
  readonly replies: readonly unknown[];
  readonly events: readonly unknown[];
}

async function record(
  kind: PeerKind,
  { inputs, negotiated, path }: { inputs: readonly Input[]; negotiated: boolean; path: string },
): Promise<Answer[]> {
  // The peer's own connection keeps the first monitor busy; ours is the second.
  await using _peer: Peer = await startPeer(kind, {
    memory: '16M',
    running: true,
    args: ['-qmp', `unix:${path},server=on,wait=off`],
  });
  await using client = await LineClient.connect({ path });
  expect(await client.next()).toMatchObject({ QMP: { capabilities: ['oob'] } });
  if (negotiated) {
    client.send({ execute: 'qmp_capabilities', arguments: { enable: ['oob'] } });
    await client.next();
  }
  const answers: Answer[] = [];
  for (const [index, input] of inputs.entries()) {
    const text = typeof input === 'string' ? input : JSON.stringify({ execute: input[0], arguments: input[1] });
    answers.push(await answerTo(client, text, `end ${index}`));
  }
  return answers;
}

async function answerTo(client: LineClient, text: string, mark: string): Promise<Answer> {
  const replies: unknown[] = [];
  const events: unknown[] = [];
  // The newline ends whatever the input left open in the lexer.
  client.send(`${text}\n{"execute": "query-name", "id": "${mark}"}`);
  for (;;) {
    const message = await client.next();
    if (typeof message !== 'object' || message === null) throw new Error(`connection closed after ${text}`);
    if ('id' in message && message.id === mark) return { input: text, replies, events };
    if ('event' in message) events.push({ ...message, timestamp: undefined });
    else replies.push(message);
  }
}
