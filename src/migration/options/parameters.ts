/**
 * Migration parameters: one table (spec/control.md §2) from which types, QMP parsing, `-global` names, range checks
 * and documentation follow. The order of the rows is QEMU's. Relations between parameters are in `parameter-checks.ts`.
 */

import { HarnessError } from '../../base/errors.ts';
import * as kinds from '../../base/kinds.ts';
import {
  arrayOf,
  enumOf,
  type Kind,
  type KindValue,
  type Member,
  optional,
  required,
  struct,
} from '../../base/kinds.ts';

/** Bounds of an integer, inclusive, and QEMU's words for breaking them (from `expects` or `must` on). */
interface Range {
  readonly minimum: number;
  readonly maximum: number;
  readonly text: string;
}

interface ParameterRow<T> {
  readonly kind: Kind<T>;
  /** The value before anyone sets it; undefined means unset, and then it is not reported. */
  readonly initial: NoInfer<T> | undefined;
  readonly unit?: string;
  /** First QEMU release that has it. */
  readonly since: string;
  /** Where it matters. */
  readonly side: 'source' | 'destination' | 'both';
  /** Name for `-global migration.NAME=VALUE`; absent when QEMU has none. */
  readonly global?: string;
  /** When a new value is looked at. */
  readonly applies: 'at once' | 'next window' | 'at start' | 'at the end of incoming' | 'when a channel opens';
  readonly range?: Range;
  readonly summary: string;
  /**
   * `effective`: this build acts on it. `stored`: checked, kept and reported, but what it belongs to cannot be switched
   * on in this build. Otherwise the values that do no harm, and why others are refused.
   */
  readonly effect: 'effective' | 'stored' | { readonly accepts: (value: T) => boolean; readonly reason: string };
}

/** The kind of `block-bitmap-mapping`, spec/control.md §2.1; its rules are in `parameter-checks.ts`. */
const bitmapMappingKind = arrayOf(
  struct({
    'node-name': required(kinds.string),
    alias: required(kinds.string),
    bitmaps: required(
      arrayOf(
        struct({
          name: required(kinds.string),
          alias: required(kinds.string),
          transform: optional(struct({ persistent: optional(kinds.boolean) })),
        }),
      ),
    ),
  }),
);

const methodKind = enumOf(['none', 'zlib', 'zstd']);
const ACCELERATORS: readonly unknown[] = ['qpl', 'uadk', 'qatzip'];

/** The kind of `multifd-compression`. A QEMU built without an accelerator refuses its name in the same words, without the reason. */
const compressionKind: Kind<KindValue<typeof methodKind>> = {
  ...methodKind,
  parse: (value, path) => {
    if (!ACCELERATORS.includes(value)) return methodKind.parse(value, path);
    const text = `Parameter 'multifd-compression' does not accept value '${value}': this build has no such accelerator`;
    throw new HarnessError('qmp/generic', { text });
  },
};

/** The parsed value of `block-bitmap-mapping`. */
export type BitmapMapping = KindValue<typeof bitmapMappingKind>;

function row<T>(columns: ParameterRow<T>): ParameterRow<T> {
  return columns;
}

function between(minimum: number, maximum: number): Range {
  return { minimum, maximum, text: `expects a value between ${minimum} and ${maximum}` };
}

function percentage(minimum: number, maximum: number): Range {
  return { minimum, maximum, text: `expects an integer in the range of ${minimum} to ${maximum}` };
}

