/**
 * Every option `switchover vm` takes, in one table: its spellings, its argument, its help line, and what it puts into
 * the draft. QEMU's names and meanings; what a machine without hardware has no use for is accepted only where leaving it
 * out changes nothing (`-display none`), and refused with a reason where it would.
 */

import { HarnessError } from '../base/errors.ts';
import { parseSize } from '../base/units.ts';
import { OBJECT_TYPE_NAMES } from '../migration/objects/object-kinds.ts';
import { type KeyValues, parseKeyValues, parseOnOff, refuseUnknownKeys } from './key-value-list.ts';

/** What the options have said so far; `vm-options.ts` turns it into a configuration. */
export interface VmDraft {
  /** Properties of -machine, later ones win. */
  readonly machine: Map<string, string>;
  ramBytes?: number;
  name?: string;
  uuid?: string;
  cpuCount?: number;
  /** 0 means no ring. */
  dirtyRingPages?: number;
  startPaused: boolean;
  onlyMigratable: boolean;
  incoming?: string;
  pidFile?: string;
  dumpVmstate?: string;
  /** `-object` other than guests, `qom-type` and `id` among their values. */
  readonly objects: KeyValues[];
  readonly guests: string[];
  readonly loaders: { file: string; address: number }[];
  readonly devices: DeviceOption[];
  readonly globals: { name: string; value: string }[];
  readonly qmp: { readonly text: string; readonly pretty: boolean }[];
  readonly chardevs: string[];
  readonly mons: string[];
}

/** A device as written: its driver's name or file, and the texts of its properties. */
export interface DeviceOption {
  readonly driver: string;
  readonly id: string;
  readonly properties: ReadonlyMap<string, string>;
}

/** One option: `argument` is its metavariable and absent for a flag. */
export interface VmOptionRow {
  readonly names: readonly [string, ...string[]];
  readonly argument?: string;
  readonly help: string;
  /** Known only to say why it is not accepted. */
  readonly refused?: true;
  readonly apply: (draft: VmDraft, value: string, option: string) => void;
}

