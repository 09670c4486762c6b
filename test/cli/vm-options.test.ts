import { expect, test } from 'vitest';
import { VM_OPTIONS } from '../../src/cli/vm-option-table.ts';
import { parseVmOptions, type VmOptions, vmHelp } from '../../src/cli/vm-options.ts';

const MiB = 1024 * 1024;

function parse(...args: string[]): VmOptions {
  const line = parseVmOptions(args);
  if (line.kind !== 'run') throw new Error(`expected a machine, got ${line.kind}`);
  return line.options;
}

test('without options it is a running machine none with 128 MiB', () => {
  expect(parse()).toEqual({
    machineType: 'none',
    ramBytes: 128 * MiB,
    suppressDescription: false,
    onlyMigratable: false,
    startPaused: false,
    objects: [],
    guests: [],
    loaders: [],
    devices: [],
    globals: [],
    qmp: [],
    chardevs: [],
    mons: [],
  });
});

test.each<[string[], Partial<VmOptions>]>([
  [
    ['-M', 'harness', '-device', './my.ts,a=1,b=x,,y', '-device', 'edu,id=e'],
    {
      devices: [
        {
          driver: './my.ts',
          id: 'device0',
          properties: new Map([
            ['a', '1'],
            ['b', 'x,y'],
          ]),
        },
        { driver: 'edu', id: 'e', properties: new Map() },
      ],
    },
  ],
  [['-M', 'harness'], { machineType: 'harness' }],
  [['-machine', 'none'], { machineType: 'none' }],
  [['--machine', 'type=harness,accel=tcg'], { machineType: 'harness' }],
  [['-M', 'none', '-M', 'harness'], { machineType: 'harness' }],
  [['-m', '64M'], { ramBytes: 64 * MiB }],
  [['-m', '1G'], { ramBytes: 1024 * MiB }],
  [['-m', '256'], { ramBytes: 256 * MiB }],
  [['-m', '1.5'], { ramBytes: 1.5 * MiB }],
  [['-m', 'size=64M'], { ramBytes: 64 * MiB }],
  [['-m', '0'], { ramBytes: 128 * MiB }],
  [['-S'], { startPaused: true }],
  [['-incoming', 'defer'], { incoming: 'defer' }],
  [['-incoming', 'unix:/tmp/x,y'], { incoming: 'unix:/tmp/x,y' }],
  [['-name', 'src'], { name: 'src' }],
  [['-name', 'guest=src,debug-threads=on'], { name: 'src' }],
  [['-name', 'a,,b'], { name: 'a,b' }],
  [['-uuid', '01234567-89AB-cdef-0123-456789abcdef'], { uuid: '01234567-89ab-cdef-0123-456789abcdef' }],
  [['-smp', '4'], {}],
  [['-smp', 'cores=2,threads=2', '-object', 'guest-idle,id=a'], { guests: ['guest-idle,id=a'] }],
  [['-object', 'guest-sweep,id=g,rate=50M'], { guests: ['guest-sweep,id=g,rate=50M'] }],
  [['-object', 'qom-type=guest-idle,id=g'], { guests: ['qom-type=guest-idle,id=g'] }],
  [
    ['-qmp', 'unix:/s,server=on,wait=off', '-qmp-pretty', 'stdio'],
    {
      qmp: [
        { text: 'unix:/s,server=on,wait=off', pretty: false },
        { text: 'stdio', pretty: true },
      ],
    },
  ],
  [
    ['-chardev', 'socket,id=c,path=/s', '-mon', 'chardev=c,mode=control'],
    { chardevs: ['socket,id=c,path=/s'], mons: ['chardev=c,mode=control'] },
  ],
  [['-device', 'loader,file=/a,,b,addr=0x1000,force-raw=on'], { loaders: [{ file: '/a,b', address: 4096 }] }],
  [['-global', 'migration.multifd=on'], { globals: [{ name: 'multifd', value: 'on' }] }],
  [
    ['-global', 'driver=migration,property=max-bandwidth,value=1G'],
    { globals: [{ name: 'max-bandwidth', value: '1G' }] },
  ],
  [['-pidfile', '/run/x'], { pidFile: '/run/x' }],
  [
    ['-M', 'none,memory-backend=m0', '-object', 'memory-backend-ram,id=m0,size=2M,share=on'],
    { ramBytes: 2 * MiB, ramBlockName: 'm0' },
  ],
  [
    ['-object', 'authz-simple,id=a,identity=CN=x,,O=y'],
    {
      objects: [
        new Map([
          ['qom-type', 'authz-simple'],
          ['id', 'a'],
          ['identity', 'CN=x,O=y'],
        ]),
      ],
    },
  ],
  [
    ['-m', '2M', '-object', 'memory-backend-ram,id=m0,size=2M', '-M', 'memory-backend=m0'],
    { ramBytes: 2 * MiB, ramBlockName: 'm0' },
  ],
  [['-nodefaults', '-no-user-config', '-nographic'], { onlyMigratable: false }],
  [['-only-migratable'], { onlyMigratable: true }],
  [['-display', 'none', '-vga', 'none', '-net', 'none', '-nic', 'none', '-parallel', 'none', '-audio', 'none'], {}],
  [['-monitor', 'null', '-serial', 'null', '-audiodev', 'none,id=a', '-accel', 'kvm', '-msg', 'timestamp=on'], {}],
  [['-accel', 'kvm,dirty-ring-size=4096'], { dirtyRingPages: 4096 }],
  [['-accel', 'tcg,dirty-ring-size=0'], {}],
])('%j is accepted', (args, expected) => {
  expect(parse(...args)).toMatchObject(expected);
});

