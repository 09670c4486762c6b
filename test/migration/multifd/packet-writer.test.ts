/** Packets are those that a real QEMU recorded for the same pages, byte for byte. */

import { describe, expect, test } from 'vitest';
import { RamBlock } from '../../../src/hw/ram.ts';
import { RamWindow } from '../../../src/hw/ram-window.ts';
import { PacketWriter } from '../../../src/migration/multifd/packet-writer.ts';
import type { GatherList } from '../../../src/threads/segments.ts';
import { Tally } from '../../../src/threads/tally.ts';
import { MULTIFD_FLAG, RAM_PACKET_OFFSET } from '../../../src/wire/multifd.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { packetsOf, recordedMultifd } from '../../support/multifd-streams.ts';
import { recordedStream } from '../../support/recorded-stream.ts';

function bytesOf(packet: GatherList): Buffer {
  return Buffer.concat(Array.from({ length: packet.entryCount }, (_, index) => packet.view(index)));
}

function recordedRam(): RamBlock {
  const ram = recordedStream('none-4m.ram.zz');
  const block = RamBlock.create({ name: 'ram', length: ram.length });
  block.write(0, ram);
  return block;
}

function writer(block: RamBlock, options: { detectZero?: boolean; oldLayout?: boolean } = {}): PacketWriter {
  const { detectZero = true, oldLayout = false } = options;
  const windows = [new RamWindow(block.share)];
  return new PacketWriter({
    windows,
    compressor: undefined,
    detectZero,
    oldLayout,
    numbers: new Tally(1),
  });
}

/** All that becomes of the first `count` pages of the list, when nothing is compressed. */
function packetsFor(packetWriter: PacketWriter, list: Uint32Array, count = list.length): GatherList {
  packetWriter.begin(0, list, count);
  const batch = packetWriter.next();
  expect(batch).toBeDefined();
  return batch!;
}

/** Packets are numbered across channels in the order of a race, which no other run repeats. */
function withoutNumber(bytes: Uint8Array): string {
  const copy = Buffer.from(bytes);
  copy.fill(0, RAM_PACKET_OFFSET.PACKET_NUMBER, RAM_PACKET_OFFSET.ZERO_PAGES);
  return copy.toString('hex');
}

describe.for([0, 1])('channel %i', (channel) => {
  test('the same pages, taken in order, give the recorded packets', () => {
    const packets = packetsOf(recordedMultifd('none').channels[channel]!);
    expect(packets.length).toBeGreaterThan(3);
    const packetWriter = writer(recordedRam());
    for (const packet of packets) {
      const pages = Uint32Array.from(packet.offsets, (offset) => offset / PAGE_SIZE).sort();
      const isSync = (packet.flags & MULTIFD_FLAG.SYNC) !== 0;
      const ours = isSync ? packetWriter.sync() : packetsFor(packetWriter, pages);
      expect(withoutNumber(bytesOf(ours))).toBe(withoutNumber(Buffer.concat([packet.header, packet.data])));
    }
  });
});

test('pages never written are zero pages without being read, and as data when nobody looks for zero pages', () => {
  const block = RamBlock.create({ name: 'ram', length: 64 * PAGE_SIZE });
  block.write(3 * PAGE_SIZE, Uint8Array.of(1));
  block.beginSave();
  const list = new Uint32Array(128);
  const count = block.takeList(0, 128, list);
  expect(count).toBe(64);
  expect(block.pendingPages).toBe(0);
  const looking = writer(block);
  expect(packetsFor(looking, list, count).byteLength).toBe(1344 + PAGE_SIZE);
  expect([looking.normalPages, looking.zeroPages]).toEqual([1, 63]);
  const blind = writer(block, { detectZero: false });
  expect(packetsFor(blind, list, count).byteLength).toBe(1344 + 64 * PAGE_SIZE);
  expect([blind.normalPages, blind.zeroPages]).toEqual([64, 0]);
});

test('SYNC packets of the old layout have the number of pages that an old receiver checks', () => {
  const block = RamBlock.create({ name: 'ram', length: PAGE_SIZE });
  const pagesAlloc = (packet: GatherList) => bytesOf(packet).readUInt32BE(RAM_PACKET_OFFSET.PAGES_ALLOC);
  expect(pagesAlloc(writer(block).sync())).toBe(0);
  expect(pagesAlloc(writer(block, { oldLayout: true }).sync())).toBe(128);
});

