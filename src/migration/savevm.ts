/**
 * Device sections that every machine has, `timer` and `globalstate`, saved, loaded and described (spec/wire.md §9, §10),
 * and the framing of sections on the way out (§1). Field order and sizes are declared once per section.
 */

import { isRunState, type RunState } from '../hw/run-state.ts';
import { PAGE_SIZE } from '../wire/ram.ts';
import {
  COMMANDS,
  CONFIGURATION_SUBSECTIONS,
  type CommandName,
  ELEMENT,
  STREAM_MAGIC,
  STREAM_VERSION,
} from '../wire/stream.ts';
import { buffer, i64, padding, struct, u8, u32 } from '../wire/struct.ts';
import { ByteWriter } from '../wire/writer.ts';
import { latin1, type StreamReader } from './transport/stream-reader.ts';

/** What travels in the two sections: virtual clock and run state at the moment the source stopped. */
export interface VmState {
  /** Ticks of the guest's time-stamp counter when stopped; 0 if it never ran. */
  cpuTicksOffset: bigint;
  /** Virtual clock in nanoseconds when stopped; 0 if it never ran. */
  cpuClockOffset: bigint;
  /** Run state before the stop. */
  runState: RunState;
  /** The guest was suspended before it was stopped. */
  wasSuspended: boolean;
}

/** One FULL section of the machine itself. */
export interface FullSection {
  readonly idstr: string;
  readonly instanceId: number;
  readonly version: number;
  readonly minimumVersion: number;
  /** Section id that we send; QEMU's own, so that streams are equal. Loaders take any. */
  readonly sectionId: number;
  /** The fields of `version`, for the vmdescription. */
  readonly fields: readonly { readonly name: string; readonly type: string; readonly size: number }[];
  save(state: VmState): Uint8Array;
  /** Reads the payload of `version`, already checked to be within bounds. */
  load(reader: StreamReader, version: number, state: VmState): Promise<void>;
}

const TIMER_FIELDS_1 = [i64('cpu_ticks_offset'), padding('unused', 8, 'unused_buffer')] as const;
const TIMER_1 = struct(TIMER_FIELDS_1);
const TIMER_2 = struct([...TIMER_FIELDS_1, i64('cpu_clock_offset')]);

const TIMER: FullSection = {
  idstr: 'timer',
  instanceId: 0,
  version: 2,
  minimumVersion: 1,
  sectionId: 0,
  fields: TIMER_2.fields,
  save: (state) => TIMER_2.encode({ cpu_ticks_offset: state.cpuTicksOffset, cpu_clock_offset: state.cpuClockOffset }),
  load: async (reader, version, state) => {
    if (version === 1) {
      state.cpuTicksOffset = (await reader.struct(TIMER_1)).cpu_ticks_offset;
      return;
    }
    const timer = await reader.struct(TIMER_2);
    state.cpuTicksOffset = timer.cpu_ticks_offset;
    state.cpuClockOffset = timer.cpu_clock_offset;
  },
};

const GLOBALSTATE_1 = struct([
  u32('size'),
  buffer('runstate', 32),
  u8('has_vm_was_suspended'),
  u8('vm_was_suspended'),
  padding('unused', 66, 'buffer'),
]);

const GLOBALSTATE: FullSection = {
  idstr: 'globalstate',
  instanceId: 0,
  version: 1,
  minimumVersion: 1,
  sectionId: 3,
  fields: GLOBALSTATE_1.fields,
  save: (state) => {
    const runstate = new Uint8Array(32);
    new TextEncoder().encodeInto(state.runState, runstate);
    const suspended = state.wasSuspended ? 1 : 0;
    return GLOBALSTATE_1.encode({
      size: state.runState.length + 1,
      runstate,
      has_vm_was_suspended: 1,
      vm_was_suspended: suspended,
    });
  },
  load: async (reader, _version, state) => {
    const at = reader.offset + 4;
    const loaded = await reader.struct(GLOBALSTATE_1);
    const text = latin1(loaded.runstate);
    const end = text.indexOf('\0');
    const name = end < 0 ? text : text.slice(0, end);
    if (end < 0 || !isRunState(name)) {
      const actual = end < 0 ? `${JSON.stringify(text)} without an end` : `'${name}'`;
      throw reader.bad({ at, field: 'runstate', expected: 'the name of a run state', actual });
    }
    state.runState = name;
    state.wasSuspended = loaded.has_vm_was_suspended === 1 && loaded.vm_was_suspended !== 0;
  },
};

/** The machine's own FULL sections, in the order a source sends them. */
export function machineSections(options: { storeGlobalState: boolean }): readonly FullSection[] {
  return options.storeGlobalState ? [TIMER, GLOBALSTATE] : [TIMER];
}

/** What the configuration section tells; subsections only where there is something to tell. */
export interface Configuration {
  readonly machineName: string;
  readonly uuid: Uint8Array | undefined;
  /** Capabilities that are on and must be on at the other side too. */
  readonly capabilities: readonly string[];
}

/** Everything a source writes that is not RAM pages, as bytes. */
export class StreamFraming {
  readonly #footers: boolean;

