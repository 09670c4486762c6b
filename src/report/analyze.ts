/**
 * A recorded stream taken apart (spec/wire.md §1): header, configuration, every section with its size, RAM records counted,
 * device state with its values. Payloads have no length on the wire, so those of unknown devices are sized by the
 * description at the file's end; without one the analysis goes as far as the first such section. Any file gives an
 * analysis; what is wrong with it stands in `errors`.
 */

import { type HarnessError, isHarnessError, type StreamPlace } from '../base/errors.ts';
import { LIMITS } from '../wire/limits.ts';
import { COMMANDS, ELEMENT, STREAM_MAGIC, STREAM_VERSION } from '../wire/stream.ts';
import type { AnalysisError, CommandAnalysis, SectionAnalysis, StreamAnalysis } from './analysis.ts';
import { readConfiguration } from './analyze-configuration.ts';
import { readDirtyBitmapSection, readVfioSection } from './analyze-live-sections.ts';
import { PLAIN_RAM, RamAnalyzer } from './analyze-ram.ts';
import { hex, VmStateDecoder } from './analyze-vmstate.ts';
import { SectionLayouts } from './section-layouts.ts';
import { StreamCursor } from './stream-cursor.ts';
import { findVmDescription, readVmDescription, type VmDescription } from './vm-description.ts';

export { formatAnalysis } from './format-analysis.ts';

/** Elements kept of one file; an hour of migration has less than 100 000. */
const MAX_ELEMENTS = 250_000;
/** Errors kept; the analysis goes on behind those that leave the next place known. */
const MAX_ERRORS = 100;
/** A multifd channel's greeting, recorded into a file of its own, is a likely mistake. */
const MULTIFD_MAGIC = 0x1122_3344;

const SECTION_TYPES = {
  [ELEMENT.SECTION_START]: 'start',
  [ELEMENT.SECTION_PART]: 'part',
  [ELEMENT.SECTION_END]: 'end',
  [ELEMENT.SECTION_FULL]: 'full',
} as const;
type SectionByte = keyof typeof SECTION_TYPES;

/** What a START or FULL says about its section id. */
interface SectionName {
  readonly idstr: string;
  readonly instanceId: number;
  readonly version: number;
}

/** Takes a whole stream apart. Never throws for what the bytes hold; memory is bounded by the file's size. */
export function analyzeStream(bytes: Uint8Array): StreamAnalysis {
  return new StreamAnalyzer(bytes).run();
}

class StreamAnalyzer {
  readonly #cursor: StreamCursor;
  readonly #analysis: StreamAnalysis;
  readonly #description: VmDescription | undefined;
  readonly #layouts: SectionLayouts;
  readonly #names = new Map<number, SectionName>();
  readonly #decoder: VmStateDecoder;
  #ram: RamAnalyzer;
  #packaged = false;

  constructor(bytes: Uint8Array) {
    this.#cursor = new StreamCursor(bytes);
    this.#analysis = { fileBytes: bytes.length, elements: [], ramBlocks: [], trailingBytes: 0, errors: [] };
    this.#description = findVmDescription(bytes);
    this.#layouts = new SectionLayouts(this.#description?.devices ?? []);
    this.#decoder = new VmStateDecoder(this.#cursor);
    this.#ram = new RamAnalyzer(this.#cursor, PLAIN_RAM);
  }

