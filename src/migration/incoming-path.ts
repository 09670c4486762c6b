/**
 * The connections that an incoming migration comes over, by its options: one, or with multifd a main channel and others;
 * with mapped-ram these are handles of one file.
 */

import type { Clock } from '../base/clock.ts';
import type { RamBlock } from '../hw/ram.ts';
import { LIMITS } from '../wire/limits.ts';
import { awaitArrivals } from './multifd/arrivals.ts';
import type { ChannelThreads } from './multifd/channel-threads.ts';
import { ReceivingChannels } from './multifd/receiving-channels.ts';
import type { MigrationOptionsSnapshot } from './options/options.ts';
import { PageFiles } from './ram/page-files.ts';
import type { MappedFile, RamSync } from './ram/ram-load.ts';
import type { Channel } from './transport/channel.ts';
import { StreamReader } from './transport/stream-reader.ts';
import type { Listener } from './transport/transport.ts';

/** Everything that was connected. */
export interface IncomingPath {
  /** The main channel, and a reader at its first byte. */
  readonly channel: Channel;
  readonly reader: StreamReader;
  /** The other channels; undefined without multifd. */
  readonly channels: RamSync | undefined;
  /** With mapped-ram, which has no other channels that anybody waits for. */
  readonly mapped: MappedFile | undefined;
  /** Passes `work` on, unless another channel fails first. */
  guard<T>(work: Promise<T>): Promise<T>;
  /** Ends the other channels; does nothing the second time. */
  close(): Promise<void>;
}

/** How many connections a listener has to let in. */
export function connectionsOf(options: MigrationOptionsSnapshot): number {
  const { capabilities, multifd } = options;
  return capabilities.multifd ? 1 + multifd.channels + LIMITS.MULTIFD_STRAY_CONNECTIONS : 1;
}

/** Waits for all connections. Rejects with what `awaitArrivals` or `Listener.accept` rejects with. */
export async function openIncomingPath(deps: {
  listener: Listener;
  uri: string;
  machine: { readonly ramBlocks: readonly RamBlock[]; readonly uuid: Uint8Array | undefined };
  options: MigrationOptionsSnapshot;
  threads: ChannelThreads;
  clock: Clock;
}): Promise<IncomingPath> {
  const { listener, uri, machine, options, threads, clock } = deps;
  if (!options.capabilities.multifd || options.capabilities['mapped-ram']) {
    const channel = await listener.accept();
    const mapped = await openMappedFile(channel, options);
    const reader = new StreamReader(channel.source);
    const close = async () => mapped?.pages.close();
    return { channel, reader, channels: undefined, mapped, guard: (work) => work, close };
  }
  const { uuid } = machine;
  const arrivals = await awaitArrivals({ listener, uri, count: options.multifd.channels, uuid, clock });
  const { channel, rest } = arrivals.main;
  const reader = new StreamReader(channel.source);
  reader.pushBack([rest]);
  const channels = await ReceivingChannels.start({
    arrivals: arrivals.channels,
    uri,
    blocks: machine.ramBlocks.map((block) => block.share),
    method: options.multifd.compression,
    threads,
    flushEachSection: options.properties['multifd-flush-after-each-section'],
  });
  return {
    channel,
    reader,
    channels,
    mapped: undefined,
    guard: (work) => Promise.race([work, channels.failure]),
    close: () => channels.close(),
  };
}

async function openMappedFile(channel: Channel, options: MigrationOptionsSnapshot): Promise<MappedFile | undefined> {
  const { file } = channel;
  if (!options.capabilities['mapped-ram'] || file === undefined) return undefined;
  try {
    return { file, pages: await PageFiles.forChannels(file, options) };
  } catch (error) {
    channel.destroy('its pages cannot be read');
    throw error;
  }
}
