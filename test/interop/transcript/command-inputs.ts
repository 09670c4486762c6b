/** Commands of migration with right and wrong arguments. */

import { CAPABILITY_NAMES, CAPABILITIES as TABLE } from '../../../src/migration/options/capabilities.ts';
import { PARAMETER_NAMES } from '../../../src/migration/options/parameters.ts';
import { human, type Input, migrateTo, switchCapabilities } from './input.ts';

/** Commands without arguments, one after the other. */
export const COMMANDS: readonly Input[] = [
  ...['query-name', 'query-uuid', 'query-status', 'query-target', 'query-cpus-fast', 'query-memory-size-summary'],
  ...['query-migrationthreads', 'query-migrate', 'query-migrate-capabilities', 'query-migrate-parameters'],
  ...['query-events', 'migrate-pause', 'migrate-recover', 'migrate-start-postcopy', 'migrate_cancel', 'migrate'],
  ...['migrate-incoming', 'migrate-continue', 'pmemsave', 'memsave', 'human-monitor-command'],
  ...['migrate-set-capabilities', 'migrate-set-parameters', 'stop', 'stop', 'query-status', 'cont', 'cont'],
  ...['stop', 'system_reset', 'query-status', 'system_reset', 'cont', 'query-status'],
].map((command): Input => [command]);

const nobody = (type: string) => ({
  'channel-type': type,
  addr: { transport: 'socket', type: 'unix', path: '{dir}/nobody' },
});

/** Commands with arguments. */
export const ARGUMENTS: readonly Input[] = [
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
  ...[
    ['main', 'main'],
    ['main', 'cpr', 'cpr'],
    ['cpr', 'main', 'cpr'],
  ].map((types): Input => ['migrate', { channels: types.map(nobody) }]),
  migrateTo(7),
  migrateTo({}),
  migrateTo({ transport: 'x' }),
  migrateTo({ transport: 1 }),
  migrateTo({ transport: 'socket' }),
  migrateTo({ transport: 'socket', type: 'y' }),
  migrateTo({ transport: 'socket', type: 'inet', host: 'a' }),
  migrateTo({ transport: 'socket', type: 'inet', host: 'a', port: 1 }),
  migrateTo({ transport: 'socket', type: 'inet', host: 'a', port: '1', z: 1 }),
  migrateTo({ transport: 'socket', type: 'inet', host: 'a', port: '1', ipv4: 1 }),
  migrateTo({ transport: 'socket', type: 'inet', host: 'a', port: '1', to: 70_000 }),
  migrateTo({ transport: 'socket', type: 'unix' }),
  migrateTo({ transport: 'socket', type: 'vsock' }),
  migrateTo({ transport: 'socket', type: 'fd', str: 'abc', z: 1 }),
  migrateTo({ transport: 'file', filename: 'a' }),
  migrateTo({ transport: 'file', filename: 'a', offset: 1.5 }),
  migrateTo({ transport: 'exec' }),
  migrateTo({ transport: 'exec', args: [1] }),
  migrateTo({ transport: 'rdma', host: 'a' }),
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

const REMOVED = [
  'compress-level',
  'compress-threads',
  'compress-wait-thread',
  'decompress-threads',
  'block-incremental',
];
const VALUES = [
  ...['0', '1', '-1', '255', '256', '65536', '4294967295', '4294967296', '9223372036854775807', '9223372036854775808'],
  ...['18446744073709551615', '18446744073709551616', '-9223372036854775808', '-9223372036854775809', '1.0', '1e3'],
  ...['-0', 'true', 'null', '"x"', '""', '"1"', '[]', '{}'],
];

/** Every parameter, and the removed ones, with values at all edges. */
export const PARAMETERS: readonly Input[] = [
  ...[...PARAMETER_NAMES, ...REMOVED].flatMap((name) =>
    VALUES.map((value) => `{"execute": "migrate-set-parameters", "arguments": {"${name}": ${value}}}`),
  ),
  ...['qpl', 'uadk', 'qatzip', 'zlib', 'zstd', 'none'].map(
    (method): Input => ['migrate-set-parameters', { 'multifd-compression': method }],
  ),
  human('info migrate_parameters'),
  ['migrate-set-parameters', { mode: 'cpr-transfer' }],
  ['migrate-set-parameters', { mode: 'normal', 'tls-creds': '', 'tls-hostname': '', 'tls-authz': '' }],
  ['query-migrate-parameters'],
];

/** Every capability on, seen where it can be switched on here, and off again. */
export const CAPABILITIES: readonly Input[] = [
  ...[...CAPABILITY_NAMES, 'compress', 'block', 'nope'].flatMap((name): Input[] => [
    switchCapabilities([name, true]),
    ...(isHere(name) ? ([['query-migrate-capabilities']] as const) : []),
    switchCapabilities([name, false]),
  ]),
  switchCapabilities(['events', true], ['events', false]),
  switchCapabilities(['events', true], ['nope', false]),
  switchCapabilities(['events', 'x']),
  switchCapabilities(['events', null]),
  switchCapabilities([null, true]),
  ['query-migrate-capabilities'],
];

function isHere(name: string): boolean {
  return CAPABILITY_NAMES.some((known) => known === name && TABLE[known].dataPath === true);
}
