/** Inputs that QEMU 10.0.2 answers otherwise than we do, both answers, and the place in docs/differences.md that says why. */

import { expect } from 'vitest';
import { OBJECT_TYPE_NAMES } from '../../../src/migration/objects/object-kinds.ts';
import { CAPABILITIES, CAPABILITY_NAMES } from '../../../src/migration/options/capabilities.ts';
import { COMMANDS } from '../../../src/qmp/commands.ts';
import { ALL_EVENTS } from '../../support/transcript.ts';
import { human, type Input, incoming, migrate, migrateTo, switchCapabilities, textOf } from './input.ts';
import type { SESSIONS } from './state-inputs.ts';

/** A row; replies may contain vitest's asymmetric matchers. */
export interface Difference {
  /** The text that is sent. */
  readonly input: string;
  /** The session in which the answers differ; absent where they always do. */
  readonly session?: keyof typeof SESSIONS;
  readonly theirs: readonly unknown[];
  readonly ours: readonly unknown[];
  /** A text that docs/differences.md has. */
  readonly listed: string;
}

const done = { return: {} };
const value = (result: unknown) => ({ return: result });
const error = (desc: unknown) => ({ error: { class: 'GenericError', desc } });
const containing = (text: string) => expect.stringContaining(text) as unknown;
const superset = (elements: readonly object[]) => value(expect.arrayContaining(elements.map(partly)));
const partly = (element: object) => expect.objectContaining(element) as unknown;

/** Rows of one paragraph. */
function paragraph(
  listed: string,
  ...rows: readonly (readonly [input: Input | string, theirs: unknown, ours: unknown])[]
): Difference[] {
  return rows.map(([input, theirs, ours]) => ({ input: text(input), theirs: [theirs], ours: [ours], listed }));
}

/** Rows of one paragraph that hold in one session. */
function inSession(session: keyof typeof SESSIONS, rows: readonly Difference[]): Difference[] {
  return rows.map((row) => ({ ...row, session }));
}

/** The row of a session whose events differ. */
function events(session: keyof typeof SESSIONS, listed: string): Difference {
  return { input: ALL_EVENTS, session, theirs: [], ours: [], listed };
}

function text(input: Input | string): string {
  if (typeof input === 'object' && 'until' in input) throw new Error('nothing is sent while it waits');
  return textOf(input);
}

const echoed = (id: string) => `{"execute": "query-name", "id": ${id}}`;
const noJson = (id: string) => `not JSON: {"return": {}, "id": ${id}}`;
const tooLarge = (number: string) => error(`JSON parse error, number '${number}' is too large`);
const notThere = (name: string) => value(`unknown command: '${name}'\r\n`);

const JSON_ROWS = [
  ...paragraph(
    '**A number that is too large is an error.**',
    [echoed('1e309'), noJson('inf'), tooLarge('1e309')],
    [echoed('1e400'), noJson('inf'), tooLarge('1e400')],
    [echoed('-1e400'), noJson('-inf'), tooLarge('-1e400')],
    [echoed('[1e999]'), noJson('[inf]'), tooLarge('1e999')],
  ),
  ...paragraph(
    '**`0e0` is a number.**',
    [echoed('0e0'), error('JSON parse error, expected separator in dict'), { ...done, id: 0 }],
    [echoed('-0e1'), error('JSON parse error, expected separator in dict'), { ...done, id: '#-0' }],
  ),
  ...paragraph('**Of several members that are unexpected the first is named.**', [
    '{"execute": "query-name", "arguments": {"a": 1, "b": 2}}',
    error("Parameter 'b' is unexpected"),
    error("Parameter 'a' is unexpected"),
  ]),
];

const WITHOUT_PATH = CAPABILITY_NAMES.filter(
  (name) => CAPABILITIES[name].dataPath !== true && !['zero-blocks', 'late-block-activate'].includes(name),
);