test('a page list goes on where it stopped, and takes a page again only when it became pending again', () => {
  const block = RamBlock.create({ name: 'ram', length: 100 * PAGE_SIZE });
  block.beginSave();
  const list = new Uint32Array(128);
  expect(block.takeList(0, 40, list)).toBe(40);
  block.write(10 * PAGE_SIZE, Uint8Array.of(1)); // behind the scan
  block.write(50 * PAGE_SIZE, Uint8Array.of(1)); // before it
  block.syncDirty();
  expect(block.takeList(40, 128, list)).toBe(60);
  expect(list[10]).toBe(50);
  expect(block.takeList(0, 128, list)).toBe(1);
  expect(list[0]).toBe(10);
});

test('zero pages taken out of a list become records of the main channel', () => {
  const block = RamBlock.create({ name: 'ram', length: 64 * PAGE_SIZE });
  block.write(0, new Uint8Array(40 * PAGE_SIZE));
  block.write(5 * PAGE_SIZE, Uint8Array.of(1));
  block.write(33 * PAGE_SIZE, Uint8Array.of(1));
  block.beginSave();
  const list = new Uint32Array(128);
  const { left, zeros } = block.splitZeroPages(list, block.takeList(0, 128, list));
  expect([...list.subarray(0, left)]).toEqual([5, 33]);
  expect(zeros.zeroPages).toBe(62);
  expect(zeros.byteLength).toBe(62 * 9 + 4); // one of them names the block
});

test('pages that follow each other are one piece of a packet, and zero pages among them go to the end of its table', () => {
  const block = RamBlock.create({ name: 'ram', length: 64 * PAGE_SIZE });
  for (const page of [3, 4, 5, 7, 40]) block.write(page * PAGE_SIZE, Uint8Array.of(page));
  const packet = packetsFor(writer(block), Uint32Array.of(3, 4, 5, 6, 7, 40));
  const table = bytesOf(packet).subarray(RAM_PACKET_OFFSET.TABLE);
  const pages = Array.from({ length: 7 }, (_, index) => Number(table.readBigUInt64BE(index * 8)) / PAGE_SIZE);
  expect(pages).toEqual([3, 4, 5, 40, 7, 6, 0]);
  expect(Array.from({ length: packet.entryCount }, (_, index) => packet.view(index).length / PAGE_SIZE)).toEqual([
    1344 / PAGE_SIZE,
    3,
    1,
    1,
  ]);
});

test('a long list becomes several packets in one write, where headers without data behind them are one piece', () => {
  const block = RamBlock.create({ name: 'ram', length: 1024 * PAGE_SIZE });
  for (const page of [128, 129, 640]) block.write(page * PAGE_SIZE, Uint8Array.of(1));
  const list = Uint32Array.from({ length: 1000 }, (_, index) => index);
  const packetWriter = writer(block);
  const batch = packetsFor(packetWriter, list);
  const lengths = Array.from({ length: batch.entryCount }, (_, index) => batch.view(index).length);
  expect(lengths).toEqual([2 * 1344, 2 * PAGE_SIZE, 4 * 1344, PAGE_SIZE, 2 * 1344]);
  expect(packetWriter.next()).toBeUndefined();
  expect([packetWriter.normalPages, packetWriter.zeroPages]).toEqual([3, 997]);
  const all = bytesOf(batch);
  expect(all.length).toBe(batch.byteLength);
  const dataBytes = 2 * PAGE_SIZE;
  const heads = [0, 1344, 2 * 1344 + dataBytes, 3 * 1344 + dataBytes];
  const numbers = heads.map((at) => Number(all.readBigUInt64BE(at + RAM_PACKET_OFFSET.PACKET_NUMBER)));
  expect(numbers).toEqual([0, 1, 2, 3]);
  const next = bytesOf(packetsFor(packetWriter, Uint32Array.of(3)));
  expect(Number(next.readBigUInt64BE(RAM_PACKET_OFFSET.PACKET_NUMBER))).toBe(8);
  const used = next.subarray(RAM_PACKET_OFFSET.TABLE, RAM_PACKET_OFFSET.TABLE + 16);
  expect([used.readBigUInt64BE(0), used.readBigUInt64BE(8)]).toEqual([3n * BigInt(PAGE_SIZE), 0n]);
});
