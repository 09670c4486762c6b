/**
 * Loads streams from memory into one machine, thousands of times: the loader as it is, without sockets. The machine's
 * RAM starts as "all written", so that nothing rests on what an earlier load left behind.
 */

import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { RamBlock } from '../../src/hw/ram.ts';
import { LedgerRecorder } from '../../src/migration/ledger.ts';
import { StreamLoader } from '../../src/migration/loadvm.ts';
import { MigrationOptions } from '../../src/migration/options/options.ts';
import type { VmState } from '../../src/migration/savevm.ts';
import type { ByteSink, ByteSource } from '../../src/migration/transport/channel.ts';
import { StreamReader, stagingBuffer } from '../../src/migration/transport/stream-reader.ts';
import { StateIntake } from '../../src/migration/vfio/state-intake.ts';
import { bareMachine } from './bare-machine.ts';

/** A source over bytes in memory; `chunkBytes`, asked before every read, limits what one read returns. */
export function memorySource(bytes: Uint8Array, chunkBytes: () => number = () => bytes.length): ByteSource {
  let at = 0;
  return {
    readv: undefined,
    read: async (into) => {
      const count = Math.min(into.length, bytes.length - at, Math.max(1, chunkBytes()));
      into.set(bytes.subarray(at, at + count));
      at += count;
      return count;
    },
  };
}

/** A sink that keeps what is written. */
export class MemorySink implements ByteSink {
  readonly #pieces: Uint8Array[] = [];

  get bytesWritten(): number {
    return this.bytes().length;
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#pieces);
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#pieces.push(Uint8Array.from(bytes));
  }

  async writeBatch(batch: Parameters<ByteSink['writeBatch']>[0]): Promise<void> {
    for (let index = 0; index < batch.entryCount; index++) this.#pieces.push(Uint8Array.from(batch.view(index)));
  }

  async flush(): Promise<void> {}
}

/** How one load ended. */
export interface LoadOutcome {
  /** Undefined when the stream was loaded. */
  readonly error: unknown;
  readonly state: VmState | undefined;
  /** What went back to the source. */
  readonly returnPath: Uint8Array;
}

const staging = stagingBuffer();

/** For machines without VFIO devices: no channel brings anything for them. */
export function noIntake(): StateIntake {
  return new StateIntake({ devices: [], options: new MigrationOptions().snapshot() });
}

/** One machine `none` that streams are loaded into. */
export class LoadingMachine {
  readonly ram: RamBlock;
  readonly #options: MigrationOptions;
  readonly #uuid: Uint8Array | undefined;

  /** `off` names properties as in `-global migration.NAME=off`. */
  constructor(config: { ramBytes: number; off?: readonly string[]; uuid?: string; options?: MigrationOptions }) {
    this.#options = config.options ?? new MigrationOptions();
    this.ram = RamBlock.create({ name: 'ram', length: config.ramBytes });
    this.ram.markDirty(0, config.ramBytes);
    this.#options.setGlobals((config.off ?? []).map((name) => ({ name, text: 'off' })));
    this.#uuid = config.uuid === undefined ? undefined : Buffer.from(config.uuid.replaceAll('-', ''), 'hex');
  }

  /** Loads one stream to its end, description included. */
  async load(bytes: Uint8Array, chunkBytes?: () => number): Promise<LoadOutcome> {
    const sink = new MemorySink();
    const source = memorySource(bytes, chunkBytes);
    const loader = new StreamLoader({
      reader: new StreamReader(source, { staging }),
      channel: { uri: 'memory:', bidirectional: true, sink, source, close: async () => {}, destroy: () => {} },
      machine: {
        ...bareMachine(this.ram),
        uuid: this.#uuid,
      },
      devices: [],
      intake: noIntake(),
      options: this.#options.snapshot(),
      clock: systemClock,
      ledger: new LedgerRecorder(),
      log: silentLogger,
    });
    try {
      await loader.header();
      const state = await loader.elements();
      await loader.description(systemClock);
      await loader.sendFinalStatus(0);
      return { error: undefined, state, returnPath: sink.bytes() };
    } catch (error) {
      await loader.sendFinalStatus(1);
      return { error, state: undefined, returnPath: sink.bytes() };
    }
  }
}
