import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkGuest } from '../../../src/hw/guest/guest-check.ts';
import { parseGuestOption } from '../../../src/hw/guest/guest-options.ts';
import type { RamBlock } from '../../../src/hw/ram.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { inlineVcpu, ramOfPages } from './inline-vcpu.ts';

const PAGES = 300;
const WRITERS = [
  'sweep',
  'hot-set,hot=64KiB,seed=3',
  `bursts,burst=${100 * PAGE_SIZE},quiet=5ms`,
  'random-writes,seed=9',
  'random-writes,bytes=32',
];

/** Numbers that are not zero anywhere a guest looks. */
function noise(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (at * 7 + (at >> 8) * 31 + 1) & 0xff);
}

function pageAt(ram: { readonly bytes: Uint8Array }, page: number): Uint8Array {
  return ram.bytes.slice(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
}

function firstBytes(ram: RamBlock): number[] {
  return Array.from({ length: ram.pageCount }, (_, page) => ram.bytes[page * PAGE_SIZE]!);
}

function changedPages(ram: RamBlock, before: Uint8Array): number[] {
  const pages = Array.from({ length: ram.pageCount }, (_, page) => page);
  return pages.filter((page) => Buffer.compare(pageAt(ram, page), pageAt({ bytes: before }, page)) !== 0);
}

function isDirty(ram: RamBlock, page: number): boolean {
  const dirty = new Uint8Array(ram.share.bitmaps.buffer, ram.share.dirtyOffset);
  return ((dirty[page >> 3]! >> (page & 7)) & 1) === 1;
}

describe.each(WRITERS)('%s', (text) => {
  test('its check holds whenever it is stopped, in RAM that held anything', () => {
    const ram = ramOfPages(PAGES);
    ram.write(0, noise(ram.length));
    const vcpu = inlineVcpu(ram, text);
    vcpu.runPages(1);
    for (let stop = 0; stop < 100; stop += 1) {
      expect(checkGuest(vcpu.guest, ram.bytes)).toMatchObject({ ok: true });
      vcpu.stepAndWait();
    }
  });

  test('a fresh vCPU on a copy of its RAM writes what the old one would have written', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 1000 }), (before, after) => {
        const source = ramOfPages(PAGES);
        const old = inlineVcpu(source, text);
        old.runPages(before);
        const destination = ramOfPages(PAGES);
        destination.write(0, source.bytes.slice());
        const written = old.gate.count;
        const fresh = inlineVcpu(destination, text);
        fresh.runPages(after);
        old.runPages(written + fresh.gate.count);
        // Batches of the two end at different writes, so let the one behind catch up.
        while (old.gate.count - written !== fresh.gate.count) {
          if (old.gate.count - written < fresh.gate.count) old.stepAndWait();
          else fresh.stepAndWait();
        }
        expect(Buffer.compare(destination.bytes, source.bytes)).toBe(0);
        expect(checkGuest(fresh.guest, destination.bytes)).toMatchObject({ ok: true });
      }),
      { numRuns: 20 },
    );
  });

  test('after every step each page it changed is dirty, and nothing outside of its region changes', () => {
    const ram = ramOfPages(PAGES);
    ram.write(0, noise(ram.length));
    ram.beginSave();
    const vcpu = inlineVcpu(ram, `${text},start=${100 * PAGE_SIZE},size=${150 * PAGE_SIZE}`);
    const everChanged = new Set<number>();
    while (vcpu.gate.count < 200) {
      ram.syncDirty(); // Takes the dirty bits, so that those of the next step stand alone.
      const before = ram.bytes.slice();
      vcpu.stepAndWait();
      const changed = changedPages(ram, before);
      expect(changed.filter((page) => !isDirty(ram, page))).toEqual([]);
      for (const page of changed) everChanged.add(page);
    }
    expect(everChanged.size).toBeGreaterThan(10);
    expect(Math.min(...everChanged)).toBe(100);
    expect(Math.max(...everChanged)).toBeLessThan(250);
  });

  test('RAM it never ran in is not ok', () => {
    expect(checkGuest(parseGuestOption(text, 'g0'), ramOfPages(PAGES).bytes)).toMatchObject({ ok: false });
  });

  test('the region must be the one it ran in', () => {
    const ram = ramOfPages(PAGES);
    inlineVcpu(ram, text).runPages(500);
    const smaller = parseGuestOption(`${text},size=${(PAGES - 1) * PAGE_SIZE}`, 'g0');
    expect(checkGuest(smaller, ram.bytes)).toMatchObject({ ok: false, detail: 'the header says 300 pages, not 299' });
  });
});

