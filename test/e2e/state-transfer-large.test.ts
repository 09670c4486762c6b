/**
 * Four VFIO devices, 4 GiB of RAM that is all in use, and a guest that writes, over four channels: with zstd it is refused,
 * uncompressed all of it arrives, and the devices load at the same time. Two such machines need 12 GiB; with less memory it
 * is skipped.
 */

import { describe, expect, test } from 'vitest';
import { loadSpans, togetherMs } from '../support/ledger-spans.ts';
import { type MachinePair, machinePair } from '../support/machine-pair.ts';
import { expectGuestGoesOn } from '../support/running-guest.ts';
import { seeded } from '../support/seeded.ts';
import { expectFails, migrated, vfioConfigs } from '../support/vfio-pair.ts';
import { turn, turnUntil } from '../support/watched-vm.ts';

const MIB = 2 ** 20;
const RAM_BYTES = 4096 * MIB;
const PAGE_BYTES = 4096;
const CHUNK_BYTES = 64 * MIB;
const NEEDED_BYTES = 3 * RAM_BYTES;
const TIMEOUT = { timeout: 300_000 };

async function pairOf(parameters: object): Promise<MachinePair> {
  const properties = { state: '64MiB', load: '200MiB', 'x-migration-multifd-transfer': 'on' };
  return machinePair({
    common: {
      guest: 'guest-sweep,id=g,rate=50MiB',
      ramBytes: RAM_BYTES,
      devices: await vfioConfigs(4, 'mlx5-like', properties),
      capabilities: ['multifd', 'return-path'],
      parameters: { 'multifd-channels': 4, 'downtime-limit': 5000, 'max-bandwidth': 0, ...parameters },
    },
    source: { running: false },
  });
}

/** Every page has its number and other words; the first is the guest's, who counts in it. */
async function fill({ source }: MachinePair): Promise<void> {
  const chunk = new Uint32Array(CHUNK_BYTES / 4);
  const below = seeded(64);
  for (let at = 2; at < chunk.length; at += 8) chunk[at] = below(2 ** 32);
  for (let offset = 0; offset < RAM_BYTES; offset += CHUNK_BYTES) {
    for (let page = 0; page < CHUNK_BYTES; page += PAGE_BYTES) chunk[page / 4 + 1] = (offset + page) / PAGE_BYTES;
    source.vm.ram.write(offset, new Uint8Array(chunk.buffer));
    await turn(); // machines are answered meanwhile
  }
}

/** But for what the guest writes: its record in the first page, the first byte of the others. */
function pagesThatDiffer({ source, destination }: MachinePair): number {
  const [left, right] = [source.vm.ram.bytes, destination.vm.ram.bytes];
  let count = 0;
  for (let at = PAGE_BYTES; at < RAM_BYTES; at += PAGE_BYTES) {
    if (Buffer.compare(left.subarray(at + 1, at + PAGE_BYTES), right.subarray(at + 1, at + PAGE_BYTES)) !== 0)
      count += 1;
  }
  return count;
}

async function guestRuns({ source }: MachinePair): Promise<void> {
  await source.vm.cont();
  source.events.length = 0;
  await turnUntil(() => source.vm.checkGuests().every(({ detail }) => !/no guest header/.test(detail)));
}

describe.skipIf(process.availableMemory() < NEEDED_BYTES)('four devices, 4 GiB and a guest over four channels', () => {
  test('with zstd: refused, and the guest goes on', TIMEOUT, async () => {
    await using pair = await pairOf({ 'multifd-compression': 'zstd' });
    await guestRuns(pair);
    expect(await expectFails(pair)).toMatch(/device 'd0' cannot go over multifd channels: multifd-compression is zstd/);
    expect(pair.source.events).not.toContain('STOP');
    await expectGuestGoesOn(pair.source);
  });

  test('uncompressed: all of it arrives, and the devices load at the same time', TIMEOUT, async () => {
    await using pair = await pairOf({});
    await fill(pair);
    await guestRuns(pair);
    await migrated(pair);
    await pair.destination.vm.stop();
    expect(pair.destination.vm.checkGuests()).toMatchObject([{ ok: true }]);
    expect(pagesThatDiffer(pair)).toBe(0);
    await pair.destination.vm.cont();
    await expectGuestGoesOn(pair.destination);
    const loads = loadSpans(pair);
    expect(loads.map(({ row }) => row)).toEqual(['d0', 'd1', 'd2', 'd3']);
    // Each takes about 320 ms by its own rate; one after the other none would overlap.
    expect(togetherMs(loads)).toBeGreaterThan(100);
  });
});