/** Every parameter of QEMU 10.0, in the order in which QEMU reads arguments: the first wrong type is the one reported. */
export const PARAMETERS = {
  'announce-initial': row({
    kind: kinds.size,
    initial: 50n,
    unit: 'ms',
    since: '4.0',
    side: 'destination',
    global: 'announce-initial',
    applies: 'at the end of incoming',
    range: between(0, 100_000),
    summary: 'Delay after the first self-announcement, whose rounds the log tells: there are no network cards.',
    effect: 'effective',
  }),
  'announce-max': row({
    kind: kinds.size,
    initial: 550n,
    unit: 'ms',
    since: '4.0',
    side: 'destination',
    global: 'announce-max',
    applies: 'at the end of incoming',
    range: between(0, 100_000),
    summary: 'Longest delay between two self-announcements.',
    effect: 'effective',
  }),
  'announce-rounds': row({
    kind: kinds.size,
    initial: 5n,
    since: '4.0',
    side: 'destination',
    global: 'announce-rounds',
    applies: 'at the end of incoming',
    range: between(0, 1000),
    summary: 'Number of self-announcements; 0 means none.',
    effect: 'effective',
  }),
  'announce-step': row({
    kind: kinds.size,
    initial: 100n,
    unit: 'ms',
    since: '4.0',
    side: 'destination',
    global: 'announce-step',
    applies: 'at the end of incoming',
    // QEMU's text says that 0 is legal; QEMU refuses it.
    range: { minimum: 1, maximum: 10_000, text: 'expects a value between 0 and 10000' },
    summary: 'By how much the delay between self-announcements grows.',
    effect: 'effective',
  }),
  'throttle-trigger-threshold': row({
    kind: kinds.uint8,
    initial: 50,
    unit: '%',
    since: '5.0',
    side: 'source',
    global: 'x-throttle-trigger-threshold',
    applies: 'next window',
    range: percentage(1, 100),
    summary: 'Share of the sent bytes that the guest must dirty again for auto-converge to throttle.',
    effect: 'effective',
  }),
  'cpu-throttle-initial': row({
    kind: kinds.uint8,
    initial: 20,
    unit: '%',
    since: '2.7',
    side: 'source',
    global: 'x-cpu-throttle-initial',
    applies: 'next window',
    range: percentage(1, 99),
    summary: 'First throttle of auto-converge.',
    effect: 'effective',
  }),
  'cpu-throttle-increment': row({
    kind: kinds.uint8,
    initial: 10,
    unit: '%',
    since: '2.7',
    side: 'source',
    global: 'x-cpu-throttle-increment',
    applies: 'next window',
    range: percentage(1, 99),
    summary: 'By how much auto-converge throttles more each time.',
    effect: 'effective',
  }),
  'cpu-throttle-tailslow': row({
    kind: kinds.boolean,
    initial: false,
    since: '5.1',
    side: 'source',
    global: 'x-cpu-throttle-tailslow',
    applies: 'next window',
    summary: 'Throttle in smaller steps towards the end.',
    effect: 'effective',
  }),
  'tls-creds': row({
    kind: kinds.stringOrNull,
    initial: '',
    since: '2.7',
    side: 'both',
    global: 'tls-creds',
    applies: 'when a channel opens',
    summary: 'Name of the TLS credentials; not empty means TLS on every channel.',
    effect: 'effective',
  }),
  'tls-hostname': row({
    kind: kinds.stringOrNull,
    initial: '',
    since: '2.7',
    side: 'source',
    global: 'tls-hostname',
    applies: 'when a channel opens',
    summary: "Name expected in the server's certificate; empty means the host of the URI.",
    effect: 'effective',
  }),
  'tls-authz': row({
    kind: kinds.stringOrNull,
    initial: '',
    since: '4.0',
    side: 'destination',
    global: 'tls-authz',
    applies: 'when a channel opens',
    summary: 'Name of the authorization object for client certificates.',
    effect: 'effective',
  }),
  'max-bandwidth': row({
    kind: kinds.size,
    initial: 134_217_728n,
    unit: 'bytes/s',
    since: '2.8',
    side: 'source',
    global: 'x-max-bandwidth',
    applies: 'at once',
    summary: 'Rate limit before switchover; 0 means no limit.',
    effect: 'effective',
  }),
  'avail-switchover-bandwidth': row({
    kind: kinds.size,
    initial: 0n,
    unit: 'bytes/s',
    since: '8.2',
    side: 'source',
    global: 'avail-switchover-bandwidth',
    applies: 'next window',
    summary: 'Bandwidth to reckon with when deciding on switchover; 0 means the measured one.',
    effect: 'effective',
  }),
  'downtime-limit': row({
    kind: kinds.uint64,
    initial: 300n,
    unit: 'ms',
    since: '2.8',
    side: 'source',
    global: 'x-downtime-limit',
    applies: 'next window',
    range: { minimum: 0, maximum: 2_000_000, text: 'expects an integer in the range of 0 to (2000 * 1000) ms' },
    summary: 'How long the guest may stand still at switchover.',
    effect: 'effective',
  }),
  'x-checkpoint-delay': row({
    kind: kinds.uint32,
    initial: 20_000,
    unit: 'ms',
    since: '2.8',
    side: 'source',
    global: 'x-checkpoint-delay',
    applies: 'at once',
    summary: 'Time between two COLO checkpoints.',
    effect: 'stored',
  }),
  'multifd-channels': row({
    kind: kinds.uint8,
    initial: 2,
    since: '4.0',
    side: 'both',
    global: 'multifd-channels',
    applies: 'at start',
    range: between(1, 255),
    summary: 'Number of multifd connections; must be the same on both sides.',
    effect: 'effective',
  }),
  'xbzrle-cache-size': row({
    kind: kinds.size,
    initial: 67_108_864n,
    unit: 'bytes',
    since: '2.11',
    side: 'source',
    global: 'xbzrle-cache-size',
    applies: 'at start',
    summary: 'Size of the cache of sent pages: a power of two, at least one page.',
    effect: 'effective',
  }),
  'max-postcopy-bandwidth': row({
    kind: kinds.size,
    initial: 0n,
    unit: 'bytes/s',
    since: '3.0',
    side: 'source',
    global: 'max-postcopy-bandwidth',
    applies: 'at once',
    summary: 'Rate limit in postcopy; 0 means no limit.',
    effect: 'stored',
  }),
  'max-cpu-throttle': row({
    kind: kinds.uint8,
    initial: 99,
    unit: '%',
    since: '3.1',
    side: 'source',
    global: 'max-cpu-throttle',
    applies: 'next window',
    summary: 'Highest throttle of auto-converge: at least cpu-throttle-initial, at most 99.',
    effect: 'effective',
  }),
  'multifd-compression': row({
    kind: compressionKind,
    initial: 'none',
    since: '5.0',
    side: 'both',
    global: 'multifd-compression',
    applies: 'at start',
    summary: 'Compression of the multifd connections; must be the same on both sides.',
    effect: 'effective',
  }),
  'multifd-zlib-level': row({
    kind: kinds.uint8,
    initial: 1,
    since: '5.0',
    side: 'source',
    global: 'multifd-zlib-level',
    applies: 'at start',
    range: between(0, 9),
    summary: 'Level of zlib compression.',
    effect: 'effective',
  }),
  'multifd-qatzip-level': row({
    kind: kinds.uint8,
    initial: 1,
    since: '9.2',
    side: 'source',
    global: 'multifd-qatzip-level',
    applies: 'at start',
    range: between(1, 9),
    summary: 'Level of qatzip compression (an accelerator card; not among the methods here).',
    effect: 'stored',
  }),
  'multifd-zstd-level': row({
    kind: kinds.uint8,
    initial: 1,
    since: '5.0',
    side: 'source',
    global: 'multifd-zstd-level',
    applies: 'at start',
    range: between(0, 20),
    summary: 'Level of zstd compression.',
    effect: 'effective',
  }),
  'block-bitmap-mapping': row({
    kind: bitmapMappingKind,
    initial: undefined,
    since: '5.2',
    side: 'both',
    applies: 'at start',
    summary: 'Names of block nodes and dirty bitmaps in the stream.',
    effect: { accepts: (value) => value.length === 0, reason: 'there are no block devices' },
  }),
  'x-vcpu-dirty-limit-period': row({
    kind: kinds.uint64,
    initial: 1000n,
    unit: 'ms',
    since: '8.1',
    side: 'source',
    global: 'x-vcpu-dirty-limit-period',
    applies: 'next window',
    range: between(1, 1000),
    summary: 'How often dirty-limit measures the dirty rate, which it then tells.',
    effect: 'effective',
  }),
  'vcpu-dirty-limit': row({
    kind: kinds.uint64,
    initial: 1n,
    unit: 'MiB/s',
    since: '8.1',
    side: 'source',
    global: 'vcpu-dirty-limit',
    applies: 'next window',
    // QEMU's text says that 1 is illegal; QEMU accepts it. No upper bound.
    range: { minimum: 1, maximum: Number.POSITIVE_INFINITY, text: 'must be greater than 1 MB/s' },
    summary: 'Dirty rate per vCPU that dirty-limit allows.',
    effect: 'effective',
  }),
  mode: row({
    kind: enumOf(['normal', 'cpr-reboot', 'cpr-transfer']),
    initial: 'normal',
    since: '8.2',
    side: 'both',
    global: 'mode',
    applies: 'at start',
    summary: 'Live migration, or checkpoint and restart: with cpr-reboot the guest stands still from the start.',
    effect: {
      accepts: (value) => value !== 'cpr-transfer',
      reason: 'memory cannot be handed to another process: that takes passed file descriptors',
    },
  }),
  'zero-page-detection': row({
    kind: enumOf(['none', 'legacy', 'multifd']),
    initial: 'multifd',
    since: '9.0',
    side: 'source',
    global: 'zero-page-detection',
    applies: 'at start',
    summary:
      'Who looks for pages of zeros: nobody, the main thread, or the multifd senders (main thread without multifd).',
    effect: 'effective',
  }),
  'direct-io': row({
    kind: kinds.boolean,
    initial: false,
    since: '9.1',
    side: 'both',
    applies: 'when a channel opens',
    summary: 'Bypass the page cache for the pages of a mapped-ram file; with multifd only.',
    effect: 'effective',
  }),
} as const;

