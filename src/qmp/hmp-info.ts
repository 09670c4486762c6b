/** The texts of `info …` in the human monitor, line by line as QEMU 10 prints them, because scripts pick lines out. */

import type {
  MigrationGlobals,
  MigrationInfo,
  RamInfo,
  SocketAddress,
  VmControl,
  XbzrleInfo,
} from '../migration/vm-control.ts';

/** What is on or off, at the head of `info migrate`. */
const SHOWN_GLOBALS = [
  'store-global-state',
  'only-migratable',
  'send-configuration',
  'send-section-footer',
  'send-switchover-start',
] as const satisfies readonly (keyof MigrationGlobals)[];

/** The parameters `info migrate_parameters` shows, with what stands behind the value. */
const SHOWN_PARAMETERS: readonly (readonly [name: string, unit?: string])[] = [
  ['announce-initial', ' ms'],
  ['announce-max', ' ms'],
  ['announce-rounds'],
  ['announce-step', ' ms'],
  ['throttle-trigger-threshold'],
  ['cpu-throttle-initial'],
  ['cpu-throttle-increment'],
  ['cpu-throttle-tailslow'],
  ['max-cpu-throttle'],
  ['tls-creds'],
  ['tls-hostname'],
  ['max-bandwidth', ' bytes/second'],
  ['avail-switchover-bandwidth', ' bytes/second'],
  ['downtime-limit', ' ms'],
  ['x-checkpoint-delay', ' ms'],
  ['multifd-channels'],
  ['multifd-compression'],
  ['zero-page-detection'],
  ['xbzrle-cache-size', ' bytes'],
  ['max-postcopy-bandwidth'],
  ['tls-authz'],
  ['block-bitmap-mapping'],
  ['x-vcpu-dirty-limit-period', ' ms'],
  ['vcpu-dirty-limit', ' MB/s'],
  ['mode'],
  ['direct-io'],
];
/** Free texts are quoted, names of a choice are not. */
const QUOTED: ReadonlySet<string> = new Set(['tls-creds', 'tls-hostname', 'tls-authz']);

/** `info status`. */
export function statusText({ status, running }: ReturnType<VmControl['queryStatus']>): string {
  if (running) return 'VM status: running\n';
  return status === 'paused' ? 'VM status: paused\n' : `VM status: paused (${status})\n`;
}

/** `info migrate_capabilities`. */
export function capabilitiesText(capabilities: ReturnType<VmControl['queryCapabilities']>): string {
  return capabilities.map(({ capability, state }) => `${capability}: ${state ? 'on' : 'off'}\n`).join('');
}

/** `info migrate_parameters`. */
export function parametersText(parameters: ReturnType<VmControl['queryParameters']>): string {
  return SHOWN_PARAMETERS.flatMap(([name, unit = '']) => {
    const value = parameters[name];
    if (value === undefined) return [];
    if (name === 'block-bitmap-mapping') return ['block-bitmap-mapping:\n']; // no other than the empty one can be set
    const text = typeof value === 'boolean' ? (value ? 'on' : 'off') : QUOTED.has(name) ? `'${value}'` : String(value);
    return [`${name}: ${text}${unit}\n`];
  }).join('');
}

/** `info migrate`. */
export function migrateText(info: MigrationInfo, globals: MigrationGlobals): string {
  return [
    ...globalLines(globals),
    ...blockedLines(info['blocked-reasons']),
    ...statusLines(info),
    ...addressLines(info['socket-address']),
    ...timeLines(info),
    ...(info.ram === undefined ? [] : ramLines(info.ram)),
    ...(info['xbzrle-cache'] === undefined ? [] : xbzrleLines(info['xbzrle-cache'])),
    ...(info['cpu-throttle-percentage'] === undefined
      ? []
      : [`cpu throttle percentage: ${info['cpu-throttle-percentage']}\n`]),
    ...when(info['dirty-limit-throttle-time-per-round'], (us) => `dirty-limit throttle time: ${us} us\n`),
    ...when(info['dirty-limit-ring-full-time'], (us) => `dirty-limit ring full time: ${us} us\n`),
  ].join('');
}

