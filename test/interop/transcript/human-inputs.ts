/** Lines of the human monitor. */

import { human, type Input } from './input.ts';

/** Commands and what `info` tells. */
export const HUMAN: readonly Input[] = [
  ...['', ' ', 'foo', 'info foo', 'cont;stop', 'info status', 'info  status ', 'info status x', 'stop x', 'q x'],
  ...['stop', 'info status', 'system_reset', 'info status', 'c', 'info status', 'info migrate'],
  ...['info migrate_capabilities', 'info migrate_parameters', 'migrate', 'migrate -d', 'migrate -x tcp:1'],
  ...['migrate -d "exec:cat', 'migrate -d tcp:a:1 b', 'migrate "foo\\"a\\n"', 'migrate "foo\\q"', "migrate 'foo bar'"],
  ...['migrate -d foo:bar', 'migrate foo', 'migrate -d -r exec:false', 'migrate -dr exec:false', 'migrate_cancel'],
  ...['migrate_cancel x', 'migrate_continue', 'migrate_continue foo', 'migrate_pause', 'migrate_recover x'],
  ...['migrate -d -d foo', 'migrate -r -d foo', 'migrate -r -d', 'migrate_incoming foo', 'migrate_incoming tcp:'],
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
  ...[
    'help',
    'help migrate',
    'help x_colo_lost_heartbeat',
    'help nope',
    'help info nope',
    'help q',
    'info',
    'info name',
    'info uuid',
  ],
  ...[
    'info memory_size_summary',
    'info version',
    'info block',
    'info cpus',
    'print 1',
    'object_add',
    'savevm x',
    'nmi',
    'cancel_vcpu_dirty_limit 1+1',
  ],
  ...[
    'client_migrate_info',
    'client_migrate_info spice',
    'client_migrate_info spice h',
    'client_migrate_info x h 1 2 s',
  ],
  ...['client_migrate_info spice h x', 'client_migrate_info spice h 1 2 s t'],
  ...['x_colo_lost_heartbeat', 'x_colo_lost_heartbeat x', 'system_wakeup', 'migrate_set_capability zero-blocks on'],
  ...['migrate_set_capability zero-blocks off', 'migrate file:/nonexistent/a', 'migrate_continue none', 'migrate -b x'],
  ...[
    'migrate_set_downtime 1',
    'migrate_set_speed 1',
    'info migrate -a',
    'INFO status',
    'info\tstatus',
    '\t info status',
  ],
  ...[
    "info 'status'",
    'info "status"',
    '# x',
    '\u00e9',
    'info \u00e9',
    'migrate \u00e9',
    'info status\nstop',
    '"',
    'x'.repeat(5000),
  ],
].map(human);

const SIZES = [
  ...[
    '1.5',
    '-1',
    '-0',
    '-1k',
    '-1.5',
    '0.1',
    '1.',
    '.5',
    '1.5k',
    '1.5M',
    '0.5E',
    '15E',
    '16E',
    '1e',
    '1e3',
    '+1',
    '01',
  ],
  ...['1b', '1B', '1kb', '1KiB', '0x10', '0x', '0x10k', '0x1.8', '18446744073709551615', '18446744073709551616', '1 '],
];

/** Sizes as the human monitor reads them. */
export const HUMAN_SIZES: readonly Input[] = [
  ...[
    'downtime-limit',
    'xbzrle-cache-size',
    'max-postcopy-bandwidth',
    'announce-max',
    'max-bandwidth',
    'multifd-channels',
  ],
  'x-checkpoint-delay',
].flatMap((name) => SIZES.map((size) => human(`migrate_set_parameter ${name} ${size}`)));
