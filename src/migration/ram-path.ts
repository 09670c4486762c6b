/** Chooses the way RAM goes, by the options of a migration: over the main channel, or over multifd channels. */

import { HarnessError } from '../base/errors.ts';
import type { RamBlock } from '../hw/ram.ts';
import { MultifdRamSaver } from './multifd/multifd-save.ts';
import { SendingChannels } from './multifd/sending-channels.ts';
import type { MigrationOptionsSnapshot } from './options/options.ts';
import { RamSaver } from './ram/ram-save.ts';
import type { RamSender } from './ram/ram-sender.ts';
import type { Address } from './transport/address.ts';
import type { ByteSink } from './transport/channel.ts';

/** What query-migrate tells about channels beside the main one. */
export interface RamPathCounters {
  readonly multifdBytes: number;
  readonly missedZeroCopy: number;
}

/** The way RAM goes out. */
export interface RamPath {
  readonly sender: RamSender;
  /** Bytes on other channels than the main one, and how many zero-copy flushes had to copy. */
  counters(): RamPathCounters;
  /** Ends what was opened; does nothing the second time. */
  destroy(): Promise<void>;
}

/** Opens what is needed; rejects with `transport/connect` when a multifd channel is refused. */
export async function openRamPath(deps: {
  machine: { readonly ramBlocks: readonly RamBlock[]; readonly uuid: Uint8Array | undefined };
  options: MigrationOptionsSnapshot;
  address: Address;
  sink: ByteSink;
  signal: AbortSignal;
}): Promise<RamPath> {
  const { machine, options, address, sink, signal } = deps;
  const detection = options.zeroPageDetection;
  if (!options.capabilities.multifd) {
    const sender = new RamSaver({ blocks: machine.ramBlocks, sink, detectZero: detection !== 'none' });
    const counters = { multifdBytes: 0, missedZeroCopy: 0 };
    return { sender, counters: () => counters, destroy: async () => undefined };
  }
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
    blocks: blocks.map((block) => block.share),
    method: options.multifd.compression,
    level: options.multifd.level,
    detectZero: detection === 'multifd' && !oldStyle,
    oldLayout: oldStyle,
    signal,
  });
  const sender = new MultifdRamSaver({
    blocks,
    sink,
    channels,
    detectZeroHere: detection === 'legacy' || (detection === 'multifd' && oldStyle),
    flushEachSection: oldStyle,
  });
  const zeroCopy = options.capabilities['zero-copy-send'];
  return {
    sender,
    counters: () => {
      const { bytes, copiedSyncs } = channels.sent();
      return { multifdBytes: bytes, missedZeroCopy: zeroCopy ? copiedSyncs : 0 };
    },
    destroy: () => channels.destroy(),
  };
}