function globalLines(globals: MigrationGlobals): string[] {
  return [
    'globals:\n',
    ...SHOWN_GLOBALS.map((name) => `${name}: ${globals[name] ? 'on' : 'off'}\n`),
    `clear-bitmap-shift: ${globals['x-clear-bitmap-shift']}\n`,
  ];
}

function blockedLines(reasons: readonly string[] | undefined): string[] {
  if (reasons === undefined) return [];
  return ['Outgoing migration blocked:\n', ...reasons.map((reason) => `  ${reason}\n`)];
}

function statusLines(info: MigrationInfo): string[] {
  if (info.status === undefined) return [];
  const error = info['error-desc'];
  const suffix = info.status === 'failed' && error !== undefined ? ` (${error})` : '';
  return [`Migration status: ${info.status}${suffix}\n`, `total time: ${info['total-time'] ?? 0} ms\n`];
}

function addressLines(addresses: readonly SocketAddress[] | undefined): string[] {
  if (addresses === undefined) return [];
  const line = (address: SocketAddress) =>
    address.type === 'inet' ? `tcp:${address.host}:${address.port}` : `unix:${address.path}`;
  return ['socket address: [\n', ...addresses.map((address) => `\t${line(address)}\n`), ']\n'];
}

function timeLines(info: MigrationInfo): string[] {
  return [
    ...when(info['expected-downtime'], (ms) => `expected downtime: ${ms} ms\n`),
    ...when(info.downtime, (ms) => `downtime: ${ms} ms\n`),
    ...when(info['setup-time'], (ms) => `setup: ${ms} ms\n`),
  ];
}

function ramLines(ram: RamInfo): string[] {
  const kbytes = (bytes: number) => `${Math.floor(bytes / 1024)} kbytes`;
  const unlessZero = (value: number, line: string) => (value === 0 ? [] : [line]);
  return [
    `transferred ram: ${kbytes(ram.transferred)}\n`,
    `throughput: ${ram.mbps.toFixed(2)} mbps\n`,
    `remaining ram: ${kbytes(ram.remaining)}\n`,
    `total ram: ${kbytes(ram.total)}\n`,
    `duplicate: ${ram.duplicate} pages\n`,
    `normal: ${ram.normal} pages\n`,
    `normal bytes: ${kbytes(ram['normal-bytes'])}\n`,
    `dirty sync count: ${ram['dirty-sync-count']}\n`,
    `page size: ${kbytes(ram['page-size'])}\n`,
    `multifd bytes: ${kbytes(ram['multifd-bytes'])}\n`,
    `pages-per-second: ${ram['pages-per-second']}\n`,
    ...unlessZero(ram['dirty-pages-rate'], `dirty pages rate: ${ram['dirty-pages-rate']} pages\n`),
    ...unlessZero(ram['postcopy-requests'], `postcopy request count: ${ram['postcopy-requests']}\n`),
    ...unlessZero(ram['precopy-bytes'], `precopy ram: ${kbytes(ram['precopy-bytes'])}\n`),
    ...unlessZero(ram['downtime-bytes'], `downtime ram: ${kbytes(ram['downtime-bytes'])}\n`),
    ...unlessZero(ram['postcopy-bytes'], `postcopy ram: ${kbytes(ram['postcopy-bytes'])}\n`),
  ];
}

function xbzrleLines(cache: XbzrleInfo): string[] {
  return [
    `cache size: ${cache['cache-size']} bytes\n`,
    `xbzrle transferred: ${Math.floor(cache.bytes / 1024)} kbytes\n`,
    `xbzrle pages: ${cache.pages} pages\n`,
    `xbzrle cache miss: ${cache['cache-miss']} pages\n`,
    `xbzrle cache miss rate: ${cache['cache-miss-rate'].toFixed(2)}\n`,
    `xbzrle encoding rate: ${cache['encoding-rate'].toFixed(2)}\n`,
    `xbzrle overflow: ${cache.overflow}\n`,
  ];
}

function when<T>(value: T | undefined, line: (value: T) => string): string[] {
  return value === undefined ? [] : [line(value)];
}
