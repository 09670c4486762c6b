/** Commands in the right and in the wrong state of machine and migration: one machine, started so, for each session. */

import { human, type Input, incoming, migrate, migrateTo, type Session, switchCapabilities } from './input.ts';

const ASK: readonly Input[] = [['query-status'], ['query-migrate'], ['query-yank'], human('info status')];
const CONTROL: readonly Input[] = [
  ...['pre-switchover', 'active', 'none', 'setup', 'device'].map((state): Input => ['migrate-continue', { state }]),
  ...['migrate-pause', 'migrate-start-postcopy', 'migrate_cancel'].map((command): Input => [command]),
  ['migrate-recover', { uri: 'tcp:0:0' }],
  migrate('exec:cat', { resume: true }),
];
const RUN: readonly Input[] = ['stop', 'query-status', 'stop', 'cont', 'query-status', 'cont', 'system_reset', 'stop']
  .concat('query-status', 'system_reset', 'query-status', 'cont', 'query-status')
  .map((command): Input => [command]);
const parameters = (values: object): Input => ['migrate-set-parameters', values];
const global = (text: string) => ['-global', `migration.${text}`];
const until = (...statuses: readonly string[]): Input => ({ until: statuses });
const INTO_NOTHING = 'exec:cat>/dev/null';
const CANONICAL = 'x-use-canonical-path-for-ramblock-id';
const NOWHERE = 'unix:{dir}/nobody';
const unixAddress = (more: object) => ({ transport: 'socket', type: 'unix', ...more });

const channel = (type: string) => ({ 'channel-type': type, addr: unixAddress({ path: '{dir}/nobody' }) });

/** A machine with more RAM than a pipe holds, which nobody reads. */
const STAYS_ACTIVE: readonly Input[] = [
  switchCapabilities(['events', true]),
  parameters({ 'max-bandwidth': 10, 'downtime-limit': 0 }),
  migrate('exec:exec sleep 6 2>/dev/null'),
  until('active'),
];

