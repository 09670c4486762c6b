/**
 * Loads a stream: header and configuration, then elements until EOF, then the description (spec/wire.md §1, §2, §12).
 * Every error names offset, section, field, expected and actual. What a real QEMU tolerates without harm is tolerated.
 */

import type { Clock } from '../base/clock.ts';
import { HarnessError, isHarnessError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { LIMITS } from '../wire/limits.ts';
import { RAM_VERSION } from '../wire/ram.ts';
import { ELEMENT } from '../wire/stream.ts';
import type { DestinationMachine } from './destination.ts';
import type { DestinationDevice } from './device-sections.ts';
import type { LedgerRecorder } from './ledger.ts';
import { CommandLoader } from './loadvm-commands.ts';
import { ConfigurationLoader } from './loadvm-configuration.ts';
import { DeviceLoader } from './loadvm-devices.ts';
import type { MigrationOptionsSnapshot } from './options/options.ts';
import type { PageExpander } from './ram/page-expander.ts';
import { type MappedFile, RamLoader, type RamSync } from './ram/ram-load.ts';
import { ReturnPathWriter } from './return-path.ts';
import { type FullSection, machineSections, type VmState } from './savevm.ts';
import { bytesSource } from './transport/bytes-source.ts';
import type { Channel } from './transport/channel.ts';
import { latin1, StreamReader, stagingBuffer } from './transport/stream-reader.ts';
import type { StateIntake } from './vfio/state-intake.ts';
import type { AckPolicy } from './vfio/switchover-ack.ts';

interface Section {
  readonly name: string;
  /** Its row in the downtime ledger. */
  readonly row: string;
  /** It tells only that its contents came another way: no time is its own. */
  readonly isEmpty?: boolean;
  load(reader: StreamReader): Promise<void>;
}

/** Loads one stream into a machine. */
export class StreamLoader {
  readonly #reader: StreamReader;
  readonly #channel: Channel;
  readonly #machine: DestinationMachine;
  readonly #options: MigrationOptionsSnapshot;
  readonly #log: Logger;
  readonly #configuration: ConfigurationLoader;
  readonly #ram: RamLoader;
  readonly #commands: CommandLoader;
  readonly #devices: DeviceLoader;
  readonly #ledger: LedgerRecorder;
  readonly #clock: Clock;
  /** When the last section was read. */
  #arrivedMs = 0;
  /** When the first part of a live section came; undefined before. */
  #partsSinceMs: number | undefined;
  readonly #sections = new Map<number, Section>();
  /** For packages, which come one after the other: their reader's buffer, and the RAM loader of the current one. */
  #packageStaging: ReturnType<typeof stagingBuffer> | undefined;
  #packageRam: RamLoader | undefined;
  /** A stream without `globalstate` counts as one of a running guest. */
  readonly #state: VmState = { cpuTicksOffset: 0n, cpuClockOffset: 0n, runState: 'running', wasSuspended: false };

  constructor(deps: {
    reader: StreamReader;
    channel: Channel;
    machine: DestinationMachine;
    devices: readonly DestinationDevice[];
    /** What comes for devices over channels beside the main one. */
    intake: StateIntake;
    options: MigrationOptionsSnapshot;
    /** Channels beside the main one, if there are any. */
    channels?: RamSync | undefined;
    /** For compressed pages; undefined where there may be none. */
    expander?: PageExpander | undefined;
    /** With mapped-ram. */
    mapped?: MappedFile | undefined;
    clock: Clock;
    ledger: LedgerRecorder;
    log: Logger;
  }) {
    this.#reader = deps.reader;
    this.#channel = deps.channel;
    this.#machine = deps.machine;
    this.#options = deps.options;
    this.#log = deps.log;
    this.#configuration = new ConfigurationLoader(deps);
    this.#ram = new RamLoader(deps.reader, deps.machine.ramBlocks, {
      sync: deps.channels,
      expander: deps.expander,
      mapped: deps.mapped,
      ignoreShared: deps.options.capabilities['x-ignore-shared'],
    });
    this.#ledger = deps.ledger;
    this.#clock = deps.clock;
    const { capabilities, properties } = deps.options;
    const ack: AckPolicy = {
      mode: properties['switchover-ack-legacy'] ? 'legacy' : 'reusable',
      isOn: capabilities['switchover-ack'],
    };
    this.#commands = new CommandLoader({
      ack,
      openReturnPath: async () => {
        const returnPath = new ReturnPathWriter(this.#channel.bidirectional ? this.#channel.sink : NOWHERE);
        await this.#devices.returnPathOpened(returnPath);
        return returnPath;
      },
      switchover: () => this.#devices.switchover(),
      tellDevices: () => this.#devices.tellBacklog(),
      answersProbe: deps.machine.machineName !== 'none',
      clock: deps.clock,
      loadPackage: (bytes, offset) => this.#package(bytes, offset),
      blocks: deps.machine.ramBlocks,
      log: deps.log,
    });
    this.#devices = new DeviceLoader({
      ...deps,
      ack,
      commands: this.#commands,
    });
  }

  /** Before the first byte: devices that stream get ready to take state. */
  async setup(): Promise<void> {
    await this.#devices.setup();
  }

  /** After a failure: devices that stream leave the state in which they took it. */
  async cleanup(): Promise<void> {
    await this.#devices.cleanup();
  }

  /** Reads magic, version and the configuration section. */
  header(): Promise<void> {
    return this.#configuration.load();
  }

  /** Reads elements up to EOF. Returns the state that the device sections carried. */
  async elements(): Promise<VmState> {
    await this.#elements(this.#reader);
    await this.#devices.finish(this.#reader);
    this.#arrivedMs = this.#clock.nowMs(); // what devices took until now is their own
    return this.#state;
  }

  async #elements(reader: StreamReader): Promise<void> {
    for (;;) {
      this.#devices.check();
      reader.section = 'between sections';
      const at = reader.offset;
      const type = await reader.u8('element type');
      switch (type) {
        case ELEMENT.EOF:
          return;
        case ELEMENT.SECTION_START:
        case ELEMENT.SECTION_FULL:
          await this.#newSection(reader, type === ELEMENT.SECTION_FULL);
          break;
        case ELEMENT.SECTION_PART:
        case ELEMENT.SECTION_END:
          await this.#knownSection(reader, type === ELEMENT.SECTION_END);
          break;
        case ELEMENT.COMMAND:
          await this.#commands.load(reader);
          break;
        default:
          throw reader.bad({
            at,
            field: 'element type',
            expected: 'EOF (0x00), START, PART, END, FULL (0x01 to 0x04) or COMMAND (0x08)',
            actual: hex(type),
            hint: 'the payload before this byte was longer or shorter than this loader knows it',
          });
      }
    }
  }

  /** After EOF: reads the description if there is one. Whatever is wrong with it, the load has succeeded (§1.5). */
  async description(clock: Clock): Promise<void> {
    const reader = this.#reader;
    reader.section = 'vmdescription';
    const giveUp = new AbortController();
    const patience = clock.sleep(LIMITS.VMDESCRIPTION_MS, giveUp.signal).then(
      () => 'late' as const,
      () => 'late' as const, // only our own abort ends it early, and then the race is over
    );
    const outcome = await Promise.race([this.#description(), patience]);
    giveUp.abort();
    if (outcome !== undefined) this.#log.warn({ outcome }, 'no usable vmdescription after EOF');
    this.#arrived('machine', 'load');
  }

  async #description(): Promise<string | undefined> {
    const reader = this.#reader;
    try {
      if ((await reader.u8('type')) !== ELEMENT.VMDESCRIPTION) return 'another element';
      const length = await reader.u32('length');
      if (length > LIMITS.VMDESCRIPTION_BYTES) return `${length} bytes long`;
      JSON.parse(latin1(await reader.bytes(length, 'JSON')));
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  /** Tells a Switchover at the other end what this side's part of the downtime was spent on. */
  async sendLedger(): Promise<void> {
    await this.#commands.peer?.ledger(this.#ledger.parts.slice(0, LIMITS.LEDGER_PARTS));
  }

  /** Tells the source how it ended, if it opened a return path. */
  async sendFinalStatus(status: 0 | 1): Promise<void> {
    await this.#commands.returnPath?.sendU32('SHUT', status);
  }

  // ── sections ───────────────────────────────────────────────────────────────────────────────────────────────────

  async #newSection(reader: StreamReader, isFull: boolean): Promise<void> {
    reader.section = 'section header';
    const id = await reader.u32('section id');
    const at = reader.offset;
    const idstr = await reader.text8('section name');
    if (idstr === '') throw reader.bad({ at, field: 'section name', expected: 'a name', actual: 'an empty one' });
    const instanceId = await reader.u32('instance id');
    const versionAt = reader.offset;
    const version = await reader.u32('version id');
    const name = `'${idstr}' instance ${instanceId} version ${version} (section id ${id})`;
    const section = this.#find(reader, { at, versionAt, idstr, instanceId, version, name });
    if (!this.#sections.has(id) && this.#sections.size >= LIMITS.SECTIONS) {
      throw reader.overLimit({
        at,
        field: 'sections',
        limit: 'SECTIONS',
        maximum: LIMITS.SECTIONS,
        actual: this.#sections.size + 1,
      });
    }
    this.#sections.set(id, section);
    await this.#payload(reader, section, id);
    if (section.isEmpty === true) this.#arrivedMs = this.#clock.nowMs();
    else if (isFull) this.#arrived(section.row, section.row === 'machine' ? 'load' : 'wire');
  }

  async #knownSection(reader: StreamReader, isLast: boolean): Promise<void> {
    reader.section = 'section header';
    const at = reader.offset;
    const id = await reader.u32('section id');
    const section = this.#sections.get(id);
    if (section === undefined) {
      const known = [...this.#sections.keys()].join(', ') || 'none yet';
      throw reader.bad({
        at,
        field: 'section id',
        expected: `one that a START or FULL section introduced (${known})`,
        actual: `${id}`,
      });
    }
    // What is still being loaded when the guest stops, the last part has to wait for.
    if (isLast && section.isEmpty !== true)
      this.#ledger.add(section.row, 'queue', this.#partsSinceMs ?? this.#arrivedMs, this.#arrivedMs);
    this.#partsSinceMs ??= this.#clock.nowMs();
    await this.#payload(reader, section, id);
    if (isLast && section.isEmpty !== true) this.#arrived(section.row, 'load');
    else this.#arrivedMs = this.#clock.nowMs();
  }

  /** What was spent since the last section arrived went into waiting for this one and reading it. */
  #arrived(row: string, phase: 'wire' | 'load'): void {
    const now = this.#clock.nowMs();
    this.#ledger.add(row, phase, this.#arrivedMs, now);
    this.#arrivedMs = now;
  }

  async #payload(reader: StreamReader, section: Section, id: number): Promise<void> {
    reader.section = section.name;
    await section.load(reader);
    if (!this.#options.properties['send-section-footer']) return;
    const at = reader.offset;
    const footer = await reader.u8('section footer');
    const hint = 'the payload was longer or shorter than this loader knows it: compare versions of both sides';
    if (footer !== ELEMENT.FOOTER)
      throw reader.bad({ at, field: 'section footer', expected: hex(ELEMENT.FOOTER), actual: hex(footer), hint });
    const footerId = await reader.u32('section id in the footer');
    if (footerId !== id)
      throw reader.bad({
        at: at + 1,
        field: 'section id in the footer',
        expected: `${id}`,
        actual: `${footerId}`,
        hint,
      });
  }

  #find(
    reader: StreamReader,
    wanted: { at: number; versionAt: number; idstr: string; instanceId: number; version: number; name: string },
  ): Section {
    const { idstr, instanceId, version, name } = wanted;
    const versions = (expected: string) =>
      reader.bad({
        at: wanted.versionAt,
        field: `version of '${idstr}'`,
        expected,
        actual: `${version}`,
        hint: 'the source is of another release',
      });
    if (idstr === 'ram' && instanceId === 0) {
      if (version !== RAM_VERSION) throw versions(`${RAM_VERSION}`);
      return {
        name,
        row: 'ram',
        load: (from) => (from === this.#reader ? this.#ram : (this.#packageRam ?? this.#ram)).load(),
      };
    }
    const full = machineSections({ storeGlobalState: true });
    const device = this.#devices.find(idstr, instanceId);
    const found = device ?? full.find((row) => row.idstr === idstr && row.instanceId === instanceId);
    if (found === undefined) {
      const own = ['ram', ...full.map((row) => row.idstr)].map((row) => `'${row}' instance 0`);
      const known = [...own, ...this.#devices.names()].join(', ');
      throw reader.bad({
        at: wanted.at,
        field: 'section name',
        expected: `a section of machine '${this.#machine.machineName}': ${known}`,
        actual: `'${idstr}' instance ${instanceId}`,
        hint: 'the source has a device that this machine has not',
      });
    }
    if (version > found.version || version < found.minimumVersion)
      throw versions(`${found.minimumVersion} to ${found.version}`);
    if ('extent' in found) {
      const isStream = found.vfio !== undefined;
      const load = (from: StreamReader) =>
        isStream ? this.#devices.stream(from, found) : this.#devices.load(from, found, version);
      return { name, row: found.id, isEmpty: this.#devices.isOverChannels(found), load };
    }
    return { name, row: 'machine', load: (from) => this.#full(from, found, version) };
  }

  async #full(reader: StreamReader, section: FullSection, version: number): Promise<void> {
    await section.load(reader, version, this.#state);
    if (!this.#options.properties['send-section-footer']) return;
    await reader.need(1, 'section footer');
    if (reader.peekU8(0) !== ELEMENT.SUBSECTION) return;
    const at = reader.offset;
    await reader.u8('subsection marker');
    const name = await reader.text8('subsection name');
    throw reader.bad({
      at,
      field: 'subsection name',
      expected: `no subsection of '${section.idstr}'`,
      actual: JSON.stringify(name),
    });
  }

  async #package(bytes: Uint8Array, offset: number): Promise<void> {
    this.#packageStaging ??= stagingBuffer();
    const nested = new StreamReader(bytesSource(bytes), { staging: this.#packageStaging, offset });
    this.#packageRam = new RamLoader(nested, this.#machine.ramBlocks, {
      ignoreShared: this.#options.capabilities['x-ignore-shared'],
    });
    try {
      await this.#elements(nested);
    } catch (cause) {
      if (!isHarnessError(cause, 'stream/truncated')) throw cause;
      const { at, section, field } = cause.details;
      const expected = 'a sequence of elements that ends with EOF inside the package';
      const actual = `its end while reading ${field} of ${section}`;
      throw new HarnessError(
        'stream/bad-value',
        { at, section, field: 'PACKAGED content', expected, actual },
        { cause },
      );
    }
  }
}

/** Where the answers of a destination go that loads from a file: nobody listens. */
const NOWHERE = {
  bytesWritten: 0,
  write: async () => undefined,
  writeBatch: async () => undefined,
  flush: async () => undefined,
};

function hex(value: number): string {
  return `0x${value.toString(16).padStart(2, '0')}`;
}
