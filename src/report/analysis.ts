/** What `analyzeStream` finds in a recorded stream: plain data, ready for JSON. Offsets and sizes are bytes in the file. */

import type { ErrorCode } from '../base/errors.ts';

/** A whole stream. Parts that are missing, or lie behind the first fatal error, are absent. */
export interface StreamAnalysis {
  readonly fileBytes: number;
  header?: { readonly offset: number; readonly size: number; readonly version: number };
  configuration?: ConfigurationAnalysis;
  /** Sections, commands and end marks in stream order. */
  readonly elements: AnalyzedElement[];
  /** False for streams sent with `send-section-footer=off`; absent before the first section's end. */
  footers?: boolean;
  /** RAM blocks as listed, with what the whole stream carried for each. */
  readonly ramBlocks: RamBlockAnalysis[];
  vmDescription?: {
    readonly offset: number;
    readonly size: number;
    readonly pageSize: number | undefined;
    readonly devices: number;
  };
  /** Bytes after the last thing that belongs to the stream. */
  trailingBytes: number;
  /** What is wrong, in stream order; the analysis stops at the first one that leaves the next element's place unknown. */
  readonly errors: AnalysisError[];
}

/** One thing that is wrong, as a HarnessError would say it. */
export interface AnalysisError {
  readonly code: ErrorCode;
  readonly offset: number;
  readonly section: string;
  readonly field: string;
  readonly message: string;
}

/** The configuration section (spec/wire.md §1.3). */
export interface ConfigurationAnalysis {
  readonly offset: number;
  size: number;
  readonly machine: string;
  readonly subsections: {
    readonly name: string;
    readonly version: number;
    readonly offset: number;
    readonly size: number;
    readonly value: number | string | readonly string[];
  }[];
}

/** One element of the stream. */
export type AnalyzedElement = SectionAnalysis | CommandAnalysis | EndAnalysis;

/** Common to all elements; `packaged` ones lie inside a PACKAGED command's blob. */
interface ElementPlace {
  readonly offset: number;
  /** Type byte, header, payload and footer. */
  readonly size: number;
  readonly packaged: boolean;
}

/** A section of any type. */
export interface SectionAnalysis extends ElementPlace {
  readonly kind: 'section';
  readonly type: 'start' | 'part' | 'end' | 'full';
  readonly sectionId: number;
  readonly idstr: string;
  readonly instanceId: number;
  readonly version: number;
  readonly payloadOffset: number;
  readonly payloadSize: number;
  /** For `ram`. */
  readonly ram?: RamSectionAnalysis;
  /** For `dirty-bitmap` and `vfio`: how many records of which kind. */
  readonly records?: Readonly<Record<string, number>>;
  /** For sections that the description covers. */
  readonly fields?: readonly FieldValue[];
}

/** A command (spec/wire.md §2). A PACKAGED command is followed by the elements of its blob. */
export interface CommandAnalysis extends ElementPlace {
  readonly kind: 'command';
  /** The name, or `unknown(N)`. */
  readonly name: string;
  readonly id: number;
  /** Hex. */
  readonly data: string;
  /** PACKAGED only: bytes of the blob that follows. */
  readonly packageBytes?: number;
}

/** The EOF byte, of the stream or of a package. */
interface EndAnalysis extends ElementPlace {
  readonly kind: 'eof';
}

/** Number of records of one kind and the bytes they take, words and names included. */
export interface RecordCount {
  count: number;
  bytes: number;
}

/** Kinds of RAM records that are counted. */
export type RamRecordKind = 'zero' | 'page' | 'xbzrle' | 'compressed' | 'flush' | 'list' | 'hook';

/** The payload of one `ram` section. */
export interface RamSectionAnalysis {
  readonly records: Readonly<Record<RamRecordKind, RecordCount>>;
  /** The block list, when this section has one. */
  list?: { readonly totalBytes: number; readonly blocks: readonly RamListEntry[] };
  /** Per block with records in this section. */
  readonly blocks: readonly RamBlockCounts[];
}

/** One block of a list. */
export interface RamListEntry {
  readonly name: string;
  readonly length: number;
  /** x-ignore-shared only: address of the region. */
  readonly address?: number;
  /** mapped-ram only: where the pages are, and how many of them. */
  readonly mapped?: {
    readonly version: number;
    readonly pageSize: number;
    readonly bitmapOffset: number;
    readonly pagesOffset: number;
    readonly pages: number;
  };
}

/** Pages of one block by kind, and the first and last offset that came. */
export interface RamBlockCounts {
  readonly name: string;
  zeroPages: number;
  dataPages: number;
  xbzrlePages: number;
  compressedPages: number;
  firstOffset: number;
  lastOffset: number;
}

/** A block over the whole stream; `length` is absent when no list named it. */
export interface RamBlockAnalysis extends RamBlockCounts {
  length?: number;
}

/** One value of a device's state. */
export interface FieldValue {
  /** `name`, `array[3]`, `struct.member`, `parent/subsection.member`. */
  readonly path: string;
  /** The description's type name. */
  readonly type: string;
  readonly offset: number;
  readonly size: number;
  /** Integers that are not safe as numbers, and bytes, are hex text. */
  readonly value: number | boolean | string;
}
