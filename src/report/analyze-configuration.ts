/** The configuration section with its subsections, which also say what form RAM records have (spec/wire.md §1.3). */

import { LIMITS } from '../wire/limits.ts';
import { CONFIGURATION_SUBSECTIONS, ELEMENT } from '../wire/stream.ts';
import type { ConfigurationAnalysis } from './analysis.ts';
import { PLAIN_RAM, type RamFormat } from './analyze-ram.ts';
import { hex } from './analyze-vmstate.ts';
import type { StreamCursor } from './stream-cursor.ts';

const UUID_BYTES = 16;
/** Target pages between these are read; the real ones are 10 to 16 bits. */
const MIN_PAGE_BITS = 10;
const MAX_PAGE_BITS = 20;

type ConfigurationValue = ConfigurationAnalysis['subsections'][number]['value'];

/** Reads the section from its type byte to its last subsection. */
export function readConfiguration(cursor: StreamCursor): { configuration: ConfigurationAnalysis; format: RamFormat } {
  cursor.section = 'configuration';
  const offset = cursor.take(1, 'type');
  const length = cursor.u32('length of the machine name');
  if (length > LIMITS.MACHINE_NAME_BYTES) {
    const field = 'length of the machine name';
    throw cursor.overLimit({ at: offset + 1, field, limit: 'MACHINE_NAME_BYTES', actual: length });
  }
  const machine = cursor.text(length, 'machine name');
  const subsections: ConfigurationAnalysis['subsections'][number][] = [];
  let format = PLAIN_RAM;
  while (cursor.peek() === ELEMENT.SUBSECTION) {
    const start = cursor.take(1, 'type');
    const name = cursor.shortText('subsection name');
    const version = cursor.u32('subsection version');
    const { value, says } = readValue(cursor, start, name);
    subsections.push({ name, version, offset: start, size: cursor.at - start, value });
    format = { ...format, ...says };
  }
  return { configuration: { offset, size: cursor.at - offset, machine, subsections }, format };
}

/** A subsection's value, and what it says about the form of RAM records. */
function readValue(
  cursor: StreamCursor,
  start: number,
  name: string,
): { value: ConfigurationValue; says: Partial<RamFormat> } {
  switch (name) {
    case CONFIGURATION_SUBSECTIONS.TARGET_PAGE_BITS: {
      const { at } = cursor;
      const bits = cursor.u32('page bits');
      if (bits >= MIN_PAGE_BITS && bits <= MAX_PAGE_BITS) return { value: bits, says: { pageSize: 2 ** bits } };
      const expected = `${MIN_PAGE_BITS} to ${MAX_PAGE_BITS}`;
      throw cursor.badValue({ at, field: 'page bits', expected, actual: `${bits}` });
    }
    case CONFIGURATION_SUBSECTIONS.CAPABILITIES: {
      const value = capabilityNames(cursor);
      const has = (capability: string) => value.includes(capability);
      return { value, says: { mappedRam: has('mapped-ram'), ignoreShared: has('x-ignore-shared') } };
    }
    case CONFIGURATION_SUBSECTIONS.UUID: {
      const at = cursor.take(UUID_BYTES, 'UUID');
      return { value: uuidText(cursor.bytes.subarray(at, at + UUID_BYTES)), says: {} };
    }
    default:
      throw cursor.badValue({
        at: start,
        field: 'subsection name',
        expected: Object.values(CONFIGURATION_SUBSECTIONS).join(', '),
        actual: `'${name}'`,
      });
  }
}

function capabilityNames(cursor: StreamCursor): string[] {
  const { at } = cursor;
  const count = cursor.u32('number of capabilities');
  if (count > LIMITS.CONFIGURATION_CAPABILITIES) {
    throw cursor.overLimit({ at, field: 'number of capabilities', limit: 'CONFIGURATION_CAPABILITIES', actual: count });
  }
  return Array.from({ length: count }, () => cursor.shortText('capability name'));
}

function uuidText(bytes: Uint8Array): string {
  return hex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
