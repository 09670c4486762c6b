/**
 * The command line of `switchover vm`: QEMU's single-dash options (two dashes work too), parsed by the table in
 * `vm-option-table.ts`. Pure: no file is read and nothing is started here. Anything not in the table is an error.
 */

import { HarnessError } from '../base/errors.ts';
import { parseSize } from '../base/units.ts';
import { MEMORY_BACKEND_TYPES } from '../migration/objects/memory-backend.ts';
import type { MonitorOptions } from '../qmp/monitor-options.ts';
import { type KeyValues, parseOnOff } from './key-value-list.ts';
import { type DeviceOption, VM_OPTIONS, type VmDraft, type VmOptionRow } from './vm-option-table.ts';

/** The machine types there are. */
export const MACHINE_TYPES = ['none', 'harness'] as const;
type MachineType = (typeof MACHINE_TYPES)[number];

/** RAM without -m, as in QEMU. */
const DEFAULT_RAM_BYTES = 128 * 1024 * 1024;

/** A checked command line. Texts of guests and monitors are parsed by the layers that own them. */
export interface VmOptions {
  readonly machineType: MachineType;
  readonly ramBytes: number;
  readonly ramBlockName?: string;
  readonly name?: string;
  readonly uuid?: string;
  /** `-machine …,suppress-vmdesc=on`: no description at the end of streams. */
  readonly suppressDescription: boolean;
  /** `-machine …,resources=SIZE`: what devices may allocate (bytes). */
  readonly resourceBytes?: number;
  /** `-accel …,dirty-ring-size=N`. */
  readonly dirtyRingPages?: number;
  readonly startPaused: boolean;
  /** A machine that cannot migrate does not start. */
  readonly onlyMigratable: boolean;
  readonly incoming?: string;
  readonly pidFile?: string;
  /** The file for a dump of all state formats; there is to be no machine then. */
  readonly dumpVmstate?: string;
  /** -object, other than guests: texts by name, `qom-type` and `id` among them. */
  readonly objects: readonly KeyValues[];
  /** `guest-…` texts of -object. */
  readonly guests: readonly string[];
  readonly loaders: readonly { readonly file: string; readonly address: number }[];
  readonly devices: readonly DeviceOption[];
  readonly globals: readonly { readonly name: string; readonly value: string }[];
  readonly qmp: MonitorOptions['qmp'];
  readonly chardevs: readonly string[];
  readonly mons: readonly string[];
}

/** What the command line asks for. */
export type VmCommandLine =
  | { readonly kind: 'run'; readonly options: VmOptions }
  | { readonly kind: 'help' }
  | { readonly kind: 'version' };

const ROWS = new Map(VM_OPTIONS.flatMap((row) => row.names.map((name): [string, VmOptionRow] => [name, row])));

/** Parses the arguments after `switchover vm`. Throws `cli/usage` or `option/bad-value` naming the option. */
export function parseVmOptions(args: readonly string[]): VmCommandLine {
  const draft: VmDraft = {
    machine: new Map(),
    startPaused: false,
    onlyMigratable: false,
    objects: [],
    guests: [],
    loaders: [],
    devices: [],
    globals: [],
    qmp: [],
    chardevs: [],
    mons: [],
  };
  for (let index = 0; index < args.length; index += 1) {
    const text = args[index] ?? '';
    const name = /^--?(?=[^-])(.+)$/s.exec(text)?.[1];
    if (name === undefined) throw usage(`'${text}': a disk image or other bare argument is not accepted; see --help`);
    if (name === 'help' || name === 'h') return { kind: 'help' };
    if (name === 'version') return { kind: 'version' };
    const row = ROWS.get(name);
    if (row === undefined) throw usage(`${text}: invalid option. Accepted: ${acceptedOptions()}`);
    const option = `-${name}`;
    if (row.argument === undefined) {
      row.apply(draft, '', option);
      continue;
    }
    index += 1;
    const value = args[index];
    if (value === undefined) throw usage(`${option}: requires an argument, ${row.argument}`);
    row.apply(draft, value, option);
  }
  return { kind: 'run', options: finish(draft) };
}