/** KVM's largest ring. */
const MAX_RING_PAGES = 65_536;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The options in the order `--help` shows them. */
export const VM_OPTIONS: readonly VmOptionRow[] = [
  {
    names: ['machine', 'M'],
    argument: 'TYPE[,memory-backend=ID][,suppress-vmdesc=on][,resources=SIZE]',
    help: "machine type: none (QEMU's, the default) or harness",
    apply: (draft, value, option) => {
      const values = parseKeyValues(value, { option, impliedKey: 'type' });
      refuseUnknownKeys(values, { option, known: ['type', 'memory-backend', 'accel', 'suppress-vmdesc', 'resources'] });
      for (const [key, text] of values) draft.machine.set(key, text);
    },
  },
  {
    names: ['m'],
    argument: 'SIZE',
    help: 'guest RAM, a plain number is MiB (default 128M)',
    apply: (draft, value, option) => {
      const values = parseKeyValues(value, { option, impliedKey: 'size' });
      refuseUnknownKeys(values, { option, known: ['size'] });
      draft.ramBytes = parseSize(values.get('size') ?? '', option, 'm');
    },
  },
  {
    names: ['object'],
    argument: 'TYPE,id=ID,…',
    help: `guest-sweep, guest-… (what the vCPU runs), or ${OBJECT_TYPE_NAMES.join(', ')}`,
    apply: applyObject,
  },
  {
    names: ['smp'],
    argument: 'N',
    help: 'number of vCPUs; at least one per guest',
    apply: (draft, value, option) => {
      const values = parseKeyValues(value, { option, impliedKey: 'cpus' });
      refuseUnknownKeys(values, { option, known: ['cpus', 'maxcpus', 'sockets', 'cores', 'threads'] });
      const counts = new Map([...values].map(([key, text]) => [key, parseCount(text, option)]));
      // Without a count of vCPUs it follows from the topology, as in QEMU.
      const topology = ['sockets', 'cores', 'threads'].reduce((product, key) => product * (counts.get(key) ?? 1), 1);
      draft.cpuCount = counts.get('cpus') ?? topology;
      const maximum = counts.get('maxcpus') ?? draft.cpuCount;
      if (maximum < draft.cpuCount) throw bad(`${option} maxcpus`, `at least ${draft.cpuCount}`, String(maximum));
    },
  },
  { names: ['S'], help: 'do not start the guest; wait for cont', apply: (draft) => void (draft.startPaused = true) },
  {
    names: ['incoming'],
    argument: 'URI|defer',
    help: 'wait for an incoming migration: tcp:HOST:PORT, unix:PATH, exec:COMMAND, file:PATH[,offset=N]',
    apply: (draft, value) => void (draft.incoming = value),
  },
  {
    names: ['qmp'],
    argument: 'CHARDEV',
    help: 'a QMP monitor: unix:PATH,server=on,wait=off · tcp:HOST:PORT,server=on,wait=off · stdio',
    apply: (draft, text) => void draft.qmp.push({ text, pretty: false }),
  },
  {
    names: ['qmp-pretty'],
    argument: 'CHARDEV',
    help: 'as -qmp, with messages of several lines',
    apply: (draft, text) => void draft.qmp.push({ text, pretty: true }),
  },
  {
    names: ['chardev'],
    argument: 'socket,id=ID,…',
    help: 'a socket for -mon: path=P or host=H,port=N; server=on,wait=off to listen',
    apply: (draft, value) => void draft.chardevs.push(value),
  },
  {
    names: ['mon'],
    argument: 'chardev=ID,mode=control[,pretty=on]',
    help: 'a QMP monitor on a -chardev',
    apply: (draft, value) => void draft.mons.push(value),
  },
  {
    names: ['device'],
    argument: 'DRIVER[,id=ID][,PROPERTY=VALUE…]',
    help: 'a device by name or by the path of its file; loader,file=F,addr=A,force-raw=on copies a file into RAM',
    apply: applyDevice,
  },
  {
    names: ['global'],
    argument: 'migration.NAME=VALUE',
    help: 'a migration capability, parameter or property from the start',
    apply: applyGlobal,
  },
  {
    names: ['name'],
    argument: 'NAME',
    help: 'the name query-name gives',
    apply: (draft, value, option) => {
      const values = parseKeyValues(value, { option, impliedKey: 'guest' });
      refuseUnknownKeys(values, { option, known: ['guest', 'process', 'debug-threads'] });
      const name = values.get('guest');
      if (name !== undefined) draft.name = name;
    },
  },
  {
    names: ['uuid'],
    argument: 'UUID',
    help: "the machine's UUID",
    apply: (draft, value, option) => {
      if (!UUID.test(value)) throw bad(option, 'a UUID such as 01234567-89ab-cdef-0123-456789abcdef', `'${value}'`);
      draft.uuid = value.toLowerCase();
    },
  },
  {
    names: ['pidfile'],
    argument: 'FILE',
    help: 'write the process id to FILE, remove it at exit',
    apply: (draft, value) => void (draft.pidFile = value),
  },
  {
    names: ['dump-vmstate'],
    argument: 'FILE',
    help: "write the formats of all devices' states to FILE, as QEMU does, and exit",
    apply: (draft, value, option) => {
      if (draft.dumpVmstate !== undefined) throw bad(option, 'only one such option', `'${value}' as well`);
      draft.dumpVmstate = value;
    },
  },
  {
    names: ['accel'],
    argument: 'NAME[,dirty-ring-size=N]',
    help: 'any name: guests are scripted; with a ring of N page writes for each vCPU, dirty-limit works as on KVM',
    apply: (draft, value, option) => {
      const size = parseKeyValues(value, { option, impliedKey: 'accel' }).get('dirty-ring-size');
      if (size !== undefined) draft.dirtyRingPages = parseRingSize(size, `${option} dirty-ring-size`);
    },
  },
  {
    names: ['msg'],
    argument: 'timestamp=on',
    help: 'accepted: the log always has time stamps',
    apply: (_draft, value, option) => {
      const values = parseKeyValues(value, { option });
      refuseUnknownKeys(values, { option, known: ['timestamp', 'guest-name'] });
      for (const text of values.values()) parseOnOff(text, option);
    },
  },
  {
    names: ['only-migratable'],
    help: 'do not start with a device that keeps the machine from migrating',
    apply: (draft) => void (draft.onlyMigratable = true),
  },
  ...['nodefaults', 'no-user-config', 'nographic'].map(acceptedFlag),
  ...['display', 'vga', 'monitor', 'serial', 'parallel', 'audio', 'net', 'nic'].map(onlyNone),
  {
    names: ['audiodev'],
    argument: 'none,id=ID',
    help: 'accepted: there is no audio',
    apply: (_draft, value, option) => {
      const driver = parseKeyValues(value, { option, impliedKey: 'driver' }).get('driver');
      if (driver !== 'none') throw bad(option, 'none', `'${value}'`);
    },
  },
  refused('cpu', 'MODEL', 'a vCPU here runs a scripted guest, which -object guest-… chooses'),
  refused('daemonize', undefined, "the process stays in the foreground; start it with '&' and use -pidfile"),
];

