/** Loads multifd streams from memory into one machine, thousands of times: main channel and channels as they are, without sockets. */

import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { RamBlock } from '../../src/hw/ram.ts';
import type { DestinationDevice } from '../../src/migration/device-sections.ts';
import { LedgerRecorder } from '../../src/migration/ledger.ts';
import { StreamLoader } from '../../src/migration/loadvm.ts';
import { awaitArrivals } from '../../src/migration/multifd/arrivals.ts';
import { ChannelThreads } from '../../src/migration/multifd/channel-threads.ts';
import type { MultifdMethod } from '../../src/migration/multifd/compression.ts';
import { ReceivingChannels } from '../../src/migration/multifd/receiving-channels.ts';
import { MigrationOptions } from '../../src/migration/options/options.ts';
import type { ByteSource, Channel } from '../../src/migration/transport/channel.ts';
import { StreamReader, stagingBuffer } from '../../src/migration/transport/stream-reader.ts';
import { StateIntake } from '../../src/migration/vfio/state-intake.ts';
import { bareMachine } from './bare-machine.ts';
import { MemorySink, memorySource } from './stream-loading.ts';

const staging = stagingBuffer();

/** A connection that brings these bytes and then ends. */
export function memoryChannel(bytes: Uint8Array, chunkBytes?: () => number): Channel {
  const source: ByteSource = memorySource(bytes, chunkBytes);
  const sink = new MemorySink();
  return { uri: 'memory:', bidirectional: true, sink, source, close: async () => {}, destroy: () => {} };
}

/** One machine `none` that multifd streams are loaded into. */
export class MultifdLoadingMachine {
  readonly ram: RamBlock;
  readonly #method: MultifdMethod;
  readonly #options = new MigrationOptions();
  readonly #devices: readonly DestinationDevice[];

  constructor(config: { ramBytes: number; method: MultifdMethod; devices?: readonly DestinationDevice[] }) {
    this.ram = RamBlock.create({ name: 'ram', length: config.ramBytes });
    this.ram.markDirty(0, config.ramBytes);
    this.#method = config.method;
    this.#devices = config.devices ?? [];
    this.#options.setGlobals([{ name: 'x-multifd', text: 'on' }]);
  }

  /** Loads what these connections bring; the error, or undefined when all of it was loaded. */
  async load(connections: readonly Uint8Array[], chunkBytes?: () => number): Promise<unknown> {
    const intake = new StateIntake({ devices: this.#devices, options: this.#options.snapshot() });
    let channels: ReceivingChannels | undefined;
    let loader: StreamLoader | undefined;
    try {
      const { main, ...arrivals } = await this.#arrivals(connections, chunkBytes);
      const reader = new StreamReader(main.source, { staging });
      reader.pushBack([main.rest]);
      channels = await ReceivingChannels.start({
        arrivals: arrivals.channels,
        uri: 'memory:',
        blocks: [this.ram.name],
        method: this.#method,
        threads: new ChannelThreads([this.ram.share]),
        intake,
        flushEachSection: false,
      });
      loader = this.#loader({ reader, channel: main.channel, channels, intake });
      await loader.setup();
      await Promise.race([channels.failure, intake.failure, load(loader)]);
      return undefined;
    } catch (error) {
      return error;
    } finally {
      await channels?.close();
      await loader?.cleanup();
    }
  }

  #arrivals(connections: readonly Uint8Array[], chunkBytes: (() => number) | undefined) {
    const waiting = connections.map((bytes) => memoryChannel(bytes, chunkBytes));
    const accept = () => {
      const next = waiting.shift();
      return next === undefined ? new Promise<Channel>(() => {}) : Promise.resolve(next);
    };
    const listener = { socketAddress: undefined, accept, close: async () => {} };
    const count = connections.length - 1;
    return awaitArrivals({ listener, uri: 'memory:', count, uuid: undefined, clock: systemClock });
  }

  #loader(deps: {
    reader: StreamReader;
    channel: Channel;
    channels: ReceivingChannels;
    intake: StateIntake;
  }): StreamLoader {
    const { reader, channel, channels, intake } = deps;
    return new StreamLoader({
      reader,
      channel,
      channels,
      machine: bareMachine(this.ram),
      devices: this.#devices,
      intake,
      options: this.#options.snapshot(),
      clock: systemClock,
      ledger: new LedgerRecorder(),
      log: silentLogger,
    });
  }
}

async function load(loader: StreamLoader): Promise<void> {
  await loader.header();
  await loader.elements();
}
