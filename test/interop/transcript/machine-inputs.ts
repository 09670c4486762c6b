/** Commands of the machine around its migration: what it lacks, yank, announcements, dirty rates and their limits. */

import { human, type Input } from './input.ts';

const yankOf = (...instances: object[]): Input => ['yank', { instances }];
const bitmap = (verb: string): Input => [`block-dirty-bitmap-${verb}`, { node: 'a', name: 'b' }];

const ABSENT: readonly Input[] = [
  ...['query-block', 'query-named-block-nodes', 'query-block-jobs', 'query-jobs', 'query-fdsets', 'query-iothreads'],
  ...['query-memory-devices', 'query-pci', 'query-rx-filter', 'query-colo-status', 'x-colo-lost-heartbeat'],
  ...['query-current-machine', 'query-hotpluggable-cpus', 'system_wakeup', 'yank', 'closefd', 'remove-fd'],
].map((command): Input => [command]);

/** What a machine here does not have, and what is beside it. */
export const AROUND: readonly Input[] = [
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
  yankOf({ type: 'migration' }, { type: 'migration' }),
  yankOf({}),
  yankOf({ type: 1 }),
  yankOf({ type: 'chardev', id: 1 }),
  yankOf({ type: 'chardev', id: 'x', z: 1 }),
  yankOf({ type: 'migration', id: 'x' }),
  ['yank', { instances: [1] }],
  ['yank', { instances: {} }],
  ['yank', { instances: [], x: 1 }],
  ['query-yank'],
  yankOf({ type: 'chardev', id: 'compat_monitor9' }),
  ...['query-version', 'query-kvm', 'query-machines', 'query-commands', 'query-qmp-schema', 'query-events'].flatMap(
    (command): Input[] => [[command], [command, { x: 1 }]],
  ),
  ['query-machines', { 'compat-props': 1 }],
  ['query-rx-filter', { name: 'x' }],
  ['query-named-block-nodes', { flat: true }],
  ['query-named-block-nodes', { flat: 1 }],
  ...[{}, { fdname: 'a' }, { fdname: '' }, { fdname: 1 }].flatMap((args): Input[] => [
    ['getfd', args],
    ['closefd', args],
  ]),
  ...[{}, { 'fdset-id': -1 }, { 'fdset-id': 1 }, { 'fdset-id': 'a' }, { opaque: 1 }].map(
    (args): Input => ['add-fd', args],
  ),
  ...[{}, { 'fdset-id': -1 }, { 'fdset-id': 1, fd: -1 }].map((args): Input => ['remove-fd', args]),
  ...['', '/machine', '/machine/x', 1].map((id): Input => ['device_del', { id }]),
  ...['client_migrate_info', 'blockdev-snapshot', 'blockdev-snapshot-sync', 'blockdev-snapshot-internal-sync'].map(
    (command): Input => [command],
  ),
  ...[{ protocol: 'spice' }, { protocol: 'spice', port: 1 }, { protocol: 'vnc' }, { protocol: 'spice', port: 'x' }].map(
    (args): Input => ['client_migrate_info', { hostname: 'h', ...args }],
  ),
  ['blockdev-snapshot', { node: 'a', overlay: 'b' }],
  ...[
    {},
    { device: 'a' },
    { 'node-name': 'n' },
    { device: 'a', 'node-name': 'n', mode: 'existing' },
    { mode: 'x' },
  ].map((args): Input => ['blockdev-snapshot-sync', { 'snapshot-file': 'b', ...args }]),
  ['blockdev-snapshot-internal-sync', { device: 'a', name: '' }],
  ...[{}, { device: 'a' }, { device: 'a', id: 'i', name: 'n' }].map(
    (args): Input => ['blockdev-snapshot-delete-internal-sync', args],
  ),
  ...[{}, { enable: true }, { enable: false }, { enable: 1 }].map((args): Input => ['xen-set-global-dirty-log', args]),
  ['snapshot-save', {}],
  ['snapshot-delete', { 'job-id': '1', tag: 't', devices: ['v'] }],
  ['snapshot-save', { 'job-id': 'a b', tag: 't', vmstate: 'v', devices: [] }],
  ['snapshot-save', { 'job-id': 'a', tag: 't', vmstate: 'v', devices: 'x' }],
  ['block-dirty-bitmap-merge', { node: 'a', target: 'b', bitmaps: [1] }],
  ['block-dirty-bitmap-merge', { node: 'a', target: 'b', bitmaps: [{}] }],
  ['block-dirty-bitmap-merge', { node: 'a', target: 'b', bitmaps: ['x', { node: 'a', name: 'b' }] }],
  ['block-dirty-bitmap-add', { node: 'a', name: 'a', granularity: -1 }],
  ['block-dirty-bitmap-add', { node: 'a', name: 'a', granularity: 3 }],
  ['pmemsave', { val: -1, size: 16, filename: '/nonexistent/a' }],
  ['pmemsave', { val: 0, size: 0, filename: '{dir}/memory' }],
  ['pmemsave', { val: 16_777_200, size: 16, filename: '{dir}/memory' }],
  ['pmemsave', { val: 16_777_200, size: 32, filename: '{dir}/memory' }],
  ['memsave', { val: -1, size: 16, filename: '/x', 'cpu-index': -1 }],
];

const calc = (more: object): Input => ['calc-dirty-rate', { 'calc-time': 1, ...more }];

/** Dirty rates, their limits, announcements. */
export const DIRTY: readonly Input[] = [
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
  ...['0x10', '+010', '-5', '"5"', '18446744073709551615', '18446744073709551616', '0x', '1-'].map((rate) =>
    human(`set_vcpu_dirty_limit ${rate}`),
  ),
  ...['cancel_vcpu_dirty_limit 3', 'info vcpu_dirty_limit', 'announce_self', 'announce_self a,b id'].map(human),
  ['migrate-set-capabilities', { capabilities: [{ capability: 'dirty-limit', state: true }] }],
  ['announce-self', { initial: -1, max: 550, rounds: 5000, step: -5 }],
  ['announce-self', { initial: 200_000, max: 1, rounds: 0, step: 0 }],
];
