import { describe, expect, test } from 'vitest';
import { RamBlock } from '../../src/hw/ram.ts';
import { RamScout, SCOUT_WORD, scoutShare, startScout } from '../../src/hw/ram-scout.ts';
import { ScoutLoop } from '../../src/hw/ram-scout-loop.ts';
import { Bell } from '../../src/threads/bell.ts';
import { seeded } from '../support/seeded.ts';

const PAGE = 4096;
const CHUNK_PAGES = 512;
/** Enough that a pass is worth a scout. */
const PAGES = 16_384;
const ALL = { maxPages: PAGES, detectZero: true };

function scouted(): { block: RamBlock; loop: ScoutLoop; bell: Bell } {
  const block = RamBlock.create({ name: 'ram', length: PAGES * PAGE });
  const share = scoutShare(block.share);
  block.scout = new RamScout(share);
  return { block, loop: new ScoutLoop(share), bell: new Bell(share.words, 4 * SCOUT_WORD.BELL) };
}

/** As a thread that is rung again and again. */
function lookAtAll(loop: ScoutLoop): void {
  for (let n = 0; n < PAGES / CHUNK_PAGES; n++) {
    loop.wake();
    loop.step();
  }
}

function writeByte(block: RamBlock, page: number, value: number): void {
  block.write(page * PAGE + (page % PAGE), Uint8Array.of(value));
}

/** The next pages that a sender takes, `sent` as they arrive. */
function sendSome(block: RamBlock, arrived: Uint8Array, firstPage: number, maxPages: number): number {
  const { groups, nextPage } = block.takeMasks({ firstPage, maxPages, detectZero: true });
  for (const { group, data, zero } of groups) {
    for (let bit = 0; bit < 32; bit++) {
      const [start, end] = [(group * 32 + bit) * PAGE, (group * 32 + bit + 1) * PAGE];
      if (((data >>> bit) & 1) === 1) arrived.set(block.bytes.subarray(start, end), start);
      if (((zero >>> bit) & 1) === 1) arrived.fill(0, start, end);
    }
  }
  return nextPage;
}

describe('a scout ahead of the sender of RAM', () => {
  test('spares the sender to look at pages: what it found is sent, whatever is in them now', () => {
    const { block, loop } = scouted();
    writeByte(block, 6 * CHUNK_PAGES, 0);
    block.beginSave();
    block.takeMasks({ ...ALL, firstPage: 0, maxPages: 1 }); // the sender is in the first chunk
    lookAtAll(loop);
    block.bytes[6 * CHUNK_PAGES * PAGE] = 1; // behind its back: nothing marks it
    const { groups } = block.takeMasks({ ...ALL, firstPage: 0 });
    expect(groups.find(({ group }) => group === (6 * CHUNK_PAGES) / 32)).toMatchObject({ data: 0 });
  });

  test('a page written after it was looked at, and harvested before it is sent, is sent with what it holds', () => {
    const { block, loop } = scouted();
    const page = 6 * CHUNK_PAGES;
    writeByte(block, page, 0);
    block.beginSave();
    block.takeMasks({ ...ALL, firstPage: 0, maxPages: 1 });
    lookAtAll(loop);
    writeByte(block, page, 1);
    block.syncDirty();
    const { groups } = block.takeMasks({ ...ALL, firstPage: 0 });
    expect(groups.find(({ group }) => group === page / 32)?.data).toBe(1);
  });

  test('what it looked at while bits were harvested is not believed', () => {
    const { block, loop } = scouted();
    block.beginSave();
    block.takeMasks({ ...ALL, firstPage: 0, maxPages: 1 });
    expect(loop.step()).toBe(true);
    block.syncDirty();
    expect(block.scout?.knows((4 * CHUNK_PAGES) / 32)).toBe(false);
  });

  test('gives up where zero pages stand among others, until it is rung', () => {
    const { block, loop } = scouted();
    for (let page = 0; page < PAGES; page++) writeByte(block, page, page % CHUNK_PAGES === 1 ? 1 : 0);
    block.beginSave();
    expect(block.scout?.knows(0)).toBe(false);
    let steps = 0;
    while (loop.step()) steps += 1;
    expect(steps).toBe(4);
    loop.wake();
    expect(loop.step()).toBe(true);
  });

  test.each([
    ['rings', CHUNK_PAGES, 1],
    ['does not ring', CHUNK_PAGES - 1, 0],
  ])(`the sender %s in the next chunk when it found %i of ${CHUNK_PAGES} pages to be zero`, (_, zeros, rings) => {
    const { block, bell } = scouted();
    for (let page = 0; page < CHUNK_PAGES; page++) writeByte(block, page, page < zeros ? 0 : 1);
    writeByte(block, CHUNK_PAGES, 1);
    block.beginSave();
    const before = bell.count;
    block.takeMasks({ ...ALL, firstPage: 0 });
    expect(bell.count - before).toBe(1 + rings); // once for the pass
  });

  test('does nothing for a pass of few pages, and nothing between migrations', () => {
    const { block, loop } = scouted();
    block.beginSave();
    expect(block.scout?.knows(0)).toBe(false);
    expect(loop.step()).toBe(true);
    block.takeMasks({ ...ALL, firstPage: 0 });
    writeByte(block, 1, 1);
    block.syncDirty();
    expect(loop.step()).toBe(false);
    block.endSave();
    expect(loop.step()).toBe(false);
  });

  test.each([1, 2, 3, 4, 5, 6])(
    'whoever is faster, writes and harvests in between: everything arrives (seed %i)',
    (seed) => {
      const random = seeded(seed);
      const { block, loop } = scouted();
      const arrived = new Uint8Array(PAGES * PAGE);
      const write = (count: number) => {
        for (let n = 0; n < count; n++) writeByte(block, random(PAGES), random(2));
      };
      for (let page = 0; page < PAGES; page++) writeByte(block, page, 0);
      block.beginSave();
      for (let place = 0, turn = 0; block.pendingPages > 0; turn++) {
        for (let n = random(4); n > 0; n--) loop.step();
        if (random(3) === 0) loop.wake();
        if (turn < 100) write(random(100));
        if (turn < 100 && random(5) === 0) block.syncDirty();
        place = sendSome(block, arrived, place, 1 + random(20));
        if (place >= PAGES) place = 0;
        if (block.pendingPages === 0) block.syncDirty();
      }
      expect(Buffer.compare(arrived, block.bytes)).toBe(0);
    },
  );

  test('its thread ends with the machine that owns it', async () => {
    const { block } = scouted();
    const ended = Promise.withResolvers<Error | undefined>();
    const running = await startScout({ ram: block.share, onEnd: ended.resolve });
    running.scout.beginPass(PAGES);
    running.scout.knows(0);
    await running.thread[Symbol.asyncDispose]();
    expect(await ended.promise).toBeUndefined();
  });
});