const OPTION_ROWS = [
  ...paragraph(
    '**Nothing can be switched on that would do nothing.**',
    ...ALONE().map((name): [Input, unknown, unknown] => [
      switchCapabilities([name, true]),
      done,
      error(containing(`Capability '${name}' cannot be switched on: this build has no data path for it yet`)),
    ]),
    [
      ['migrate-set-parameters', { mode: 'cpr-transfer' }],
      done,
      error(containing('this build has no data path for it yet')),
    ],
  ),
  ...paragraph(
    '**An accelerator for compression is refused with the reason.**',
    ...['qpl', 'uadk', 'qatzip'].map((name): [Input, unknown, unknown] => [
      ['migrate-set-parameters', { 'multifd-compression': name }],
      error(`Parameter 'multifd-compression' does not accept value '${name}'`),
      error(`Parameter 'multifd-compression' does not accept value '${name}': this build has no such accelerator`),
    ]),
  ),
  ...inSession(
    'asked for names of bitmaps',
    paragraph('**Nothing can be switched on that would do nothing.**', [
      ['migrate-set-parameters', { 'block-bitmap-mapping': [{ 'node-name': 'n', alias: 'a', bitmaps: [] }] }],
      done,
      error(containing('there are no block devices')),
    ]),
  ),
  ...inSession(
    'asked for a compressed file of pages',
    paragraph(
      '**A bad parameter is refused when it is set.**',
      [
        ['migrate-set-parameters', { 'multifd-compression': 'zlib' }],
        done,
        error('Mapped-ram only available for non-compressed non-TLS multifd migration'),
      ],
      [
        ['migrate-set-parameters', { 'multifd-compression': 'none' }],
        error('Mapped-ram only available for non-compressed non-TLS multifd migration'),
        done,
      ],
    ),
  ),
];

/** Without a data path, and QEMU lets them be switched on alone. */
function ALONE(): string[] {
  return WITHOUT_PATH.filter((name) => name !== 'postcopy-preempt');
}

const HUMAN_ROWS = paragraph(
  '**HMP knows what this machine has.**',
  [human('help'), value(containing('screendump')), value(containing('migrate [-d] [-r] uri -- migrate to a URI'))],
  [
    human('help migrate'),
    value(containing('migrate [-d] [-r] uri -- ')),
    value(containing('migrate [-d] [-r] uri -- ')),
  ],
  [human('help x_colo_lost_heartbeat'), value(containing(' -- Tell COLO')), value(containing(' -- fail over'))],
  [human('help q'), value('quit|q  -- quit the emulator\r\n'), value('quit|q  -- end the process\r\n')],
  [human('info'), value(containing('info tpm ')), value(containing('info migrate  -- how'))],
  [human('info block'), value(''), notThere('info block')],
  [human('info cpus'), value(''), notThere('info cpus')],
  [human('print 1'), value('0x1\r\n'), notThere('print')],
  [human('object_add'), value(containing('object_add: string expected')), notThere('object_add')],
  [human('savevm x'), value(containing('no block device')), notThere('savevm')],
  [human('nmi'), value('Error: machine does not provide NMIs\r\n'), notThere('nmi')],
  [human('cancel_vcpu_dirty_limit 1+1'), value(containing('Please use')), value(containing("invalid char '+'"))],
);

const RAM = { 'qom-type': 'memory-backend-ram', size: 4096 };
const OBJECT_ROWS = [
  ...paragraph(
    '**Objects are those that migration makes use of.**',
    [['object-add', { 'qom-type': 'iothread', id: 'i' }], done, error(containing("does not accept value 'iothread'"))],
    [['object-del', { id: 'i' }], done, error("object 'i' not found")],
    [
      ['object-add', { 'qom-type': 'secret', id: 'j' }],
      error("Either 'file' or 'data' must be provided"),
      error("Parameter 'qom-type' does not accept value 'secret'"),
    ],
    [
      ['object-add', { 'qom-type': 'tls-creds-x509', id: 'z', passwordid: 'a', dir: '/nonexistent' }],
      error(containing('Unable to access credentials')),
      error("Parameter 'passwordid' is unexpected"),
    ],
    ...typeRows(),
  ),
  ...inSession(
    'asked to place memory',
    paragraph(
      '**Memory is placed by the system.**',
      [
        ['object-add', { 'qom-type': RAM['qom-type'], id: 'b', size: 4096, 'host-nodes': [0], policy: 'bind' }],
        done,
        error(containing('policy bind is not implemented')),
      ],
      [
        [
          'object-add',
          { 'qom-type': RAM['qom-type'], id: 'c', size: 4096, 'x-use-canonical-path-for-ramblock-id': true },
        ],
        done,
        error(containing('is not implemented')),
      ],
    ),
  ),
];

