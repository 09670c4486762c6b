/**
 * Channels that come late, in any order, or never again: what arrives is the same, nothing is loaded too early, and who is
 * missing is named. How late is not a time here: a connection is held until everything else has been said.
 */

import { expect, test } from 'vitest';
import { RamBlock } from '../../../src/hw/ram.ts';
import { ChannelThreads } from '../../../src/migration/multifd/channel-threads.ts';
import { ReceivingChannels } from '../../../src/migration/multifd/receiving-channels.ts';
import type { Channel } from '../../../src/migration/transport/channel.ts';
import { memoryChannel } from '../../support/multifd-loading.ts';
import { seeded } from '../../support/seeded.ts';
import { noIntake } from '../../support/stream-loading.ts';
import { tempDir } from '../../support/temp.ts';
import { turn, turnUntil, WatchedVm } from '../../support/watched-vm.ts';
import { Wire } from '../../support/wire.ts';

const RAM_BYTES = 2 << 20;
const CHANNELS = 3;
const CONNECTIONS = CHANNELS + 1;
const CONTENT = new Uint8Array(RAM_BYTES);
const random = seeded(44);
for (let at = 0; at < RAM_BYTES; at += 32) CONTENT[at] = random(256);
const OPTIONS = {
  ramBytes: RAM_BYTES,
  capabilities: ['multifd', 'return-path'],
  parameters: { 'multifd-channels': CHANNELS },
} as const;
/** Far more than what is on its way needs to arrive. */
const TURNS = 200;

/** Migrates with these connections held; `meanwhile` happens once everything has been sent that can be. */
async function migrateHolding(
  ordinals: readonly number[],
  meanwhile: (wire: Wire, destination: WatchedVm) => Promise<void>,
) {
  await using dir = await tempDir();
  await using destination = await WatchedVm.start({ ...OPTIONS, incoming: `unix:${dir.file('d')}` });
  await using wire = await Wire.open(dir.file('w'), dir.file('d'));
  await using source = await WatchedVm.start({ ...OPTIONS, content: CONTENT });
  for (const ordinal of ordinals) wire.hold(ordinal);
  await source.vm.migrate({ uri: wire.uri });
  await turnUntil(() => wire.connections === CONNECTIONS);
  for (let turns = 0, seen = 0; turns < TURNS; turns += 1, await turn()) {
    if (wire.bytes !== seen) turns = 0; // more was sent
    seen = wire.bytes;
  }
  await meanwhile(wire, destination);
  expect(`${await source.ended()} ${source.vm.queryMigrate()['error-desc'] ?? ''}`).toBe('completed ');
  expect(await destination.ended()).toBe('completed');
  expect(Buffer.compare(destination.vm.ram.bytes, CONTENT)).toBe(0);
}

test.for([0, 1, 2, 3])('connection %i is late: nobody goes on without it', async (late) => {
  await migrateHolding([late], async (wire, destination) => {
    expect(['setup', 'active']).toContain(destination.vm.queryMigrate().status);
    wire.release();
  });
});

const below = seeded(45);
const orders = Array.from({ length: 8 }, () => {
  const left = Array.from({ length: CONNECTIONS }, (_, ordinal) => ordinal);
  return Array.from({ length: CONNECTIONS }, () => left.splice(below(left.length), 1)[0]!);
});

test.for(orders.map((order) => ({ order })))('connections are heard in the order $order', async ({ order }) => {
  await migrateHolding(order, async (wire, destination) => {
    for (const ordinal of order) {
      expect(destination.vm.queryMigrate().status).not.toBe('completed');
      wire.release(ordinal);
      for (let turns = 0; turns < TURNS / 4; turns += 1) await turn();
    }
  });
});

test('a channel that is open and brings nothing more: the deadline passes, and its error names it', async () => {
  const block = RamBlock.create({ name: 'ram', length: 1 << 20 });
  await using threads = new ChannelThreads([block.share]);
  const arrivals = [halfOpen(), halfOpen()].map((channel) => ({ channel, rest: new Uint8Array(0) }));
  const channels = await ReceivingChannels.start({
    arrivals,
    uri: 'unix:/m',
    blocks: [block.name],
    method: 'none',
    flushEachSection: false,
    threads,
    intake: noIntake(),
    stallMs: 20,
  });
  await expect(channels.flush()).rejects.toThrow(
    /^'unix:\/m \(multifd channel 0\)': waited \d+ ms for the SYNC that the main channel waits for/,
  );
  await channels.close();
});

/** A connection that stays open and says nothing until it is destroyed. */
function halfOpen(): Channel {
  const gone = Promise.withResolvers<number>();
  const source = { readv: undefined, read: () => gone.promise };
  return { ...memoryChannel(new Uint8Array(0)), source, destroy: (why) => gone.reject(new Error(why)) };
}