test.each<[string[], string]>([
  [['-bogus'], '-bogus: invalid option. Accepted: -machine -M -m'],
  [['--enable-kvm'], '--enable-kvm: invalid option'],
  [['disk.img'], "'disk.img': a disk image"],
  [['-'], "'-': a disk image"],
  [['---m'], "'---m': a disk image"],
  [['-m'], '-m: requires an argument, SIZE'],
  [['-m', '64Q'], "-m: expected a size such as 4096, 64MiB or 1G, got '64Q'"],
  [['-m', '64M,slots=2'], "-m: expected one of size, got 'slots'"],
  [['-M', 'q35'], "-machine: expected one of none, harness, got 'q35'"],
  [['-M', 'none,usb=on'], "-M: expected one of type, memory-backend, accel, suppress-vmdesc, resources, got 'usb'"],
  [['-M', 'none,memory-backend=x'], "-machine memory-backend: expected the id of an -object memory-backend-…, got 'x'"],
  [
    ['-m', '1M', '-object', 'memory-backend-ram,id=m,size=2M', '-M', 'memory-backend=m'],
    "-m: expected the 2097152 bytes of memory backend 'm', got 1048576 bytes",
  ],
  [
    ['-object', 'iothread,id=m'],
    '-object: expected guest-sweep, another guest-…, authz-simple, memory-backend-file, memory-backend-memfd, memory-backend-ram',
  ],
  [['-accel', 'kvm,dirty-ring-size=3'], "-accel dirty-ring-size: expected a power of two up to 65536, got '3'"],
  [
    ['-accel', 'kvm,dirty-ring-size=131072'],
    "-accel dirty-ring-size: expected a power of two up to 65536, got '131072'",
  ],
  [['-smp', '0'], "-smp: expected a whole number from 1, got '0'"],
  [['-smp', '2,maxcpus=1'], '-smp maxcpus: expected at least 2, got 1'],
  [['-loadvm', 'x'], '-loadvm: invalid option. Accepted: -machine'],
  [['-no-shutdown'], '-no-shutdown: invalid option. Accepted: -machine'],
  [['-m', '64M,slots=2,maxmem=1G'], "-m: expected one of size, got 'slots'"],
  [
    ['-smp', '1', '-object', 'guest-a,id=a', '-object', 'guest-b,id=b'],
    '-smp: expected a vCPU for each of the 2 guests, got 1',
  ],
  [['-name', 'a,foo=b'], "-name: expected one of guest, process, debug-threads, got 'foo'"],
  [['-name', ','], "-name: expected key=value pairs separated by commas, got ','"],
  [['-uuid', '12'], '-uuid: expected a UUID'],
  [['-device', 'e1000'], "-device: expected -M harness: QEMU's machine 'none' has no bus, got 'e1000' on -M none"],
  [['-device', 'driver='], "-device: expected a device's name or file"],
  [['-M', 'harness', '-device', 'a', '-device', 'b,id=device0'], "an id of its own, got 'device0'"],
  [['-device', 'loader,addr=0,force-raw=on'], '-device loader: expected file=…, got none'],
  [['-device', 'loader,file=f,force-raw=on'], '-device loader: expected addr=…, got none'],
  [['-device', 'loader,file=f,addr=0'], '-device loader: expected force-raw=on'],
  [
    ['-device', 'loader,file=f,addr=0,cpu-num=0'],
    "-device loader: expected one of driver, id, file, addr, force-raw, got 'cpu-num'",
  ],
  [['-global', 'foo.bar=1'], "-global: expected migration.NAME=VALUE, got 'foo.bar=1'"],
  [['-global', 'driver=migration,property=x'], '-global: expected value=…, got none'],
  [['-display', 'gtk'], "-display: expected none, got 'gtk'"],
  [['-serial', 'stdio'], "-serial: expected none or null, got 'stdio'"],
  [['-audiodev', 'alsa,id=a'], "-audiodev: expected none, got 'alsa,id=a'"],
  [['-msg', 'foo=on'], "-msg: expected one of timestamp, guest-name, got 'foo'"],
  [['-msg', 'timestamp=2'], "-msg: expected on or off, got '2'"],
  [['-cpu', 'max'], '-cpu is not supported: a vCPU here runs a scripted guest'],
  [['-daemonize'], '-daemonize is not supported: the process stays in the foreground'],
])('%j is refused and the message names it', (args, message) => {
  expect(() => parseVmOptions(args)).toThrow(message);
});

test('help and version win over what follows', () => {
  expect(parseVmOptions(['--help', '-bogus'])).toEqual({ kind: 'help' });
  expect(parseVmOptions(['-version'])).toEqual({ kind: 'version' });
});

test('help names every option', () => {
  const help = vmHelp();
  for (const row of VM_OPTIONS) expect(help).toContain(`-${row.names[0]}`);
});