/** See the header. */
export const SESSIONS = {
  'nothing has happened': {
    running: true,
    inputs: [...ASK, ...CONTROL, ...RUN, incoming('tcp:0:0'), migrate('defer')],
  },
  'never started': { running: false, inputs: [...ASK, ...CONTROL, ...RUN] },
  'with a name': {
    running: true,
    args: ['-name', 'vm é', '-uuid', '00112233-4455-6677-8899-aabbccddeeff'],
    inputs: [['query-name'], ['query-uuid'], human('info name'), human('info uuid')],
  },
  'with other globals': {
    running: true,
    args: [
      ...['store-global-state=off', 'send-configuration=off', 'send-section-footer=off'].flatMap(global),
      ...['send-switchover-start=off', 'x-clear-bitmap-shift=10'].flatMap(global),
      '-only-migratable',
    ],
    inputs: [human('info migrate')],
  },
  'that sends deltas': {
    running: true,
    args: global('x-xbzrle=on'),
    inputs: [migrate(INTO_NOTHING), until('completed'), human('info migrate')],
  },
  'waiting for an address': {
    incoming: 'defer',
    running: true,
    inputs: [
      ...ASK,
      ...CONTROL,
      ...RUN,
      ...[INTO_NOTHING, 'foo', 'file:{dir}/x'].map((uri) => migrate(uri)),
      ...['foo', '', 'tcp:', 'tcp:x', 'unix:', 'fd:', 'vsock:', 'vsock:1', 'defer'].map(incoming),
      ['migrate-incoming', {}],
      ['migrate-incoming', { channels: [] }],
      ...[
        ['main', 'main'],
        ['main', 'cpr'],
      ].map((types): Input => ['migrate-incoming', { channels: types.map((type) => channel(type)) }]),
      switchCapabilities(['multifd', true]),
      ...['exec:cat', 'fd:3', 'file:{dir}/x'].map(incoming),
      switchCapabilities(['mapped-ram', true]),
      incoming('unix:{dir}/in'),
      ...ASK,
    ],
  },
  'an incoming migration that cannot listen': {
    incoming: 'defer',
    running: true,
    inputs: [incoming('unix:{dir}/none/in'), ['query-migrate'], incoming('unix:{dir}/in'), ['query-migrate']],
  },
  'an incoming migration from a file that is not there': {
    incoming: 'defer',
    running: true,
    inputs: [incoming('file:{dir}/none'), ['query-migrate']],
  },
  'an incoming migration by a descriptor without a name': {
    incoming: 'defer',
    running: true,
    inputs: [incoming('fd:nope'), ['query-migrate']],
  },
  'an incoming migration by a descriptor that is none': {
    incoming: 'defer',
    running: true,
    inputs: [incoming('fd:3x')],
  },
  listening: {
    incoming: 'defer',
    running: true,
    inputs: [
      switchCapabilities(['multifd', true], ['events', true]),
      incoming('unix:{dir}/in'),
      switchCapabilities(['multifd', true]),
      switchCapabilities(['multifd', false]),
      switchCapabilities(['return-path', true]),
      ...ASK,
      ...CONTROL,
      ...RUN,
      incoming('unix:{dir}/in2'),
      migrate(INTO_NOTHING),
      human('info migrate'),
      human('migrate_incoming tcp:0:0'),
    ],
  },
  'listening at an abstract name': {
    incoming: 'defer',
    running: true,
    inputs: [
      [
        'migrate-incoming',
        {
          channels: [
            { 'channel-type': 'main', addr: unixAddress({ path: 'transcript-{tag}', abstract: true, tight: false }) },
          ],
        },
      ],
      ['query-migrate'],
      human('info migrate'),
    ],
  },
  completed: {
    running: true,
    inputs: [
      switchCapabilities(['events', true]),
      migrate(INTO_NOTHING),
      until('completed'),
      ...ASK,
      human('info migrate'),
      ['query-migrationthreads'],
      ...CONTROL,
      migrate(INTO_NOTHING),
      incoming('tcp:0:0'),
      ['stop'],
      ['cont'],
      ['query-status'],
      migrate(INTO_NOTHING),
      until('completed'),
      ['system_reset'],
      ['query-status'],
      migrate(INTO_NOTHING),
      until('completed'),
      ['query-status'],
      ...RUN,
    ],
  },
  'of a guest that stands still': {
    running: true,
    inputs: [
      switchCapabilities(['events', true]),
      ['stop'],
      migrate(INTO_NOTHING),
      until('completed'),
      ...ASK,
      ['cont'],
      ['query-status'],
    ],
  },
  failed: {
    running: true,
    inputs: [
      switchCapabilities(['events', true]),
      migrate(NOWHERE),
      until('failed'),
      ...ASK,
      ...CONTROL,
      ...ASK,
      migrate('file:/nonexistent/x'),
      ...ASK,
      migrate('fd:nope'),
      ...ASK,
      migrate('fd:5'),
      ['query-migrate'],
      migrateTo({ transport: 'socket', type: 'fd', str: 'abc' }),
      ['query-migrate'],
      ['migrate', { channels: [channel('cpr'), channel('main')] }],
      until('failed'),
      ['query-migrate'],
      migrateTo(unixAddress({ path: 'nobody-{tag}', abstract: true })),
      until('failed'),
      ['query-migrate'],
      migrateTo(unixAddress({ path: 'x'.repeat(108), abstract: true })),
      until('failed'),
      ['query-migrate'],
      ...[
        `unix:/${'x'.repeat(108)}`,
        'unix:{dir}/none/x',
        'tcp:[::1]:1',
        'tcp:[::1]:1,ipv4=on',
        'tcp:127.0.0.1:1,ipv6=on',
      ]
        .concat('file:/dev/null,offset=0x10', 'file:{dir}')
        .flatMap((uri): Input[] => [migrate(uri), until('failed'), ['query-migrate']]),
      human('info migrate'),
    ],
  },
  'refused before anything happens': {
    running: true,
    inputs: [
      switchCapabilities(['multifd', true]),
      ...['exec:cat', 'fd:1', 'file:{dir}/z'].map((uri) => migrate(uri)),
      switchCapabilities(['multifd', false], ['mapped-ram', true]),
      ...['tcp:127.0.0.1:1', 'exec:cat', 'unix:{dir}/x'].map((uri) => migrate(uri)),
      ...ASK,
    ],
  },
  'held before the switchover': {
    running: true,
    inputs: [
      switchCapabilities(['pause-before-switchover', true], ['events', true]),
      migrate(INTO_NOTHING),
      until('pre-switchover'),
      ...ASK,
      ...['stop', 'cont', 'system_reset', 'query-status'].map((command): Input => [command]),
      switchCapabilities(['xbzrle', true]),
      parameters({ 'downtime-limit': 400 }),
      migrate(INTO_NOTHING),
      incoming('tcp:0:0'),
      ['migrate-continue', { state: 'active' }],
      ['migrate-continue', { state: 'pre-switchover' }],
      until('completed'),
      ['query-status'],
      ['migrate-continue', { state: 'completed' }],
      ['cont'],
      migrate(INTO_NOTHING),
      until('pre-switchover'),
      ['migrate-start-postcopy'],
      ['migrate-pause'],
      ['migrate_cancel'],
      until('cancelled'),
      ['query-status'],
      ['query-yank'],
    ],
  },
  'under way': {
    memory: '64M',
    running: true,
    inputs: [
      ...STAYS_ACTIVE,
      switchCapabilities(['events', false]),
      switchCapabilities(),
      migrate('exec:cat'),
      migrate('foo'),
      migrate('exec:cat', { resume: true }),
      ['query-yank'],
      ...['stop', 'query-status', 'cont', 'system_reset'].map((command): Input => [command]),
      ['migrate-start-postcopy'],
      ['migrate-pause'],
      ['migrate-continue', { state: 'active' }],
      ['calc-dirty-rate', { 'calc-time': 1, mode: 'dirty-bitmap' }],
      ['query-migrate'],
      ['query-migrationthreads'],
      ['migrate_cancel'],
      until('cancelled'),
      ...ASK,
      ['query-migrationthreads'],
    ],
  },
  yanked: {
    memory: '64M',
    running: true,
    inputs: [
      ...STAYS_ACTIVE,
      ['yank', { instances: [{ type: 'migration' }, { type: 'block-node', 'node-name': 'n' }] }],
      ['query-status'],
      ['migrate_cancel'],
      until('cancelled'),
      ['yank', { instances: [{ type: 'migration' }] }],
    ],
  },
  'asked for a channel of another kind': {
    running: true,
    inputs: [['migrate', { channels: [{ 'channel-type': 'cpr', addr: { transport: 'exec', args: ['a'] } }] }]],
  },
  'asked to wait on a channel of another kind': {
    incoming: 'defer',
    running: true,
    inputs: [['migrate-incoming', { channels: [channel('cpr')] }]],
  },
  'asked for a command that is none': { running: true, inputs: [migrateTo({ transport: 'exec', args: [] })] },
  'asked for RDMA without an address': { running: true, inputs: [migrate('rdma:')] },
  'asked for RDMA': { running: true, inputs: [migrate('rdma:127.0.0.1:1'), ['query-migrate']] },
  'asked for vsock': { running: true, inputs: [migrate('vsock:2:1'), until('failed', 'none'), ['query-migrate']] },
  'asked to wait at vsock': { incoming: 'defer', running: true, inputs: [incoming('vsock:2:1'), ['query-migrate']] },
  'asked to read a descriptor that is not open': {
    incoming: 'defer',
    running: true,
    inputs: [incoming('fd:999'), ['query-migrate']],
  },
  'whose command fails': {
    running: true,
    memory: '64M',
    inputs: [migrate('exec:exit 3'), until('failed'), ['query-migrate']],
  },
  'asked for no host': { running: true, inputs: [migrate('tcp::1'), until('failed'), ['query-migrate']] },
  'asked for a port beyond all': {
    running: true,
    inputs: [migrate('tcp:127.0.0.1:65537'), until('failed'), ['query-migrate']],
  },
  'asked for snapshots': {
    running: true,
    inputs: [
      ['snapshot-save', { 'job-id': 'a', tag: 't', vmstate: 'v', devices: [] }],
      ['query-jobs'],
      ['job-dismiss', { id: 'a' }],
    ],
  },
  'asked for TLS into a file': {
    running: true,
    inputs: [parameters({ 'tls-creds': 'nope' }), migrate('file:{dir}/stream'), ['query-migrate']],
  },
  'asked for a way back from a file': {
    running: true,
    inputs: [
      switchCapabilities(['return-path', true], ['events', true]),
      migrate('file:{dir}/stream'),
      until('failed', 'none'),
      ['query-status'],
      ['query-migrate'],
    ],
  },
  'asked for a compressed file of pages': {
    running: true,
    inputs: [
      switchCapabilities(['mapped-ram', true]),
      parameters({ 'multifd-compression': 'zlib' }),
      parameters({ 'multifd-compression': 'none' }),
    ],
  },
  'asked for names of bitmaps': {
    running: true,
    inputs: [parameters({ 'block-bitmap-mapping': [{ 'node-name': 'n', alias: 'a', bitmaps: [] }] })],
  },
  'asked to place memory': {
    running: true,
    inputs: [
      ['object-add', { 'qom-type': 'memory-backend-ram', id: 'b', size: 4096, 'host-nodes': [0], policy: 'bind' }],
      ['object-add', { 'qom-type': 'memory-backend-ram', id: 'c', size: 4096, [CANONICAL]: true }],
      ['object-add', { 'qom-type': 'memory-backend-ram', id: 'd', size: 4096, [CANONICAL]: false }],
    ],
  },
  'asked for more memory than there is': {
    running: true,
    inputs: [['object-add', { 'qom-type': 'memory-backend-ram', id: 'z', size: -1 }]],
  },
} as const satisfies Readonly<Record<string, Session>>;