/** The text of `switchover vm --help`. */
export function vmHelp(): string {
  const lines = VM_OPTIONS.map((row) => {
    const spelling = row.names.map((name) => `-${name}`).join(', ');
    const head = row.argument === undefined ? spelling : `${spelling} ${row.argument}`;
    return `  ${head.padEnd(38)} ${row.help}`;
  });
  return [
    'Usage: switchover vm [options]',
    '',
    "A process that is a virtual machine and takes QEMU's command line.",
    '',
    ...lines,
    `  ${'-version, --version'.padEnd(38)} print the version`,
    `  ${'-h, -help, --help'.padEnd(38)} print this`,
    '',
    'Example: a machine whose guest sweeps its RAM, controlled over QMP',
    '  switchover vm -M harness -m 512M -object guest-sweep,id=g0,rate=200MiB -qmp unix:/tmp/vm.sock,server=on,wait=off',
    '',
  ].join('\n');
}

function finish(draft: VmDraft): VmOptions {
  const { machine, ramBytes, cpuCount, dirtyRingPages = 0, ...drafted } = draft;
  const suppressDescription = parseOnOff(machine.get('suppress-vmdesc') ?? 'off', '-machine suppress-vmdesc');
  const resources = machine.get('resources');
  const rest = {
    ...drafted,
    suppressDescription,
    ...(dirtyRingPages === 0 ? {} : { dirtyRingPages }),
    ...(resources === undefined ? {} : { resourceBytes: parseSize(resources, '-machine resources') }),
  };
  const type = machine.get('type') ?? 'none';
  const machineType = MACHINE_TYPES.find((known) => known === type);
  if (machineType === undefined) throw bad('-machine', `one of ${MACHINE_TYPES.join(', ')}`, `'${type}'`);
  if (cpuCount !== undefined && cpuCount < draft.guests.length) {
    throw bad('-smp', `a vCPU for each of the ${draft.guests.length} guests`, `${cpuCount}`);
  }
  // For a dump nothing is plugged in.
  if (machineType === 'none' && draft.devices.length > 0 && draft.dumpVmstate === undefined) {
    throw bad('-device', "-M harness: QEMU's machine 'none' has no bus", `'${draft.devices[0]?.driver}' on -M none`);
  }
  // As in QEMU, -m 0 is -m left out.
  const asked = ramBytes === 0 ? undefined : ramBytes;
  const backendId = machine.get('memory-backend');
  if (backendId === undefined) return { ...rest, machineType, ramBytes: asked ?? DEFAULT_RAM_BYTES };
  const backendBytes = memoryBackendBytes(draft, backendId);
  if (asked !== undefined && asked !== backendBytes) {
    throw bad('-m', `the ${backendBytes} bytes of memory backend '${backendId}'`, `${asked} bytes`);
  }
  return { ...rest, machineType, ramBytes: backendBytes, ramBlockName: backendId };
}

/** The size of the backend that the machine is to have as RAM. */
function memoryBackendBytes({ objects }: VmDraft, id: string): number {
  const backend = objects.find((values) => values.get('id') === id);
  const type = MEMORY_BACKEND_TYPES.find((known) => known === backend?.get('qom-type'));
  if (type === undefined) throw bad('-machine memory-backend', 'the id of an -object memory-backend-…', `'${id}'`);
  return parseSize(backend?.get('size') ?? '', `-object ${type}: size`);
}

function acceptedOptions(): string {
  const accepted = VM_OPTIONS.filter((row) => row.refused !== true);
  return accepted.flatMap((row) => row.names.map((name) => `-${name}`)).join(' ');
}

function usage(text: string): HarnessError {
  return new HarnessError('cli/usage', { text });
}

function bad(option: string, expected: string, actual: string): HarnessError {
  return new HarnessError('option/bad-value', { option, expected, actual });
}
