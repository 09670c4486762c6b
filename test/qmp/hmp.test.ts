import { describe, expect, test } from 'vitest';
import { runHumanCommand } from '../../src/qmp/hmp.ts';
import { RecordingVm } from '../support/recording-vm.ts';

const GLOBALS = [
  'globals:',
  'store-global-state: on',
  'only-migratable: off',
  'send-configuration: on',
  'send-section-footer: on',
  'send-switchover-start: on',
  'clear-bitmap-shift: 18',
];

const RAM = {
  transferred: 23_497 * 1024 + 5,
  remaining: 0,
  total: 16_777_216,
  duplicate: 1166,
  normal: 5860,
  'normal-bytes': 24_002_560,
  'dirty-pages-rate': 0,
  mbps: 46.7449,
  'dirty-sync-count': 3,
  'postcopy-requests': 0,
  'page-size': 4096,
  'multifd-bytes': 0,
  'pages-per-second': 35_692,
  'precopy-bytes': 11_753 * 1024,
  'downtime-bytes': 11_742 * 1024,
  'postcopy-bytes': 0,
  'dirty-sync-missed-zero-copy': 0,
};

function run(line: string, vm = new RecordingVm()): Promise<string> {
  return runHumanCommand(line, { vm, packageVersion: '1.2.3' });
}

// Every text was recorded from QEMU 10.0.2.
describe('lines as QEMU answers them', () => {
  test.for<[string, string]>([
    ['', ''],
    [' ', ''],
    ['foo', "unknown command: 'foo'\r\n"],
    ['info foo', "unknown command: 'info foo'\r\n"],
    ['cont;stop', "unknown command: 'cont;stop'\r\n"],
    ['info status', 'VM status: running\r\n'],
    ['info  status ', 'VM status: running\r\n'],
    [
      'info status x',
      'status: extraneous characters at the end of line\r\nTry "help info status" for more information\r\n',
    ],
    ['stop x', 'stop|s: extraneous characters at the end of line\r\nTry "help stop" for more information\r\n'],
    ['q x', 'quit|q: extraneous characters at the end of line\r\nTry "help q" for more information\r\n'],
    ['migrate', 'migrate: string expected\r\nTry "help migrate" for more information\r\n'],
    ['migrate -d', 'migrate: string expected\r\nTry "help migrate" for more information\r\n'],
    ['migrate -x tcp:1', 'migrate: unsupported option -x\r\nTry "help migrate" for more information\r\n'],
    ['migrate -d -d foo', 'migrate: unsupported option -d\r\nTry "help migrate" for more information\r\n'],
    ['migrate -r -d', 'Error: unknown migration protocol: -d\r\n'],
    ['migrate_incoming foo', 'Error: unknown migration protocol: foo\r\n'],
    ['set_vcpu_dirty_limit -0x5', 'Error: invalid dirty page limit -5\r\n'],
    ['calc_dirty_rate 18446744073709551616', 'number too large\r\nTry "help calc_dirty_rate" for more information\r\n'],
    ['migrate -d "exec:cat', 'migrate: string expected\r\nTry "help migrate" for more information\r\n'],
    [
      'migrate -d tcp:a:1 b',
      'migrate: extraneous characters at the end of line\r\nTry "help migrate" for more information\r\n',
    ],
    ['migrate "foo\\"a\\n"', 'Error: unknown migration protocol: foo"a\r\n\r\n'],
    ['migrate -d foo:bar', 'Error: unknown migration protocol: foo:bar\r\n'],
    ['migrate -d -r exec:false', 'Error: Cannot resume if there is no paused migration\r\n'],
    ['migrate exec:true', 'terminal does not allow synchronous migration, continuing detached\r\n'],
    ['migrate -d "exec:cat >/dev/null"', ''],
    ['migrate_cancel', ''],
    ['migrate_continue foo', 'Error: invalid parameter value: foo\r\n'],
    [
      'migrate_pause',
      'Error: migrate-pause is currently only supported during postcopy-active or postcopy-recover state\r\n',
    ],
    ['migrate_recover x', 'Error: Migrate recover can only be run when postcopy is paused.\r\n'],
    ['migrate_set_capability foo on', 'Error: invalid parameter value: foo\r\n'],
    [
      'migrate_set_capability events maybe',
      "Expected 'on' or 'off'\r\nTry \"help migrate_set_capability\" for more information\r\n",
    ],
    [
      'migrate_set_capability events',
      "Expected 'on' or 'off'\r\nTry \"help migrate_set_capability\" for more information\r\n",
    ],
    ['migrate_set_capability events on', ''],
    ['migrate_set_capability postcopy-preempt on', 'Error: Postcopy preempt requires postcopy-ram\r\n'],
    ['migrate_set_parameter foo 1', 'Error: invalid parameter value: foo\r\n'],
    ['migrate_set_parameter max-band 10', 'Error: invalid parameter value: max-band\r\n'],
    [
      'migrate_set_parameter downtime-limit',
      'migrate_set_parameter: string expected\r\nTry "help migrate_set_parameter" for more information\r\n',
    ],
    [
      'migrate_set_parameter downtime-limit 5000000',
      "Error: Parameter 'downtime_limit' expects an integer in the range of 0 to (2000 * 1000) ms\r\n",
    ],
    [
      'migrate_set_parameter downtime-limit x',
      "Error: Parameter 'downtime-limit' expects a non-negative number below 2^64\r\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\r\nand exabytes, respectively.\r\n",
    ],
    ['migrate_set_parameter max-bandwidth -5', 'Error: Invalid size -5\r\n'],
    ['migrate_set_parameter max-bandwidth 10x', 'Error: Invalid size 10x\r\n'],
    ['migrate_set_parameter cpu-throttle-initial 3M', "Error: Parameter 'cpu-throttle-initial' expects uint64\r\n"],
    ['migrate_set_parameter cpu-throttle-initial 3.5', "Error: Parameter 'cpu-throttle-initial' expects uint64\r\n"],
    ['migrate_set_parameter multifd-channels 300', "Error: Parameter 'multifd-channels' expects uint8_t\r\n"],
    [
      'migrate_set_parameter multifd-compression foo',
      "Error: Parameter 'multifd-compression' does not accept value 'foo'\r\n",
    ],
    [
      'migrate_set_parameter cpu-throttle-tailslow 1',
      "Error: Parameter 'cpu-throttle-tailslow' expects 'on' or 'off'\r\n",
    ],
    [
      'migrate_set_parameter block-bitmap-mapping x',
      'Error: The block-bitmap-mapping parameter can only be set through QMP\r\n',
    ],
  ])('%j', async ([line, expected]) => {
    expect(await run(line)).toBe(expected);
  });
});

