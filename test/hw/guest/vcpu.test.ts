import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { checkGuest } from '../../../src/hw/guest/guest-check.ts';
import { parseGuestOption } from '../../../src/hw/guest/guest-options.ts';
import { Vcpu } from '../../../src/hw/guest/vcpu.ts';
import { RamBlock } from '../../../src/hw/ram.ts';
import { ramOfPages } from './inline-vcpu.ts';

const PAGES = 4096;

function startVcpu(ram: RamBlock, text: string, more: { onFailure?: (error: Error) => void } = {}) {
  return Vcpu.create({ ram: ram.share, guest: parseGuestOption(text, 'g0'), ...more });
}

function hash(ram: RamBlock): string {
  return createHash('sha256').update(ram.bytes).digest('hex');
}

/** Lets other threads run, one turn of the event loop at a time, until the vCPU has written `pages` more. */
async function written(vcpu: Vcpu, pages: number): Promise<void> {
  const target = vcpu.stats().pagesWritten + pages;
  while (vcpu.stats().pagesWritten < target) await new Promise(setImmediate);
}

test('a new vCPU is stopped: it writes nothing until it is started', async () => {
  const ram = ramOfPages(PAGES);
  await using vcpu = await startVcpu(ram, 'sweep');
  await vcpu.stop();
  expect(vcpu.running).toBe(false);
  expect(vcpu.stats()).toEqual({ pagesWritten: 0, throttlePercent: 0, limitedUs: 0 });
  expect(ram.syncDirty()).toBe(0);
});

test('each vCPU has a thread of its own', async () => {
  const ram = ramOfPages(PAGES);
  await using vcpu = await startVcpu(ram, 'sweep');
  await using other = await startVcpu(ram, 'sweep');
  const ids = [vcpu.systemThreadId, other.systemThreadId];
  expect(new Set([process.pid, ...ids]).size).toBe(3);
  expect(readdirSync('/proc/self/task')).toEqual(expect.arrayContaining(ids.map(String)));
});

test('stop is exact: RAM stays equal while another vCPU writes on for 50 batches', async () => {
  const ram = ramOfPages(PAGES);
  const otherRam = ramOfPages(PAGES);
  await using vcpu = await startVcpu(ram, 'sweep');
  await using other = await startVcpu(otherRam, 'sweep');
  other.start();
  for (let round = 0; round < 10; round += 1) {
    vcpu.start();
    await written(vcpu, 1000);
    await vcpu.stop();
    const atStop = hash(ram);
    const count = vcpu.stats().pagesWritten;
    expect(checkGuest(vcpu.guest, ram.bytes)).toMatchObject({ ok: true });
    await written(other, 50 * 64);
    expect(hash(ram)).toBe(atStop);
    expect(vcpu.stats().pagesWritten).toBe(count);
  }
});

test.each(['sweep', 'hot-set', 'bursts,quiet=1ms', 'random-writes'])(
  '%s goes on after a stop, also on another vCPU with a copy of its RAM',
  async (text) => {
    const source = ramOfPages(PAGES);
    const destination = ramOfPages(PAGES);
    await using old = await startVcpu(source, text);
    old.start();
    await written(old, 1000);
    await old.stop();
    destination.write(0, source.bytes.slice());
    await using fresh = await startVcpu(destination, text);
    fresh.start();
    await written(fresh, 1000);
    await fresh.stop();
    expect(checkGuest(fresh.guest, destination.bytes)).toMatchObject({ ok: true });
  },
);

test.each(['sweep', 'random-writes'])(
  '%s: pages harvested as it runs and once after the stop make an exact copy',
  async (text) => {
    const ram = ramOfPages(PAGES);
    const copy = Buffer.alloc(ram.length);
    await using vcpu = await startVcpu(ram, text);
    ram.beginSave();
    const copyDirty = () => {
      ram.syncDirty();
      for (let page = 0; page < ram.pageCount; ) {
        const { nextPage, batch } = ram.takePages({ firstPage: page, maxPages: 256, detectZero: false });
        for (let entry = 1; entry < batch.entryCount; entry += 2) {
          const view = batch.view(entry);
          copy.set(view, view.byteOffset - ram.bytes.byteOffset);
        }
        page = nextPage;
      }
    };
    vcpu.start();
    for (let round = 0; round < 5; round += 1) {
      await written(vcpu, 500);
      copyDirty();
    }
    await vcpu.stop();
    copyDirty();
    expect(Buffer.compare(copy, ram.bytes)).toBe(0);
    expect(checkGuest(vcpu.guest, copy)).toMatchObject({ ok: true });
  },
);

test('a throttled vCPU still stops at once', async () => {
  const ram = ramOfPages(PAGES);
  await using vcpu = await startVcpu(ram, 'sweep');
  vcpu.throttle(99);
  vcpu.start();
  await written(vcpu, 64);
  await vcpu.stop();
  expect(vcpu.stats().throttlePercent).toBe(99);
});

test('a guest works in RAM above 4 GiB', async () => {
  const ram = RamBlock.create({ name: 'big.ram', length: 4 * 2 ** 30 + 2 ** 24 });
  await using vcpu = await startVcpu(ram, 'sweep,start=4GiB');
  vcpu.start();
  await written(vcpu, 1000);
  await vcpu.stop();
  expect(checkGuest(vcpu.guest, ram.bytes)).toMatchObject({ ok: true });
  expect(ram.isUnwritten(0)).toBe(true);
  expect(ram.isUnwritten(2 ** 20)).toBe(false);
});

test('a guest that fails tells its machine, and stop says why', async () => {
  const ram = ramOfPages(PAGES);
  await using first = await startVcpu(ram, 'random-writes');
  first.start();
  await written(first, 100);
  await first.stop();
  ram.bytes[64 + 32]! ^= 1;
  const failure = Promise.withResolvers<Error>();
  await using second = await startVcpu(ram, 'random-writes', { onFailure: failure.resolve });
  second.start();
  expect(await failure.promise).toMatchObject({ code: 'thread/failed' });
  await expect(second.stop()).rejects.toThrow(/count of writes in its RAM is torn/);
});

test('a region outside of RAM is refused before a thread starts', async () => {
  await expect(startVcpu(ramOfPages(4), 'sweep,size=64MiB')).rejects.toMatchObject({ code: 'option/bad-value' });
});