  run(): StreamAnalysis {
    this.#noteErrors(() => {
      this.#header();
      if (this.#cursor.peek() === ELEMENT.CONFIGURATION) {
        const { configuration, format } = readConfiguration(this.#cursor);
        this.#analysis.configuration = configuration;
        this.#ram = new RamAnalyzer(this.#cursor, format);
      }
      this.#elements();
      this.#tail();
    });
    this.#analysis.ramBlocks.push(...this.#ram.blocks);
    return this.#analysis;
  }

  /** Runs `step`; what is wrong with the bytes becomes an entry, anything else is our own bug. */
  #noteErrors(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!isHarnessError(error) || !('at' in error.details)) throw error;
      if (this.#analysis.errors.length < MAX_ERRORS) this.#analysis.errors.push(analysisError(error));
    }
  }

  #header(): void {
    const cursor = this.#cursor;
    const magic = cursor.u32('magic');
    if (magic !== STREAM_MAGIC) {
      const hint = magic === MULTIFD_MAGIC ? { hint: 'this is a multifd channel, not a main stream' } : {};
      const actual = `0x${magic.toString(16).padStart(8, '0')}`;
      throw cursor.badValue({ at: 0, field: 'magic', expected: '0x5145564d (QEVM)', actual, ...hint });
    }
    const version = cursor.u32('version');
    if (version !== STREAM_VERSION) {
      throw cursor.badValue({ at: 4, field: 'version', expected: `${STREAM_VERSION}`, actual: `${version}` });
    }
    this.#analysis.header = { offset: 0, size: cursor.at, version };
  }

  /** Elements up to the EOF byte, of the stream or of a package. */
  #elements(): void {
    const cursor = this.#cursor;
    for (;;) {
      cursor.section = 'element';
      if (this.#analysis.elements.length >= MAX_ELEMENTS) {
        throw cursor.unsupported({
          at: cursor.at,
          field: 'type',
          what: `an analysis of more than ${MAX_ELEMENTS} elements`,
        });
      }
      const offset = cursor.at;
      const type = cursor.u8('type');
      if (type === ELEMENT.EOF) {
        this.#analysis.elements.push({ kind: 'eof', offset, size: 1, packaged: this.#packaged });
        return;
      }
      if (type === ELEMENT.COMMAND) {
        if (this.#command(offset) === COMMANDS.POSTCOPY_RUN.id && this.#packaged) return;
      } else if (isSectionByte(type)) {
        this.#section(offset, type);
      } else {
        const expected = 'an element (0 to 4 or 8)';
        throw cursor.badValue({ at: offset, field: 'type', expected, actual: `0x${type.toString(16)}` });
      }
    }
  }

  #command(offset: number): number {
    const cursor = this.#cursor;
    const id = cursor.u16('command');
    const name = Object.entries(COMMANDS).find(([, row]) => row.id === id)?.[0] ?? `unknown(${id})`;
    cursor.section = `command ${name}`;
    const length = cursor.u16('length');
    const at = cursor.take(length, 'data');
    const data = hex(cursor.bytes.subarray(at, at + length));
    const command = {
      kind: 'command',
      name,
      id,
      data,
      offset,
      size: cursor.at - offset,
      packaged: this.#packaged,
    } as const;
    if (id !== COMMANDS.PACKAGED.id || length !== COMMANDS.PACKAGED.length) this.#analysis.elements.push(command);
    else this.#package(command, cursor.view.getUint32(at));
    return id;
  }

  /** The blob behind a PACKAGED command: elements of their own, ended by EOF or RUN. */
  #package(command: CommandAnalysis, packageBytes: number): void {
    const cursor = this.#cursor;
    this.#analysis.elements.push({ ...command, packageBytes });
    if (this.#packaged) {
      const what = 'a package inside a package';
      throw cursor.unsupported({ at: command.offset, field: 'command', what });
    }
    const outerEnd = cursor.end;
    const packageEnd = cursor.at + packageBytes;
    cursor.end = Math.min(outerEnd, packageEnd);
    this.#packaged = true;
    this.#noteErrors(() => this.#elements());
    this.#packaged = false;
    // Whatever is left in the blob is skipped: its size is known, so the stream goes on behind it.
    cursor.at = cursor.end;
    cursor.end = outerEnd;
    cursor.section = 'command PACKAGED';
    cursor.take(packageEnd - cursor.at, 'package');
  }

  #section(offset: number, type: SectionByte): void {
    const cursor = this.#cursor;
    cursor.section = `${SECTION_TYPES[type]} section`;
    const sectionId = cursor.u32('section id');
    const name = this.#sectionName(sectionId, type);
    cursor.section = `section '${name.idstr}' instance ${name.instanceId} version ${name.version}`;
    const payloadOffset = cursor.at;
    const body = this.#payload(name, type);
    const payloadSize = cursor.at - payloadOffset;
    this.#footer(sectionId, body.ram !== undefined);
    this.#analysis.elements.push({
      ...{ kind: 'section', type: SECTION_TYPES[type], offset, size: cursor.at - offset, packaged: this.#packaged },
      ...{ sectionId, ...name, payloadOffset, payloadSize, ...body },
    });
  }

  /** START and FULL carry the name; PART and END have that of the last one with their id. */
  #sectionName(sectionId: number, type: SectionByte): SectionName {
    const cursor = this.#cursor;
    if (type === ELEMENT.SECTION_START || type === ELEMENT.SECTION_FULL) {
      const idstr = cursor.shortText('idstr');
      const name = { idstr, instanceId: cursor.u32('instance id'), version: cursor.u32('version id') };
      this.#names.set(sectionId, name);
      return name;
    }
    const name = this.#names.get(sectionId);
    if (name !== undefined) return name;
    const expected = 'the id of an earlier start';
    throw cursor.badValue({ at: cursor.at - 4, field: 'section id', expected, actual: `${sectionId}` });
  }

  #payload(name: SectionName, type: SectionByte): Pick<SectionAnalysis, 'ram' | 'records' | 'fields'> {
    const cursor = this.#cursor;
    if (name.idstr === 'ram') return { ram: this.#ram.section() };
    if (name.idstr === 'dirty-bitmap') return { records: readDirtyBitmapSection(cursor) };
    const layout = this.#layouts.take(name);
    if (layout !== undefined && type !== ELEMENT.SECTION_PART && type !== ELEMENT.SECTION_END) {
      const payloadEnd = cursor.at + layout.size;
      cursor.take(layout.size, 'payload');
      cursor.at = payloadEnd - layout.size;
      let fields: SectionAnalysis['fields'];
      this.#noteErrors(() => {
        fields = this.#decoder.decode(layout);
      });
      // A value that is not as described does not move the section's end.
      cursor.at = payloadEnd;
      return fields === undefined ? {} : { fields };
    }
    if (type !== ELEMENT.SECTION_FULL && /(?:^|\/)vfio$/.test(name.idstr)) return { records: readVfioSection(cursor) };
    throw cursor.unsupported({
      at: cursor.at,
      field: 'payload',
      what:
        this.#description === undefined
          ? 'without a description at the end of the file the size of this section is unknown'
          : 'the description at the end of the file has no such section',
    });
  }

  /** The first RAM payload, whose end is its own mark, shows whether this stream has footers; before it they are expected. */
  #footer(sectionId: number, endIsCertain: boolean): void {
    const cursor = this.#cursor;
    const next = cursor.peek();
    this.#analysis.footers ??= !(endIsCertain && next !== undefined && isElementByte(next));
    if (!this.#analysis.footers) return;
    const { at } = cursor;
    const mark = cursor.u8('footer');
    const id = mark === ELEMENT.FOOTER ? cursor.u32('footer id') : undefined;
    if (id === sectionId) return;
    const actual = id === undefined ? `0x${mark.toString(16)}` : `0x7e ${id}`;
    throw cursor.badValue({ at, field: 'footer', expected: `0x7e ${sectionId}`, actual });
  }

  /** The description, and what lies behind the stream's end. */
  #tail(): void {
    const cursor = this.#cursor;
    if (cursor.peek() === ELEMENT.VMDESCRIPTION) this.#noteErrors(() => this.#vmDescription());
    this.#analysis.trailingBytes = cursor.bytes.length - cursor.at;
  }

  #vmDescription(): void {
    const cursor = this.#cursor;
    cursor.section = 'vmdescription';
    const offset = cursor.take(1, 'type');
    const length = cursor.u32('length');
    if (length > LIMITS.VMDESCRIPTION_BYTES) {
      throw cursor.overLimit({ at: offset + 1, field: 'length', limit: 'VMDESCRIPTION_BYTES', actual: length });
    }
    cursor.take(length, 'JSON');
    const found =
      this.#description?.offset === offset ? this.#description : readVmDescription(cursor.bytes, offset, length);
    const { size, pageSize, devices } = found;
    this.#analysis.vmDescription = { offset, size, pageSize, devices: devices.length };
  }
}

function analysisError(error: HarnessError): AnalysisError {
  // Only errors with a place come here; which of their codes it is does not matter.
  const { at, section, field } = error.details as StreamPlace;
  return { code: error.code, offset: at, section, field, message: error.message };
}

function isSectionByte(type: number): type is SectionByte {
  return type in SECTION_TYPES;
}

function isElementByte(type: number): boolean {
  return isSectionByte(type) || type === ELEMENT.EOF || type === ELEMENT.COMMAND;
}