describe('setting parameters', () => {
  test.for<[string, unknown]>([
    ['max-bandwidth 10', 10n << 20n],
    ['max-bandwidth 1.5k', 1536n],
    ['max-bandwidth 1G', 1n << 30n],
    ['avail-switchover-bandwidth 3', 3n << 20n],
    ['max-postcopy-bandwidth 3', 3n],
    ['xbzrle-cache-size 64M', 64n << 20n],
    ['downtime-limit 0x10', 16n],
    ['downtime-limit 1M', 1n << 20n],
    ['x-checkpoint-delay 3', 3],
    ['multifd-channels 4', 4],
    ['multifd-compression zlib', 'zlib'],
    ['cpu-throttle-tailslow yes', true],
    ['tls-hostname "a b"', 'a b'],
  ])('%s', async ([text, value]) => {
    const vm = new RecordingVm();
    expect(await run(`migrate_set_parameter ${text}`, vm)).toBe('');
    expect(vm.calls).toEqual([['setParameters', { [text.split(' ')[0] ?? '']: value }]]);
  });
});

describe('info', () => {
  const lines = async (topic: string, vm: RecordingVm) => (await run(`info ${topic}`, vm)).split('\r\n').slice(0, -1);

  test('status says why a machine does not run', async () => {
    const vm = new RecordingVm();
    await vm.stop();
    expect(await lines('status', vm)).toEqual(['VM status: paused']);
    await vm.reset();
    expect(await lines('status', vm)).toEqual(['VM status: paused (prelaunch)']);
  });

  test('version has our package behind the numbers', async () => {
    expect(await lines('version', new RecordingVm())).toEqual(['10.0.2Switchover 1.2.3']);
  });

  test('migrate shows only globals when nothing was migrated', async () => {
    expect(await lines('migrate', new RecordingVm())).toEqual(GLOBALS);
  });

  test('migrate shows a completed migration line by line', async () => {
    const vm = new RecordingVm();
    vm.migrationInfo = { status: 'completed', 'total-time': 4119, downtime: 2813, 'setup-time': 1, ram: RAM };
    expect((await lines('migrate', vm)).slice(GLOBALS.length)).toEqual([
      'Migration status: completed',
      'total time: 4119 ms',
      'downtime: 2813 ms',
      'setup: 1 ms',
      'transferred ram: 23497 kbytes',
      'throughput: 46.74 mbps',
      'remaining ram: 0 kbytes',
      'total ram: 16384 kbytes',
      'duplicate: 1166 pages',
      'normal: 5860 pages',
      'normal bytes: 23440 kbytes',
      'dirty sync count: 3',
      'page size: 4 kbytes',
      'multifd bytes: 0 kbytes',
      'pages-per-second: 35692',
      'precopy ram: 11753 kbytes',
      'downtime ram: 11742 kbytes',
    ]);
  });

  test('migrate shows what the command line has set', async () => {
    const vm = new RecordingVm();
    vm.globals = { ...vm.globals, 'store-global-state': false, 'only-migratable': true, 'x-clear-bitmap-shift': 10 };
    expect(await lines('migrate', vm)).toEqual([
      'globals:',
      'store-global-state: off',
      'only-migratable: on',
      'send-configuration: on',
      'send-section-footer: on',
      'send-switchover-start: on',
      'clear-bitmap-shift: 10',
    ]);
  });

  test('migrate shows the cache of xbzrle behind the RAM', async () => {
    const vm = new RecordingVm();
    const cache = { pages: 7, 'cache-miss': 1, 'cache-miss-rate': 0.125, 'encoding-rate': 3.5, overflow: 2 };
    vm.migrationInfo = {
      status: 'active',
      ram: RAM,
      'xbzrle-cache': { 'cache-size': 1n << 26n, bytes: 2047, ...cache },
    };
    expect((await lines('migrate', vm)).slice(-7)).toEqual([
      'cache size: 67108864 bytes',
      'xbzrle transferred: 1 kbytes',
      'xbzrle pages: 7 pages',
      'xbzrle cache miss: 1 pages',
      'xbzrle cache miss rate: 0.13',
      'xbzrle encoding rate: 3.50',
      'xbzrle overflow: 2',
    ]);
  });

  test('migrate shows why it failed, and where a destination listens', async () => {
    const vm = new RecordingVm();
    vm.migrationInfo = { status: 'failed', 'error-desc': 'no route' };
    expect((await lines('migrate', vm)).slice(GLOBALS.length)).toEqual([
      'Migration status: failed (no route)',
      'total time: 0 ms',
    ]);
    vm.migrationInfo = { status: 'setup', 'socket-address': [{ type: 'inet', host: '127.0.0.1', port: '33025' }] };
    expect((await lines('migrate', vm)).slice(GLOBALS.length)).toEqual([
      'Migration status: setup',
      'total time: 0 ms',
      'socket address: [',
      '\ttcp:127.0.0.1:33025',
      ']',
    ]);
  });

  test('migrate_parameters and migrate_capabilities list what is set', async () => {
    const vm = new RecordingVm();
    await run('migrate_set_parameter downtime-limit 16', vm);
    await run('migrate_set_capability events on', vm);
    expect(await lines('migrate_parameters', vm)).toContain('downtime-limit: 16 ms');
    expect(await lines('migrate_parameters', vm)).toContain("tls-creds: ''");
    expect(await lines('migrate_capabilities', vm)).toContain('events: on');
    expect(await lines('migrate_capabilities', vm)).toHaveLength(22);
  });
});
