/** Loads mapped-ram files from memory into one machine, thousands of times. */

import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { RamBlock } from '../../src/hw/ram.ts';
import { LedgerRecorder } from '../../src/migration/ledger.ts';
import { StreamLoader } from '../../src/migration/loadvm.ts';
import { IDLE_CONTEXT } from '../../src/migration/options/capabilities.ts';
import { MigrationOptions } from '../../src/migration/options/options.ts';
import { PageFiles } from '../../src/migration/ram/page-files.ts';
import type { ByteSource, SeekableFile } from '../../src/migration/transport/channel.ts';
import { StreamReader, stagingBuffer } from '../../src/migration/transport/stream-reader.ts';
import { bareMachine } from './bare-machine.ts';
import { MemorySink, noIntake } from './stream-loading.ts';

/** A file that is these bytes, from `start` on. */
class MemoryFile implements SeekableFile, ByteSource {
  readonly readv = undefined;
  readonly start: number;
  readonly #bytes: Uint8Array;
  position: number;

  constructor(bytes: Uint8Array, start = 0) {
    this.#bytes = bytes;
    this.start = start;
    this.position = start;
  }

  async read(into: Uint8Array): Promise<number> {
    const count = await this.readAt(this.position, into);
    this.position += count;
    return count;
  }

  async readAt(offset: number, into: Uint8Array): Promise<number> {
    const piece = this.#bytes.subarray(offset, offset + into.length);
    into.set(piece);
    return piece.length;
  }

  seek(offset: number): void {
    this.position = offset;
  }

  writeAt(): Promise<void> {
    return Promise.reject(new Error('nobody writes here'));
  }

  async openPages() {
    return { bytesWritten: 0, readAt: this.readAt.bind(this), writeAt: this.writeAt, close: async () => undefined };
  }
}

const staging = stagingBuffer();

/** One machine `none` that mapped-ram files are loaded into. */
export class MappedLoadingMachine {
  readonly ram: RamBlock;
  readonly #options = new MigrationOptions();
  readonly #handles: number;

  /** `handles`: of multifd, that read pages at the same time. */
  constructor(config: { ramBytes: number; handles: number }) {
    this.ram = RamBlock.create({ name: 'ram', length: config.ramBytes });
    this.ram.markDirty(0, config.ramBytes);
    this.#handles = config.handles;
    this.#options.setCapabilities([{ capability: 'mapped-ram', state: true }], IDLE_CONTEXT);
  }

  /** Loads a file, whose stream begins at `start`; the error, or undefined when all of it was loaded. */
  async load(bytes: Uint8Array, start = 0): Promise<unknown> {
    const file = new MemoryFile(bytes, start);
    const pages = await PageFiles.open(file, { count: this.#handles, direct: false });
    const sink = new MemorySink();
    const loader = new StreamLoader({
      reader: new StreamReader(file, { staging }),
      channel: {
        uri: 'memory:',
        bidirectional: false,
        sink,
        source: file,
        file,
        close: async () => {},
        destroy: () => {},
      },
      machine: bareMachine(this.ram),
      devices: [],
      mapped: { file, pages },
      intake: noIntake(),
      options: this.#options.snapshot(),
      clock: systemClock,
      ledger: new LedgerRecorder(),
      log: silentLogger,
    });
    try {
      await loader.header();
      await loader.elements();
      return undefined;
    } catch (error) {
      return error;
    } finally {
      await pages.close();
    }
  }
}
