/** What `switchover migrate` was asked for: flags as texts in, a checked plan out. Pure. */

import { HarnessError } from '../base/errors.ts';
import { parseRate, parseSize, parseTimeMs } from '../base/units.ts';
import { type GuestOptions, guestRegion, parseGuestOption } from '../hw/guest/guest-options.ts';
import type { Fill } from './fill.ts';
import { parseRingSize } from './vm-option-table.ts';

/** The command's flags as commander hands them over. */
export interface MigrateFlags {
  readonly machine: string;
  readonly memory: string;
  readonly guest: readonly string[];
  readonly device: readonly string[];
  readonly fill: Fill;
  readonly seed: string;
  readonly transport: 'tcp' | 'unix';
  readonly maxBandwidth?: string;
  readonly downtimeLimit?: string;
  readonly returnPath?: boolean;
  readonly cap: readonly string[];
  readonly compare?: string;
  readonly param: readonly string[];
  readonly dirtyRingSize?: string;
  readonly timeout: string;
  readonly json?: boolean;
}

/** A guest as the machines get it (`-object`) and as it was understood. */
interface PlannedGuest {
  readonly object: string;
  readonly options: GuestOptions;
}

/** Everything about one migration, already checked. */
export interface MigrationPlan {
  readonly machineType: string;
  readonly ramBytes: number;
  readonly guests: readonly PlannedGuest[];
  /** Arguments of `-device`, the same for both machines. */
  readonly devices: readonly string[];
  readonly fill: Fill;
  readonly seed: number;
  readonly transport: 'tcp' | 'unix';
  readonly capabilities: readonly string[];
  /** Capabilities that a second migration has and the first has not; empty = one migration. */
  readonly compare: readonly string[];
  readonly parameters: Readonly<Record<string, unknown>>;
  /** Page writes that fill a vCPU's dirty ring, which dirty-limit needs; undefined means none. */
  readonly dirtyRingPages: number | undefined;
  readonly timeoutMs: number;
}

/** Without --downtime-limit on a machine with devices (ms). */
const DEVICE_DOWNTIME_LIMIT_MS = 2000;

/** Checks the flags before anything starts. */
export function planOf(flags: MigrateFlags): MigrationPlan {
  const ramBytes = parseSize(flags.memory, '--memory', 'm');
  if (ramBytes < 4096 || ramBytes % 4096 !== 0) {
    throw bad('--memory', 'a multiple of the page size, 4096 bytes', `${ramBytes} bytes`);
  }
  if (!/^\d{1,15}$/.test(flags.seed)) throw bad('--seed', 'a whole number', `'${flags.seed}'`);
  const namesOf = (text: string) => text.split(',').filter((name) => name !== '');
  const capabilities = flags.cap.flatMap(namesOf);
  if (flags.returnPath) capabilities.push('return-path');
  const parameters: Record<string, unknown> = Object.fromEntries(flags.param.map(parseParameter));
  if (flags.device.length > 0) {
    // QEMU's 128 MiB/s and 300 ms are made for RAM: hundreds of MiB of a device would never fit into them.
    parameters['max-bandwidth'] ??= 0;
    parameters['downtime-limit'] ??= DEVICE_DOWNTIME_LIMIT_MS;
  }
  if (flags.maxBandwidth !== undefined) parameters['max-bandwidth'] = parseRate(flags.maxBandwidth, '--max-bandwidth');
  if (flags.downtimeLimit !== undefined) {
    parameters['downtime-limit'] = Math.round(parseTimeMs(flags.downtimeLimit, '--downtime-limit'));
  }
  return {
    machineType: flags.machine,
    ramBytes,
    guests: flags.guest.map((text, index) => planGuest({ text, index, ramBytes })),
    devices: flags.device,
    fill: flags.fill,
    seed: Number(flags.seed),
    transport: flags.transport,
    capabilities: [...new Set(capabilities)],
    compare: namesOf(flags.compare ?? ''),
    parameters,
    dirtyRingPages:
      flags.dirtyRingSize === undefined ? undefined : parseRingSize(flags.dirtyRingSize, '--dirty-ring-size'),
    timeoutMs: parseTimeMs(flags.timeout, '--timeout'),
  };
}

/** `sweep,rate=200MiB` → `guest-sweep,id=guest0,rate=200MiB`, the same object on both machines. */
function planGuest({ text, index, ramBytes }: { text: string; index: number; ramBytes: number }): PlannedGuest {
  const options = parseGuestOption(text, `guest${index}`);
  guestRegion(options, ramBytes);
  const [type = '', ...properties] = text.split(',').filter((part) => !part.startsWith('id='));
  const name = type.startsWith('guest-') ? type : `guest-${type}`;
  return { object: [name, `id=${options.id}`, ...properties].join(','), options };
}

/** `name=value`; numbers and booleans as JSON writes them, `on` and `off`, anything else is text. */
function parseParameter(text: string): [string, unknown] {
  const match = /^([a-z][a-z0-9-]*)=(.*)$/s.exec(text);
  if (match === null) throw bad('--param', 'name=value', `'${text}'`);
  const [, name = '', value = ''] = match;
  if (/^-?\d+$/.test(value) && Number.isSafeInteger(Number(value))) return [name, Number(value)];
  if (value === 'true' || value === 'on') return [name, true];
  if (value === 'false' || value === 'off') return [name, false];
  return [name, value];
}

function bad(option: string, expected: string, actual: string): HarnessError<'option/bad-value'> {
  return new HarnessError('option/bad-value', { option, expected, actual });
}
