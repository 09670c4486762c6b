/** Chooses the way RAM goes, by the options of a migration: over the main channel, or over multifd channels. */

import { HarnessError } from '../base/errors.ts';
import type { RamBlock } from '../hw/ram.ts';
import type { ChannelThreads } from './multifd/channel-threads.ts';
import { MultifdRamSaver } from './multifd/multifd-save.ts';
import { SendingChannels } from './multifd/sending-channels.ts';
import type { MigrationOptionsSnapshot } from './options/options.ts';
import { CompressRamSaver, CompressRates } from './ram/compress-save.ts';
import { MappedRamSaver } from './ram/mapped-ram-save.ts';
import { PageFiles } from './ram/page-files.ts';
import { RamSaver } from './ram/ram-save.ts';
import type { RamSender } from './ram/ram-sender.ts';
import { XbzrleRates } from './ram/xbzrle-rates.ts';
import { XbzrleRamSaver } from './ram/xbzrle-save.ts';
import type { Address } from './transport/address.ts';
import type { ByteSink, Channel } from './transport/channel.ts';
import type { ClientTls } from './transport/tls-channel.ts';
import type { StateChannels } from './vfio/vfio-transfer.ts';
import type { MigrationInfo } from './vm-control.ts';

/** What query-migrate tells about channels beside the main one. */
export interface RamPathCounters {
  readonly multifdBytes: number;
  readonly missedZeroCopy: number;
}

const NO_CHANNELS: RamPathCounters = { multifdBytes: 0, missedZeroCopy: 0 };

/** The way RAM goes out. */
export interface RamPath {
  readonly sender: RamSender;
  /** Bytes on other channels than the main one, and how many zero-copy flushes had to copy. */
  counters(): RamPathCounters;
  /** Channels that may carry device state as well; undefined without multifd. */
  readonly stateChannels: StateChannels | undefined;
  /** What else query-migrate tells about this way. */
  info(): Pick<MigrationInfo, 'xbzrle-cache' | 'compression'>;
  /** A period of rates has ended (spec/control.md §7.4). */
  periodEnds(): void;
  /** Ends what was opened; does nothing the second time. */
  destroy(): Promise<void>;
}

/** Opens what is needed; rejects with `transport/connect` when a multifd channel is refused. */
export async function openRamPath(deps: {
  machine: { readonly ramBlocks: readonly RamBlock[]; readonly uuid: Uint8Array | undefined };
  options: MigrationOptionsSnapshot;
  address: Address;
  channel: Channel;
  /** VFIO devices whose last data may go over multifd channels. */
  devices: number;
  threads: ChannelThreads;
  tls: ClientTls | undefined;
  signal: AbortSignal;
}): Promise<RamPath> {
  const { machine, options, address, channel, threads, tls, signal } = deps;
  const { sink, file } = channel;
  const detection = options.zeroPageDetection;
  const ignoreShared = options.capabilities['x-ignore-shared'];
  if (options.capabilities['mapped-ram'] && file !== undefined) {
    const pages = await PageFiles.forChannels(file, options);
    const detectZero = detection !== 'none';
    return {
      ...NO_RATES,
      stateChannels: undefined,
      sender: new MappedRamSaver({ blocks: machine.ramBlocks, sink, file, pages, detectZero, ignoreShared }),
      counters: () => ({ ...NO_CHANNELS, multifdBytes: pages.bytesWritten }),
      destroy: () => pages.close(),
    };
  }
  if (!options.capabilities.multifd) return mainChannelPath({ machine, options, sink });
  // Node has no MSG_ZEROCOPY: here the capability promises that nothing copies pages before the kernel does, which is so
  // without it as well. What QEMU would refuse is refused (docs/differences.md).
  if (options.capabilities['zero-copy-send'] && address.kind !== 'tcp') {
    throw new HarnessError('qmp/generic', { text: 'Zero copy send feature not detected in host kernel' });
  }
  // Peers that want this style do not know zero pages in packets either (spec/wire.md §13).
  const oldStyle = options.properties['multifd-flush-after-each-section'];
  const blocks = machine.ramBlocks.toSorted((a, b) => b.length - a.length);
  const channels = await SendingChannels.connect({
    address,
    count: options.multifd.channels,
    uuid: machine.uuid,
    blocks: blocks.map((block) => block.name),
    method: options.multifd.compression,
    level: options.multifd.level,
    detectZero: detection === 'multifd' && !oldStyle,
    oldLayout: oldStyle,
    devices: deps.devices,
    threads,
    tls,
    signal,
  });
  const sender = new MultifdRamSaver({
    blocks,
    sink,
    channels,
    detectZeroHere: detection === 'legacy' || (detection === 'multifd' && oldStyle),
    flushEachSection: oldStyle,
    ignoreShared,
  });
  const zeroCopy = options.capabilities['zero-copy-send'];
  return {
    sender,
    stateChannels: channels,
    counters: () => {
      const { bytes, copiedSyncs } = channels.sent();
      return { multifdBytes: bytes, missedZeroCopy: zeroCopy ? copiedSyncs : 0 };
    },
    ...NO_RATES,
    destroy: () => channels.destroy(),
  };
}

const MAIN_CHANNEL_ONLY = { counters: () => NO_CHANNELS, stateChannels: undefined, destroy: async () => undefined };
const NO_RATES = { info: () => ({}), periodEnds: () => undefined };

function mainChannelPath(deps: {
  machine: { readonly ramBlocks: readonly RamBlock[] };
  options: MigrationOptionsSnapshot;
  sink: ByteSink;
}): RamPath {
  const { machine, options, sink } = deps;
  const detectZero = options.zeroPageDetection !== 'none';
  const ignoreShared = options.capabilities['x-ignore-shared'];
  if (options.properties['x-compress']) return compressedPath({ machine, options, sink });
  if (!options.capabilities.xbzrle) {
    const sender = new RamSaver({ blocks: machine.ramBlocks, sink, detectZero, ignoreShared });
    return { ...MAIN_CHANNEL_ONLY, ...NO_RATES, sender };
  }
  const cacheBytes = options.xbzrleCacheBytes;
  const sender = new XbzrleRamSaver({ blocks: machine.ramBlocks, sink, detectZero, cacheBytes, ignoreShared });
  const rates = new XbzrleRates(sender.counters);
  return {
    ...MAIN_CHANNEL_ONLY,
    sender,
    info: () => ({ 'xbzrle-cache': { 'cache-size': cacheBytes, ...rates.info() } }),
    periodEnds: () => rates.periodEnds(),
  };
}

/** Legacy `compress`: threads of a pool, ended with the path. */
function compressedPath(deps: {
  machine: { readonly ramBlocks: readonly RamBlock[] };
  options: MigrationOptionsSnapshot;
  sink: ByteSink;
}): RamPath {
  const { properties, capabilities, zeroPageDetection } = deps.options;
  const sender = new CompressRamSaver({
    blocks: deps.machine.ramBlocks,
    sink: deps.sink,
    detectZero: zeroPageDetection !== 'none',
    ignoreShared: capabilities['x-ignore-shared'],
    level: properties['x-compress-level'],
    threads: properties['x-compress-threads'],
    waits: properties['x-compress-wait-thread'],
  });
  const rates = new CompressRates(sender.counters);
  return {
    ...MAIN_CHANNEL_ONLY,
    sender,
    info: () => ({ compression: rates.info() }),
    periodEnds: () => rates.periodEnds(),
    destroy: () => sender.close(),
  };
}