  constructor(options: { sectionFooters: boolean }) {
    this.#footers = options.sectionFooters;
  }

  /** Magic and version, and the configuration section when `configuration` is given. */
  header(configuration: Configuration | undefined): Uint8Array {
    const writer = new ByteWriter().u32(STREAM_MAGIC).u32(STREAM_VERSION);
    if (configuration === undefined) return writer.take();
    const name = new TextEncoder().encode(configuration.machineName);
    writer.u8(ELEMENT.CONFIGURATION).u32(name.length).bytes(name);
    const { capabilities } = configuration;
    if (capabilities.length > 0) {
      writer.u8(ELEMENT.SUBSECTION).text8(CONFIGURATION_SUBSECTIONS.CAPABILITIES).u32(1).u32(capabilities.length);
      for (const capability of capabilities) writer.text8(capability);
    }
    if (configuration.uuid !== undefined) {
      writer.u8(ELEMENT.SUBSECTION).text8(CONFIGURATION_SUBSECTIONS.UUID).u32(1).bytes(configuration.uuid);
    }
    return writer.take();
  }

  /** Header of a START or FULL section. */
  sectionHeader(
    type: 'SECTION_START' | 'SECTION_FULL',
    section: { id: number; idstr: string; instanceId: number; version: number },
  ): Uint8Array {
    return new ByteWriter()
      .u8(ELEMENT[type])
      .u32(section.id)
      .text8(section.idstr)
      .u32(section.instanceId)
      .u32(section.version)
      .take();
  }

  /** Header of a PART or END section. */
  partHeader(type: 'SECTION_PART' | 'SECTION_END', id: number): Uint8Array {
    return new ByteWriter().u8(ELEMENT[type]).u32(id).take();
  }

  /** The footer, empty when both sides agreed to leave it out. */
  footer(id: number): Uint8Array {
    return this.#footers ? new ByteWriter().u8(ELEMENT.FOOTER).u32(id).take() : new Uint8Array(0);
  }

  command(name: CommandName, data: Uint8Array = new Uint8Array(0)): Uint8Array {
    return new ByteWriter().u8(ELEMENT.COMMAND).u16(COMMANDS[name].id).u16(data.length).bytes(data).take();
  }

  /** Asks the destination for a PONG of that value. */
  ping(value: number): Uint8Array {
    return this.command('PING', new ByteWriter().u32(value).take());
  }

  /** EOF and the description. */
  end(description: string | undefined): Uint8Array {
    const writer = new ByteWriter().u8(ELEMENT.EOF);
    if (description === undefined) return writer.take();
    const json = new TextEncoder().encode(description);
    return writer.u8(ELEMENT.VMDESCRIPTION).u32(json.length).bytes(json).take();
  }
}

/** The vmdescription JSON (spec/wire.md §9.9) of all FULL sections in their order, with QEMU's separators. */
export function describe(options: Configuration & { readonly devices: readonly object[] }): string {
  const subsections = describeConfiguration(options);
  const configuration = {
    vmsd_name: 'configuration',
    version: 1,
    fields: [
      { name: 'len', type: 'uint32', size: 4 },
      { name: 'name', type: 'buffer', size: options.machineName.length },
    ],
    ...(subsections.length === 0 ? {} : { subsections }),
  };
  return spaced({ configuration, page_size: PAGE_SIZE, devices: options.devices });
}

function describeConfiguration({ uuid, capabilities }: Configuration): object[] {
  const subsection = (vmsd_name: string, fields: object[]) => ({ vmsd_name, version: 1, fields });
  const named = capabilities.map((name) => ({ name: 'capabilities', type: 'capability', size: name.length + 1 }));
  return [
    ...(capabilities.length === 0
      ? []
      : [
          subsection(CONFIGURATION_SUBSECTIONS.CAPABILITIES, [
            { name: 'caps_count', type: 'uint32', size: 4 },
            ...named,
          ]),
        ]),
    ...(uuid === undefined
      ? []
      : [subsection(CONFIGURATION_SUBSECTIONS.UUID, [{ name: 'uuid.data', array_len: 16, type: 'uint8', size: 1 }])]),
  ];
}

/** The description of one of the machine's own sections. */
export function describeSection(section: FullSection): object {
  return {
    name: section.idstr,
    instance_id: section.instanceId,
    vmsd_name: section.idstr,
    version: section.version,
    fields: section.fields.map(({ name, type, size }) => ({ name, type, size })),
  };
}

/** JSON with `", "` and `": "` between members, as QEMU and Python write it. */
function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = membersOf(value).map(([key, member]) => `${JSON.stringify(key)}: ${spaced(member)}`);
  return `{${members.join(', ')}}`;
}

/** A queue's elements are members of its field, whose keys repeat (spec/wire.md §9.9). */
function membersOf(value: object): [string, unknown][] {
  return Object.entries(value).flatMap(([key, member]) =>
    key === 'elements' && Array.isArray(member) ? member.flatMap(membersOf) : [[key, member] as [string, unknown]],
  );
}
