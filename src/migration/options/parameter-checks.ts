/**
 * The rules for migration parameters (spec/control.md §8.2) as a pure function over the whole resulting set. Types
 * were checked before by the kinds; QEMU's texts name a parameter with underscores here, and with dashes there.
 */

import { HarnessError } from '../../base/errors.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import { type CapabilitySet, ZERO_COPY_CONFLICT } from './capabilities.ts';
import { type BitmapMapping, type ParameterName, type ParameterValues, parameterRow } from './parameters.ts';

/** What some rules look at besides the parameters themselves. */
interface ParameterContext {
  readonly capabilities: CapabilitySet;
}

/**
 * None looks at `old`: QEMU 10.0.2 has one that does, so that a bad set with mapped-ram on succeeds and none after it;
 * ours refuses the bad one (§8.2 row 13, docs/differences.md).
 */
type Rule = (old: ParameterValues, next: ParameterValues, context: ParameterContext) => string | false;

const MAX_NODE_ALIAS_BYTES = 255;
const MAX_NODE_NAME_BYTES = 31;
const MAX_BITMAP_ALIAS_BYTES = 255;
const MAX_BITMAP_NAME_BYTES = 1023;

/** The rows of §8.2 in their order; row 4 cannot fail on 64 bits, row 16 neither (direct I/O is there). */
const RULES: readonly Rule[] = [
  inRange('throttle-trigger-threshold'),
  inRange('cpu-throttle-initial'),
  inRange('cpu-throttle-increment'),
  inRange('downtime-limit'),
  inRange('multifd-channels'),
  inRange('multifd-zlib-level'),
  inRange('multifd-qatzip-level'),
  inRange('multifd-zstd-level'),
  cacheSizeRule,
  maxThrottleRule,
  inRange('announce-initial'),
  inRange('announce-max'),
  inRange('announce-rounds'),
  inRange('announce-step'),
  (_, next) => mappingProblem(next['block-bitmap-mapping'] ?? []),
  (_, next, { capabilities }) => capabilities['zero-copy-send'] && !isPlain(next) && ZERO_COPY_CONFLICT,
  (_, next, { capabilities }) =>
    capabilities['mapped-ram'] &&
    !isPlain(next) &&
    'Mapped-ram only available for non-compressed non-TLS multifd migration',
  inRange('x-vcpu-dirty-limit-period', 'x-vcpu-dirty-limit-period'),
  inRange('vcpu-dirty-limit'),
];

/** The error of the first rule of §8.2 that going from `old` to `next` breaks, or undefined when QEMU would accept it. */
export function paramsCheck(
  old: ParameterValues,
  next: ParameterValues,
  context: ParameterContext,
): HarnessError | undefined {
  for (const rule of RULES) {
    const text = rule(old, next, context);
    if (text !== false) return new HarnessError('qmp/generic', { text });
  }
  return undefined;
}

function inRange(name: ParameterName, nameInText = name.replaceAll('-', '_')): Rule {
  const { range } = parameterRow(name);
  return (_, next) => {
    const value = next[name];
    if (range === undefined || (typeof value !== 'number' && typeof value !== 'bigint')) return false;
    return (value < range.minimum || value > range.maximum) && `Parameter '${nameInText}' ${range.text}`;
  };
}

function cacheSizeRule(_: ParameterValues, next: ParameterValues): string | false {
  const bytes = next['xbzrle-cache-size'];
  const powerOfTwo = (bytes & (bytes - 1n)) === 0n;
  return (
    (bytes < BigInt(PAGE_SIZE) || !powerOfTwo) &&
    "Parameter 'xbzrle_cache_size' expects a power of two no less than the target page size"
  );
}

function maxThrottleRule(_: ParameterValues, next: ParameterValues): string | false {
  const maximum = next['max-cpu-throttle'];
  return (
    (maximum < next['cpu-throttle-initial'] || maximum > 99) &&
    "Parameter 'max_cpu_throttle' expects an integer in the range of cpu_throttle_initial to 99"
  );
}

function isPlain(parameters: ParameterValues): boolean {
  return parameters['multifd-compression'] === 'none' && parameters['tls-creds'] === '';
}

/** Once in list order from names to aliases, then once more from aliases to names (§2.1; order as QEMU answers). */
function mappingProblem(mapping: BitmapMapping): string | false {
  const problem = mappingNamesProblem(mapping) ?? mappingAliasesProblem(mapping);
  return problem !== undefined && `Invalid mapping given for block-bitmap-mapping: ${problem}`;
}

function mappingNamesProblem(mapping: BitmapMapping): string | undefined {
  const nodeNames = new Set<string>();
  for (const { 'node-name': nodeName, alias, bitmaps } of mapping) {
    if (!/^[a-z][a-z0-9._-]*$/i.test(alias)) return `The node alias '${alias}' is not well-formed`;
    const tooLong =
      longer('node alias', alias, MAX_NODE_ALIAS_BYTES) ?? longer('node name', nodeName, MAX_NODE_NAME_BYTES);
    if (tooLong !== undefined) return tooLong;
    if (nodeNames.has(nodeName)) return `The node name '${nodeName}' is mapped twice`;
    nodeNames.add(nodeName);
    const names = new Set<string>();
    for (const bitmap of bitmaps) {
      const bitmapTooLong =
        longer('bitmap alias', bitmap.alias, MAX_BITMAP_ALIAS_BYTES) ??
        longer('bitmap name', bitmap.name, MAX_BITMAP_NAME_BYTES);
      if (bitmapTooLong !== undefined) return bitmapTooLong;
      if (names.has(bitmap.name)) return `The bitmap '${nodeName}'/'${bitmap.name}' is mapped twice`;
      names.add(bitmap.name);
    }
  }
  return undefined;
}

function mappingAliasesProblem(mapping: BitmapMapping): string | undefined {
  const nodeAliases = new Set<string>();
  for (const { alias, bitmaps } of mapping) {
    if (nodeAliases.has(alias)) return `The node alias '${alias}' is used twice`;
    nodeAliases.add(alias);
    const aliases = new Set<string>();
    for (const bitmap of bitmaps) {
      if (aliases.has(bitmap.alias)) return `The bitmap alias '${alias}'/'${bitmap.alias}' is used twice`;
      aliases.add(bitmap.alias);
    }
  }
  return undefined;
}

function longer(what: string, name: string, maximumBytes: number): string | undefined {
  return Buffer.byteLength(name) > maximumBytes
    ? `The ${what} '${name}' is longer than ${maximumBytes} bytes`
    : undefined;
}