function typeRows(): [Input, unknown, unknown][] {
  const types = OBJECT_TYPE_NAMES.map((name) => ({ name }));
  const named = (prefix: string) => types.filter(({ name }) => name.startsWith(prefix));
  const machines = [{ name: 'harness-machine' }, { name: 'none-machine' }];
  const exactly = (elements: readonly object[]) => value(elements.map(partly));
  const of = (name: string): Input => ['qom-list-types', { implements: name }];
  return [
    [of('machine'), superset(machines.slice(1)), exactly(machines)],
    [of('authz'), superset(named('authz')), exactly(named('authz'))],
    [of('tls-creds'), superset(named('tls-creds')), exactly(named('tls-creds'))],
    [of('user-creatable'), superset(types), exactly(types)],
    [
      ['qom-list-types'],
      superset([...types, machines[1]!]),
      value(expect.arrayContaining([...types, ...machines].map(partly))),
    ],
  ];
}

const NO_DESCRIPTOR = 'No file descriptor supplied via SCM_RIGHTS';
const noDescriptor = (input: Input): [Input, unknown, unknown] => [
  input,
  error(NO_DESCRIPTOR),
  error(`${NO_DESCRIPTOR}: the monitors of Switchover cannot receive any`),
];

const MACHINE_ROWS = [
  ...paragraph(
    '**The package says who this is.**',
    [
      ['query-version'],
      value({ qemu: expect.anything(), package: expect.not.stringContaining('Switchover') }),
      value({ qemu: { major: 10, minor: 0, micro: 2 }, package: containing('Switchover ') }),
    ],
    [human('info version'), value(containing('10.')), value(containing('10.0.2Switchover '))],
  ),
  ...paragraph(
    '**Commands and machine types are those that are here.**',
    [['query-commands'], superset(commandNames()), value(commandNames())],
    [['query-qmp-schema'], value(expect.anything()), value(expect.anything())],
    [
      ['query-machines'],
      superset([{ name: 'none', 'default-ram-id': 'ram' }]),
      value([{ name: 'harness' }, { name: 'none' }].map(partly)),
    ],
    [['query-kvm'], value({ enabled: false, present: true }), value({ enabled: false, present: false })],
  ),
  ...paragraph(
    '**No file descriptors.**',
    ...[{ fdname: 'a' }, { fdname: '' }].map((args) => noDescriptor(['getfd', args])),
    ...[{}, { 'fdset-id': -1 }, { 'fdset-id': 1 }].map((args) => noDescriptor(['add-fd', args])),
  ),
  ...paragraph(
    '**`pmemsave` saves guest RAM.**',
    [
      ['pmemsave', { val: -1, size: 16, filename: '/nonexistent/a' }],
      error(containing('Could not open')),
      error(containing('guest RAM has')),
    ],
    [['pmemsave', { val: 16_777_200, size: 32, filename: '{dir}/memory' }], done, error(containing('guest RAM has'))],
  ),
  ...inSession(
    'asked for snapshots',
    paragraph(
      '**No jobs for snapshots.**',
      [
        ['snapshot-save', { 'job-id': 'a', tag: 't', vmstate: 'v', devices: [] }],
        done,
        error(containing('there are no block devices')),
      ],
      [['query-jobs'], value([expect.objectContaining({ id: 'a', status: 'concluded' })]), value([])],
      [['job-dismiss', { id: 'a' }], done, error('Job not found')],
    ),
  ),
];

function commandNames(): { name: string }[] {
  return Object.keys(COMMANDS)
    .toSorted()
    .map((name) => ({ name }));
}

const info = ['query-migrate'] as const;
const nothing = value({});
const failed = (desc: unknown) => value({ status: 'failed', 'error-desc': desc });
const setup = value({ status: 'setup' });
const NO_RDMA = 'there is no RDMA transport';
const NO_VSOCK = 'Node has no sockets of the family vsock';
const noTransport = (uri: string, why: string) => error(`cannot use '${uri}': ${why}`);

const AGAIN = '**An incoming migration that cannot listen may be tried again.**';
const INCOMING_ROWS = [
  ...inSession(
    'an incoming migration that cannot listen',
    paragraph(
      AGAIN,
      [incoming('unix:{dir}/in'), error('Illegal migration incoming state: setup'), done],
      [info, setup, value(expect.anything())],
    ),
  ),
  ...inSession('an incoming migration by a descriptor without a name', paragraph(AGAIN, [info, setup, nothing])),
  ...inSession('an incoming migration from a file that is not there', paragraph(AGAIN, [info, setup, nothing])),
  ...inSession(
    'asked to read a descriptor that is not open',
    paragraph(
      '**A descriptor is looked at when it is named.**',
      [incoming('fd:999'), done, error('Cannot use file descriptor 999: Bad file descriptor')],
      [info, setup, nothing],
    ),
  ),
];