/** The name of a parameter. */
export type ParameterName = keyof typeof PARAMETERS;
/** The type of one parameter's value. */
export type ParameterValue<N extends ParameterName> = KindValue<(typeof PARAMETERS)[N]['kind']>;
/** All parameters with their values; `block-bitmap-mapping` is absent until it was set. */
export type ParameterValues = {
  readonly [N in Exclude<ParameterName, 'block-bitmap-mapping'>]: ParameterValue<N>;
} & { readonly 'block-bitmap-mapping'?: BitmapMapping };

/** Every parameter's name, in QEMU's order. */
export const PARAMETER_NAMES = Object.keys(PARAMETERS) as ParameterName[];

/** A row with the optional columns visible, for code that walks the table. */
export function parameterRow<N extends ParameterName>(name: N): ParameterRow<ParameterValue<N>> {
  // The row is the one whose kind defines ParameterValue<N>; TypeScript does not follow that through the index.
  return PARAMETERS[name] as unknown as ParameterRow<ParameterValue<N>>;
}

type ParameterMembers = { readonly [N in ParameterName]: Member<ParameterValue<N>, false> };

/** The kind of migrate-set-parameters' arguments: every parameter, each may be left out. */
export const parametersKind = struct(
  // Object.fromEntries forgets which name goes with which kind; the table it walks knows.
  Object.fromEntries(PARAMETER_NAMES.map((name) => [name, optional(parameterRow(name).kind)])) as ParameterMembers,
);

/** The values before anyone sets anything. */
export const INITIAL_PARAMETERS: ParameterValues = Object.fromEntries(
  PARAMETER_NAMES.flatMap((name) => {
    const { initial } = parameterRow(name);
    return initial === undefined ? [] : [[name, initial]];
  }),
  // As above: one entry for every row that has an initial value.
) as ParameterValues;
