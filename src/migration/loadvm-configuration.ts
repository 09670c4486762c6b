/**
 * The start of a stream: magic, version, and the configuration section with its subsections, compared with this machine
 * (spec/wire.md §1.1, §1.3).
 */

import type { Logger } from '../base/log.ts';
import { LIMITS } from '../wire/limits.ts';
import { PAGE_BITS } from '../wire/ram.ts';
import { CONFIGURATION_SUBSECTIONS, ELEMENT, STREAM_MAGIC, STREAM_VERSION } from '../wire/stream.ts';
import type { DestinationMachine } from './destination.ts';
import { CAPABILITIES, REMOVED_CAPABILITIES, VALIDATED_CAPABILITIES } from './options/capabilities.ts';
import type { MigrationOptionsSnapshot } from './options/options.ts';
import { latin1, type StreamReader } from './transport/stream-reader.ts';

/** Loads the start of one stream. Throws `stream/…` for what does not fit this machine. */
export class ConfigurationLoader {
  readonly #reader: StreamReader;
  readonly #machine: DestinationMachine;
  readonly #options: MigrationOptionsSnapshot;
  readonly #log: Logger;

  constructor(deps: {
    reader: StreamReader;
    machine: DestinationMachine;
    options: MigrationOptionsSnapshot;
    log: Logger;
  }) {
    this.#reader = deps.reader;
    this.#machine = deps.machine;
    this.#options = deps.options;
    this.#log = deps.log;
  }

  /** Reads magic, version and the configuration section. */
  async load(): Promise<void> {
    const reader = this.#reader;
    reader.section = 'stream header';
    await this.#expectU32(
      'magic',
      STREAM_MAGIC,
      'this is no migration stream; look at what the peer sends to this address',
    );
    await this.#expectU32('version', STREAM_VERSION, 'the only stream version in use is 3');
    if (!this.#options.properties['send-configuration']) return;
    reader.section = 'configuration section';
    const at = reader.offset;
    const type = await reader.u8('section type');
    if (type !== ELEMENT.CONFIGURATION) {
      throw reader.bad({
        at,
        field: 'section type',
        expected: `0x0${ELEMENT.CONFIGURATION} (configuration)`,
        actual: hex(type),
        hint: 'a source with send-configuration=off needs -global migration.send-configuration=off here too',
      });
    }
    await this.#machineName();
    const received = new Set<string>();
    for (;;) {
      if (reader.available === 0) await reader.need(1, 'element type');
      if (reader.peekU8(0) !== ELEMENT.SUBSECTION) break;
      await this.#subsection(received);
    }
    this.#refuseMissing(received);
  }

  async #machineName(): Promise<void> {
    const reader = this.#reader;
    const lengthAt = reader.offset;
    const length = await reader.u32('machine name (length)');
    const maximum = LIMITS.MACHINE_NAME_BYTES;
    if (length > maximum) {
      throw reader.overLimit({
        at: lengthAt,
        field: 'machine name (length)',
        limit: 'MACHINE_NAME_BYTES',
        maximum,
        actual: length,
      });
    }
    const at = reader.offset;
    const name = latin1(await reader.bytes(length, 'machine name'));
    if (name === this.#machine.machineName) return;
    throw reader.bad({
      at,
      field: 'machine name',
      expected: `'${this.#machine.machineName}'`,
      actual: JSON.stringify(name),
      hint: 'start both sides with the same -machine',
    });
  }

  /** Capabilities that are on here and that the stream, which they would have changed, does not name. */
  #refuseMissing(received: ReadonlySet<string>): void {
    const missing = VALIDATED_CAPABILITIES.find((name) => this.#options.capabilities[name] && !received.has(name));
    if (missing === undefined) return;
    throw this.#reader.bad({
      at: this.#reader.offset,
      field: 'capabilities',
      expected: `${missing} on, as here`,
      actual: `${missing} off`,
      hint: `set the capability ${missing} the same on both sides`,
    });
  }

  async #subsection(received: Set<string>): Promise<void> {
    const reader = this.#reader;
    const at = reader.offset;
    await reader.u8('subsection marker');
    const name = await reader.text8('subsection name');
    const versionAt = reader.offset;
    const version = await reader.u32(`version of ${name}`);
    const known: readonly string[] = Object.values(CONFIGURATION_SUBSECTIONS);
    if (!known.includes(name)) {
      throw reader.bad({ at, field: 'subsection name', expected: known.join(', '), actual: JSON.stringify(name) });
    }
    if (version !== 1)
      throw reader.bad({ at: versionAt, field: `version of ${name}`, expected: '1', actual: `${version}` });
    if (name === CONFIGURATION_SUBSECTIONS.TARGET_PAGE_BITS) await this.#expectU32('target page bits', PAGE_BITS);
    else if (name === CONFIGURATION_SUBSECTIONS.CAPABILITIES) await this.#capabilities(received);
    else await this.#uuid();
  }

  async #capabilities(received: Set<string>): Promise<void> {
    const reader = this.#reader;
    const at = reader.offset;
    const count = await reader.u32('number of capabilities');
    const maximum = LIMITS.CONFIGURATION_CAPABILITIES;
    if (count > maximum) {
      throw reader.overLimit({
        at,
        field: 'number of capabilities',
        limit: 'CONFIGURATION_CAPABILITIES',
        maximum,
        actual: count,
      });
    }
    for (let n = 0; n < count; n++) {
      const nameAt = reader.offset;
      const name = await reader.text8('capability name');
      received.add(name);
      if (!Object.hasOwn(CAPABILITIES, name) && !Object.hasOwn(REMOVED_CAPABILITIES, name)) {
        throw reader.bad({
          at: nameAt,
          field: 'capability name',
          expected: 'a known capability',
          actual: JSON.stringify(name),
        });
      }
      const validated = VALIDATED_CAPABILITIES.find((row) => row === name);
      if (validated !== undefined && !this.#options.capabilities[validated]) {
        throw reader.bad({
          at: nameAt,
          field: 'capability name',
          expected: `${name} off, as here`,
          actual: `${name} on`,
          hint: `set the capability ${name} the same on both sides`,
        });
      }
    }
  }

  async #uuid(): Promise<void> {
    const reader = this.#reader;
    const at = reader.offset;
    const received = await reader.bytes(16, 'uuid');
    const own = this.#machine.uuid;
    if (own === undefined) {
      this.#log.warn({ received: uuidText(received) }, 'a UUID was received but none is set here');
    } else if (Buffer.compare(received, own) !== 0) {
      throw reader.bad({
        at,
        field: 'uuid',
        expected: uuidText(own),
        actual: uuidText(received),
        hint: 'start both sides with the same -uuid',
      });
    }
  }

  async #expectU32(field: string, expected: number, why?: string): Promise<void> {
    const at = this.#reader.offset;
    const actual = await this.#reader.u32(field);
    if (actual === expected) return;
    throw this.#reader.bad({
      at,
      field,
      expected: hex(expected),
      actual: hex(actual),
      ...(why === undefined ? {} : { hint: why }),
    });
  }
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(2, '0')}`;
}

function uuidText(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
