/**
 * The connections that an incoming migration comes over, by its options: one, or with multifd a main channel and others;
 * with mapped-ram these are handles of one file.
 */

import type { Clock } from '../base/clock.ts';
import { isHarnessError } from '../base/errors.ts';
import type { RamBlock } from '../hw/ram.ts';
import { LIMITS } from '../wire/limits.ts';
import type { DestinationMachine } from './destination.ts';
import type { DestinationDevice } from './device-sections.ts';
import { type Arrivals, awaitArrivals } from './multifd/arrivals.ts';
import type { ChannelThreads } from './multifd/channel-threads.ts';
import { ReceivingChannels } from './multifd/receiving-channels.ts';
import type { MigrationOptionsSnapshot } from './options/options.ts';
import { PageExpander } from './ram/page-expander.ts';
import { PageFiles } from './ram/page-files.ts';
import type { MappedFile, RamSync } from './ram/ram-load.ts';
import type { Channel } from './transport/channel.ts';
import { StreamReader } from './transport/stream-reader.ts';
import type { Listener } from './transport/transport.ts';
import { StateIntake } from './vfio/state-intake.ts';

/** After the end of the main channel: how long other channels have to say what went wrong (ms). */
const LAST_WORDS_MS = 100;

/** Everything that was connected. */
export interface IncomingPath {
  /** The main channel, and a reader at its first byte. */
  readonly channel: Channel;
  readonly reader: StreamReader;
  /** The other channels; undefined without multifd. */
  readonly channels: RamSync | undefined;
  /** With mapped-ram, which has no other channels that anybody waits for. */
  readonly mapped: MappedFile | undefined;
  /** For compressed pages; undefined where there may be none. */
  readonly expander: PageExpander | undefined;
  readonly devices: readonly DestinationDevice[];
  /** Where other channels deliver what they bring for devices. */
  readonly intake: StateIntake;
  /** Passes `work` on, unless another channel fails first. */
  guard<T>(work: Promise<T>): Promise<T>;
  /** Ends the other channels; does nothing the second time. */
  close(): Promise<void>;
}

/** What a path is opened with. */
interface IncomingDeps {
  readonly listener: Listener;
  readonly uri: string;
  readonly machine: Pick<DestinationMachine, 'ramBlocks' | 'uuid' | 'devices'>;
  readonly options: MigrationOptionsSnapshot;
  readonly threads: ChannelThreads;
  readonly clock: Clock;
}

/** How many connections a listener has to let in. */
export function connectionsOf(options: MigrationOptionsSnapshot): number {
  const { capabilities, multifd } = options;
  return capabilities.multifd ? 1 + multifd.channels + LIMITS.MULTIFD_STRAY_CONNECTIONS : 1;
}

/** Waits for all connections. Rejects with what `awaitArrivals`, `Listener.accept` or `devices` rejects with, and `vfio/transfer`. */
export async function openIncomingPath(deps: IncomingDeps): Promise<IncomingPath> {
  const { listener, uri, machine, options, clock } = deps;
  if (!options.capabilities.multifd || options.capabilities['mapped-ram']) {
    const channel = await listener.accept();
    const prepared = await prepareDevices({ machine, options, connections: [channel] });
    const mapped = await openMappedFile(channel, options);
    const reader = new StreamReader(channel.source);
    const expander = options.properties['x-compress']
      ? new PageExpander({ blocks: machine.ramBlocks, threads: options.properties['x-decompress-threads'] })
      : undefined;
    const close = async () => {
      await mapped?.pages.close();
      await expander?.[Symbol.asyncDispose]();
    };
    return { channel, reader, channels: undefined, mapped, expander, ...prepared, guard: (work) => work, close };
  }
  const { uuid } = machine;
  const arrivals = await awaitArrivals({ listener, uri, count: options.multifd.channels, uuid, clock });
  try {
    return await openMultifd(arrivals, deps);
  } catch (error) {
    arrivals.close();
    throw error;
  }
}

async function openMultifd(
  arrivals: Arrivals,
  { uri, machine, options, threads, clock }: IncomingDeps,
): Promise<IncomingPath> {
  const { channel, rest, source } = arrivals.main;
  const reader = new StreamReader(source);
  reader.pushBack([rest]);
  const connections = [arrivals.main, ...arrivals.channels].map((arrival) => arrival.channel);
  const { devices, intake } = await prepareDevices({ machine, options, connections });
  const channels = await ReceivingChannels.start({
    arrivals: arrivals.channels,
    uri,
    blocks: arriving(machine.ramBlocks, options).map((block) => block.name),
    method: options.multifd.compression,
    threads,
    intake,
    flushEachSection: options.properties['multifd-flush-after-each-section'],
  });
  return {
    channel,
    reader,
    channels,
    mapped: undefined,
    expander: undefined,
    devices,
    intake,
    guard: (work) => {
      const failure = Promise.race([channels.failure, intake.failure, arrivals.surplus]);
      return Promise.race([work.catch((error) => explained(error, { failure, clock })), failure]);
    },
    close: () => {
      arrivals.close();
      return channels.close();
    },
  };
}

/** What a device misses when the channel that should have brought it has failed. */
const CONSEQUENCES = ['stream/truncated', 'transport/closed', 'vfio/arc'] as const;

/**
 * A source whose channel broke ends the main channel as well, and a device whose packets were refused lacks data; which is seen
 * first is a race. Rejects with the cause.
 */
async function explained(
  error: unknown,
  { failure, clock }: { failure: Promise<never>; clock: Clock },
): Promise<never> {
  if (!CONSEQUENCES.some((code) => isHarnessError(error, code))) throw error;
  const over = new AbortController();
  const patience = clock.sleep(LAST_WORDS_MS, over.signal).catch(() => undefined);
  await Promise.race([patience, failure]).finally(() => over.abort());
  throw error;
}

/** Blocks that have pages in the stream. */
function arriving(blocks: readonly RamBlock[], { capabilities }: MigrationOptionsSnapshot): readonly RamBlock[] {
  return capabilities['x-ignore-shared'] ? blocks.filter((block) => !block.isSharedFile) : blocks;
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

/** The devices, and where their state is taken in. When one cannot be had, or not as it is to be, the connections end. */
async function prepareDevices(deps: {
  machine: Pick<DestinationMachine, 'devices'>;
  options: MigrationOptionsSnapshot;
  connections: readonly Channel[];
}): Promise<Pick<IncomingPath, 'devices' | 'intake'>> {
  try {
    const devices = await deps.machine.devices();
    return { devices, intake: new StateIntake({ devices, options: deps.options }) };
  } catch (error) {
    for (const connection of deps.connections) connection.destroy('a device is not ready for the migration');
    throw error;
  }
}
