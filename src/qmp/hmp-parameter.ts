/** The value of `migrate_set_parameter NAME VALUE`: text to what migrate-set-parameters takes, by the parameter's kind. */

import { HarnessError } from '../base/errors.ts';
import type { JsonValue } from '../base/json.ts';
import * as kinds from '../base/kinds.ts';
import { parseQemuSize } from '../base/units.ts';
import { PARAMETER_NAMES, type ParameterName, parameterRow } from '../migration/options/parameters.ts';

/** Parameters whose plain numbers are MiB per second. */
const IN_MEBIBYTES: ReadonlySet<string> = new Set<ParameterName>(['max-bandwidth', 'avail-switchover-bandwidth']);
const SUFFIX_HELP =
  '\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.';

/** An object with the one parameter. Throws `qmp/generic` with QEMU's text for a bad name or value. */
export function parameterFromText(name: string, text: string): Readonly<Record<string, unknown>> {
  if (!isParameter(name)) return refuse(`invalid parameter value: ${name}`);
  if (name === 'block-bitmap-mapping') {
    return refuse('The block-bitmap-mapping parameter can only be set through QMP');
  }
  const { kind } = parameterRow(name);
  return { [name]: kind.parse(toJson(text, name, kind.name), name) };
}

/** The JSON value that the text stands for; a text that stands for none is left to the kind to refuse. */
function toJson(text: string, name: ParameterName, kindName: string): JsonValue {
  switch (kindName) {
    case kinds.boolean.name:
      return onOff(text, name);
    case kinds.size.name:
    case kinds.uint64.name:
      return sizeOf(text, name);
    case kinds.uint8.name:
    case kinds.uint32.name:
      return /^[-+]?\d+$|^0x[0-9a-f]+$/i.test(text) ? BigInt(text) : text;
    default:
      return text;
  }
}

function onOff(text: string, name: string): boolean {
  if (['on', 'yes', 'true', 'y'].includes(text)) return true;
  if (['off', 'no', 'false', 'n'].includes(text)) return false;
  return refuse(`Parameter '${name}' expects 'on' or 'off'`);
}

function sizeOf(text: string, name: string): bigint {
  const inMebibytes = IN_MEBIBYTES.has(name);
  const size = parseQemuSize(text, inMebibytes ? 'm' : '');
  // Whatever is wrong with a bandwidth, QEMU has one sentence; a cache may not have more than a host's addresses.
  if (inMebibytes && typeof size === 'string') return refuse(`Invalid size ${text}`);
  const isWhole = /^-?\d+$/.test(text.trim()); // a negative one is out of range only if it is a number at all
  if (size === 'invalid' || (size === 'out of range' && text.includes('-') && !isWhole))
    return refuse(`Parameter '${name}' expects a non-negative number below 2^64${SUFFIX_HELP}`);
  if (size === 'out of range') return refuse(`Value '${text}' is out of range for parameter '${name}'`);
  const isBytes = inMebibytes || name === 'xbzrle-cache-size';
  if (isBytes && size >= 1n << 63n) return refuse(`Invalid size ${text}`);
  return size;
}

function isParameter(name: string): name is ParameterName {
  return PARAMETER_NAMES.some((known) => known === name);
}

function refuse(text: string): never {
  throw new HarnessError('qmp/generic', { text });
}