const CPR = '**A destination has no channel `cpr`.**';
const CPR_ROW = inSession(
  'asked to wait on a channel of another kind',
  paragraph(CPR, [
    [
      'migrate-incoming',
      { channels: [{ 'channel-type': 'cpr', addr: { transport: 'socket', type: 'unix', path: '{dir}/nobody' } }] },
    ],
    done,
    error("Channel list must have only one entry, for type 'main'"),
  ]),
);
const WHAT_ENDS = '**What ends QEMU 10.0.2 is refused here**';
const TRANSPORTS = '`vsock:` and `rdma:` are refused';
const SOURCE_ROWS = [
  ...inSession(
    'asked for a channel of another kind',
    paragraph(WHAT_ENDS, [
      ['migrate', { channels: [{ 'channel-type': 'cpr', addr: { transport: 'exec', args: ['a'] } }] }],
      'closed',
      error('Channel list has no main entry'),
    ]),
  ),
  ...inSession(
    'asked for a command that is none',
    paragraph(WHAT_ENDS, [migrateTo({ transport: 'exec', args: [] }), 'closed', error('the argument list is empty')]),
  ),
  ...inSession(
    'asked for RDMA without an address',
    paragraph(WHAT_ENDS, [migrate('rdma:'), 'closed', noTransport('rdma:', NO_RDMA)]),
  ),
  ...inSession(
    'asked for more memory than there is',
    paragraph(WHAT_ENDS, [
      ['object-add', { 'qom-type': 'memory-backend-ram', id: 'z', size: -1 }],
      'closed',
      error(containing("doesn't take value '18446744073709551615'")),
    ]),
  ),
  ...inSession(
    'asked for RDMA',
    paragraph(
      TRANSPORTS,
      [migrate('rdma:127.0.0.1:1'), error(containing('RDMA ERROR')), noTransport('rdma:127.0.0.1:1', NO_RDMA)],
      [info, failed(containing('RDMA ERROR')), nothing],
    ),
  ),
  ...inSession(
    'asked for vsock',
    paragraph(
      TRANSPORTS,
      [migrate('vsock:2:1'), done, noTransport('vsock:2:1', NO_VSOCK)],
      [info, failed(containing("Failed to connect to '2:1'")), nothing],
    ),
  ),
  ...inSession(
    'asked to wait at vsock',
    paragraph(
      TRANSPORTS,
      [incoming('vsock:2:1'), error(containing('socket')), noTransport('vsock:2:1', NO_VSOCK)],
      [info, setup, nothing],
    ),
  ),
  ...inSession(
    'whose command fails',
    paragraph('**A command that fails, fails the migration.**', [
      info,
      failed(expect.not.stringContaining('status 3')),
      failed("the command of 'exec:exit 3' exited with status 3"),
    ]),
  ),
  ...inSession(
    'asked for no host',
    paragraph('**An empty host is this one.**', [
      info,
      failed('address resolution failed for :1: Name or service not known'),
      failed("Failed to connect to ':1': Connection refused"),
    ]),
  ),
  ...inSession(
    'asked for a port beyond all',
    paragraph('**A port is a number up to 65535.**', [
      info,
      failed("Failed to connect to '127.0.0.1:65537': Connection refused"),
      failed(containing('Servname not supported for ai_socktype')),
    ]),
  ),
  ...inSession(
    'asked for TLS into a file',
    paragraph(
      '**TLS needs a socket.**',
      [migrate('file:{dir}/stream'), done, error(containing('TLS needs a socket'))],
      [info, failed("No TLS credentials with id 'nope'"), nothing],
    ),
  ),
  ...inSession('asked for a way back from a file', [
    ...paragraph(
      '**A return path needs a transport that goes both ways.**',
      [migrate('file:{dir}/stream'), done, error(containing('needs a transport that goes both ways'))],
      [info, failed('Unable to read from file: Bad file descriptor'), nothing],
    ),
    events('asked for a way back from a file', '**A return path needs a transport that goes both ways.**'),
  ]),
  ...inSession(
    'under way',
    paragraph('**The dirty bitmap is measured between migrations.**', [
      ['calc-dirty-rate', { 'calc-time': 1, mode: 'dirty-bitmap' }],
      done,
      error(containing('is not possible while a migration')),
    ]),
  ),
];

/** See the header. */
export const DIFFERENCES: readonly Difference[] = [
  ...[...JSON_ROWS, ...OPTION_ROWS, ...HUMAN_ROWS, ...OBJECT_ROWS],
  ...[...MACHINE_ROWS, ...INCOMING_ROWS, ...CPR_ROW, ...SOURCE_ROWS],
];