function acceptedFlag(name: string): VmOptionRow {
  return { names: [name], help: 'accepted: always so', apply: () => undefined };
}

function onlyNone(name: string): VmOptionRow {
  const values = name === 'monitor' || name === 'serial' ? ['none', 'null'] : ['none'];
  return {
    names: [name],
    argument: values.join('|'),
    help: 'accepted: there is none',
    apply: (_draft, value, option) => {
      if (!values.includes(value)) throw bad(option, values.join(' or '), `'${value}'`);
    },
  };
}

function refused(name: string, argument: string | undefined, why: string): VmOptionRow {
  return {
    names: [name],
    ...(argument === undefined ? {} : { argument }),
    help: `refused: ${why}`,
    refused: true,
    apply: (_draft, _value, option) => {
      throw new HarnessError('cli/usage', { text: `${option} is not supported: ${why}` });
    },
  };
}

function applyObject(draft: VmDraft, value: string, option: string): void {
  const values = parseKeyValues(value, { option, impliedKey: 'qom-type' });
  const type = values.get('qom-type') ?? '';
  if (type.startsWith('guest-')) draft.guests.push(value);
  else if (OBJECT_TYPE_NAMES.some((known) => known === type)) draft.objects.push(values);
  else throw bad(option, `guest-sweep, another guest-…, ${OBJECT_TYPE_NAMES.join(', ')}`, `'${type}'`);
}

function applyDevice(draft: VmDraft, value: string, option: string): void {
  const values = parseKeyValues(value, { option, impliedKey: 'driver' });
  const driver = values.get('driver') ?? '';
  if (driver === '') throw bad(option, "a device's name or file", `'${value}'`);
  if (driver !== 'loader') {
    draft.devices.push(deviceOption(values, { option, index: draft.devices.length, taken: draft.devices }));
    return;
  }
  const where = `${option} loader`;
  refuseUnknownKeys(values, { option: where, known: ['driver', 'id', 'file', 'addr', 'force-raw'] });
  const file = required(values, 'file', where);
  // Without it QEMU would look for an ELF or image header and place the file elsewhere.
  if (values.get('force-raw') === undefined || !parseOnOff(values.get('force-raw') ?? '', `${where}: force-raw`)) {
    throw bad(where, 'force-raw=on (only raw files are loaded)', `'${value}'`);
  }
  draft.loaders.push({ file, address: parseSize(required(values, 'addr', where), `${where}: addr`) });
}

/** The device that key=value pairs describe; without an id it gets one from its place. Throws for an id that is `taken`. */
function deviceOption(
  values: KeyValues,
  rules: { option: string; index: number; taken: readonly DeviceOption[] },
): DeviceOption {
  const { driver = '', id = `device${rules.index}`, ...properties } = Object.fromEntries(values);
  if (rules.taken.some((device) => device.id === id)) {
    throw bad(rules.option, 'an id of its own', `'${id}', which another device has`);
  }
  return { driver, id, properties: new Map(Object.entries(properties)) };
}

function applyGlobal(draft: VmDraft, value: string, option: string): void {
  const short = /^([^.=,]+)\.([^=]+)=(.*)$/s.exec(value);
  let global: { driver: string; name: string; value: string };
  if (short !== null) {
    const [, driver = '', name = '', text = ''] = short;
    global = { driver, name, value: text };
  } else {
    const values = parseKeyValues(value, { option });
    refuseUnknownKeys(values, { option, known: ['driver', 'property', 'value'] });
    const [driver, name, text] = ['driver', 'property', 'value'].map((key) => required(values, key, option));
    global = { driver: driver ?? '', name: name ?? '', value: text ?? '' };
  }
  if (global.driver !== 'migration') throw bad(option, 'migration.NAME=VALUE', `'${value}'`);
  draft.globals.push({ name: global.name, value: global.value });
}

function required(values: KeyValues, key: string, option: string): string {
  const value = values.get(key);
  if (value === undefined || value === '') throw bad(option, `${key}=…`, 'none');
  return value;
}

function parseCount(text: string, option: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw bad(option, 'a whole number from 1', `'${text}'`);
  return Number(text);
}

/** 0, or a power of two as KVM wants it. Throws `option/bad-value`. */
export function parseRingSize(text: string, option: string): number {
  const size = /^\d{1,7}$/.test(text) ? Number(text) : -1;
  if (size < 0 || size > MAX_RING_PAGES || (size & (size - 1)) !== 0) {
    throw bad(option, `a power of two up to ${MAX_RING_PAGES}`, `'${text}'`);
  }
  return size;
}

function bad(option: string, expected: string, actual: string): HarnessError {
  return new HarnessError('option/bad-value', { option, expected, actual });
}