describe('a torn migration is seen', () => {
  test('a sweep with one page left behind has more than one edge', () => {
    const ram = ramOfPages(PAGES);
    const vcpu = inlineVcpu(ram, 'sweep');
    vcpu.runPages(10);
    const stale = pageAt(ram, 200);
    vcpu.runPages(PAGES + 250);
    ram.bytes.set(stale, 200 * PAGE_SIZE);
    const verdict = checkGuest(vcpu.guest, ram.bytes);
    expect(verdict.ok).toBe(false);
    expect(verdict.detail).toContain('edges, at pages 200, 201');
  });

  test('a sweep whose first page was left behind has an edge that goes up', () => {
    const ram = ramOfPages(PAGES);
    const vcpu = inlineVcpu(ram, 'sweep');
    vcpu.runPages(PAGES);
    const stale = pageAt(ram, 0);
    vcpu.runPages(2 * PAGES);
    expect(checkGuest(vcpu.guest, ram.bytes).detail).toContain('no edge');
    ram.bytes.set(stale, 0);
    expect(checkGuest(vcpu.guest, ram.bytes)).toMatchObject({ ok: false });
  });

  test.each(WRITERS.slice(1))('%s with one page left behind names it', (text) => {
    const ram = ramOfPages(PAGES);
    const vcpu = inlineVcpu(ram, text);
    vcpu.runPages(2000);
    const stale = pageAt(ram, 5);
    vcpu.runPages(20_000);
    ram.bytes.set(stale, 5 * PAGE_SIZE);
    const verdict = checkGuest(vcpu.guest, ram.bytes);
    expect(verdict.ok).toBe(false);
    expect(verdict.detail).toMatch(/^page 5, byte 0: expected write \d+, found write \d+$/);
  });

  test('a page of which only half arrived is found by the byte', () => {
    const ram = ramOfPages(PAGES);
    const vcpu = inlineVcpu(ram, 'random-writes');
    vcpu.runPages(2000);
    const stale = pageAt(ram, 7);
    vcpu.runPages(20_000);
    ram.bytes.set(stale.subarray(2048), 7 * PAGE_SIZE + 2048);
    expect(checkGuest(vcpu.guest, ram.bytes).detail).toContain('page 7, byte 2048');
  });

  test('a stamping guest whose count is torn refuses to run on', () => {
    const ram = ramOfPages(PAGES);
    inlineVcpu(ram, 'random-writes').runPages(100);
    ram.bytes[64 + 32]! ^= 1;
    expect(checkGuest(parseGuestOption('random-writes', 'g0'), ram.bytes)).toMatchObject({ ok: false });
    expect(() => inlineVcpu(ram, 'random-writes').loop.step()).toThrow(
      expect.objectContaining({ code: 'thread/failed' }),
    );
  });
});

test('a sweep that gets ready in RAM of zeros writes only its header', () => {
  const ram = ramOfPages(PAGES);
  const vcpu = inlineVcpu(ram, 'sweep');
  while (vcpu.gate.count === 0 && ram.bytes[64] === 0) vcpu.loop.step();
  expect(ram.syncDirty()).toBe(1);
});

test('a sweep goes on at its edge', () => {
  const ram = ramOfPages(PAGES);
  inlineVcpu(ram, 'sweep').runPages(PAGES + 128);
  expect(firstBytes(ram)).toEqual([...Array(128).fill(2), ...Array(PAGES - 128).fill(1)]);
  inlineVcpu(ram, 'sweep').runPages(1);
  expect(firstBytes(ram)).toEqual([...Array(192).fill(2), ...Array(PAGES - 192).fill(1)]);
});

test('hot-set sends its share of the writes to the hot part', () => {
  const ram = ramOfPages(1001);
  ram.beginSave();
  const vcpu = inlineVcpu(ram, `hot-set,hot=${10 * PAGE_SIZE},share=90,bytes=16`);
  vcpu.runPages(1000);
  const stamped = firstBytes(ram).filter((_, page) => page > 10 && ram.bytes[page * PAGE_SIZE + 8] !== 0).length;
  // About 100 writes in a thousand go to a thousand pages.
  expect(stamped).toBeGreaterThan(60);
  expect(stamped).toBeLessThan(140);
});
