/** Legacy `compress`: records as bytes, and back into RAM (spec/wire.md §4.5, spec/control.md §1.4). */

import { deflateSync, inflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { RamBlock } from '../../../src/hw/ram.ts';
import { IDLE_CONTEXT } from '../../../src/migration/options/capabilities.ts';
import { MigrationOptions } from '../../../src/migration/options/options.ts';
import { CompressRamSaver, CompressRates } from '../../../src/migration/ram/compress-save.ts';
import { PageExpander } from '../../../src/migration/ram/page-expander.ts';
import { RamLoader } from '../../../src/migration/ram/ram-load.ts';
import { StreamReader } from '../../../src/migration/transport/stream-reader.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { MemorySink, memorySource } from '../../support/stream-loading.ts';

const PAGES = 200;
const NAME = Buffer.from('\x03ram', 'latin1');
const EOS = word(0, 0x10);

function word(page: number, flags: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(page * PAGE_SIZE + flags));
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function filled(): RamBlock {
  const block = RamBlock.create({ name: 'ram', length: PAGES * PAGE_SIZE });
  for (let page = 0; page < PAGES; page += 1) {
    if (page % 5 === 4) continue; // pages of zeros
    block.write(page * PAGE_SIZE, Buffer.alloc(PAGE_SIZE, `page ${page} of the test `));
  }
  return block;
}

async function sent(options: { threads?: number; waits?: boolean; level?: number } = {}) {
  const block = filled();
  const sink = new MemorySink();
  const { threads = 2, waits = true, level = 1 } = options;
  const common = { sink, detectZero: true, ignoreShared: false };
  const saver = new CompressRamSaver({ blocks: [block], ...common, threads, waits, level });
  try {
    saver.begin();
    const part = await saver.sendPart(() => 1000, false);
    return { block, saver, part, bytes: Buffer.from(sink.bytes()) };
  } finally {
    await saver.close();
  }
}

/** The records of one section, taken apart by hand. */
function recordsOf(
  bytes: Buffer,
): { page: number; kind: 'raw' | 'zero' | 'zlib' | 'end'; named: boolean; data: Buffer }[] {
  const records: ReturnType<typeof recordsOf> = [];
  for (let at = 0; at < bytes.length; ) {
    const value = Number(bytes.readBigUInt64BE(at));
    const [page, flags] = [Math.floor(value / PAGE_SIZE), value % PAGE_SIZE];
    at += 8;
    if (flags === 0x10) {
      records.push({ page, kind: 'end', named: false, data: Buffer.alloc(0) });
      continue;
    }
    const named = (flags & 0x20) === 0;
    if (named) {
      expect(bytes.subarray(at, at + NAME.length)).toEqual(NAME);
      at += NAME.length;
    }
    const kind = ({ 2: 'zero', 8: 'raw', 256: 'zlib' } as const)[(flags & ~0x20) as 0x02 | 0x08 | 0x100];
    if (kind === 'zlib') at += 4;
    const length = kind === 'zero' ? 1 : kind === 'raw' ? PAGE_SIZE : bytes.readUInt32BE(at - 4);
    records.push({ page, kind, named, data: bytes.subarray(at, at + length) });
    at += length;
  }
  return records;
}

describe('a source', () => {
  test('sends the first page as it is, with the name, and each other as a zlib stream of its own or as zeros', async () => {
    const { block, bytes, saver, part } = await sent();
    const records = recordsOf(bytes);
    expect(records.at(-1)?.kind).toBe('end');
    expect(records[0]).toMatchObject({ page: 0, kind: 'raw', named: true });
    expect(records.slice(1).some(({ named }) => named)).toBe(false);
    const pages = records.slice(0, -1);
    expect(pages.map(({ page }) => page).sort((a, b) => a - b)).toEqual([...Array(PAGES).keys()]);
    for (const { page, kind, data } of pages) {
      if (kind === 'zero') expect([page % 5, data]).toEqual([4, Buffer.of(0)]);
      if (kind !== 'zlib') continue;
      expect(data.length).toBeLessThanOrEqual(4110);
      const page4k = block.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
      expect(Buffer.compare(inflateSync(data), page4k)).toBe(0);
    }
    const streams = pages.filter(({ kind }) => kind === 'zlib');
    expect(saver.counters).toEqual({
      pages: streams.length,
      busy: 0,
      compressedBytes: streams.reduce((sum, { data }) => sum + 4 + data.length, 0),
    });
    expect(part).toEqual({ normalPages: 1, zeroPages: PAGES / 5, recordBytes: bytes.length - EOS.length });
  });

  test('with compress-wait-thread off sends pages as they are while its threads are busy', async () => {
    const { bytes, saver } = await sent({ threads: 1, waits: false });
    const raw = recordsOf(bytes).filter(({ kind }) => kind === 'raw');
    expect(saver.counters.busy).toBeGreaterThan(0);
    expect(raw.length).toBeGreaterThan(1);
  });

  test('tells rates of the last period', () => {
    const counters = { pages: 0, busy: 0, compressedBytes: 0 };
    const rates = new CompressRates(counters);
    Object.assign(counters, { pages: 100, busy: 20, compressedBytes: 80 * 512 });
    expect(rates.info()).toMatchObject({ pages: 100, busy: 20, 'busy-rate': 0, 'compression-rate': 0 });
    rates.periodEnds();
    expect(rates.info()).toMatchObject({ 'busy-rate': 0.2, 'compressed-size': 80 * 512, 'compression-rate': 8 });
  });
});

/** Loads records into a block; the error, if there is one. */
async function loaded(bytes: Uint8Array, hasExpander = true): Promise<{ block: RamBlock; error: unknown }> {
  const block = RamBlock.create({ name: 'ram', length: PAGES * PAGE_SIZE });
  await using expander = new PageExpander({ blocks: [block], threads: 2 });
  const loader = new RamLoader(new StreamReader(memorySource(bytes)), [block], hasExpander ? { expander } : {});
  try {
    await loader.load();
    return { block, error: undefined };
  } catch (error) {
    return { block, error };
  }
}

/** A compressed page with its block's name. */
const page = (number: number, stream: Uint8Array, length = stream.length) =>
  Buffer.concat([word(number, 0x100), NAME, u32(length), stream]);
const stream = (fill: string, bytes = PAGE_SIZE) => deflateSync(Buffer.alloc(bytes, fill));

describe('a destination', () => {
  test('loads what a source sends', async () => {
    const { block, bytes } = await sent();
    const got = await loaded(bytes);
    expect(got.error).toBeUndefined();
    expect(Buffer.compare(got.block.bytes, block.bytes)).toBe(0);
  });

  test('stores the last of several copies of a page, whatever their kinds', async () => {
    const copies = [page(3, stream('a')), page(3, stream('b')), word(3, 0x28), Buffer.alloc(PAGE_SIZE, 'c')];
    const raw = await loaded(Buffer.concat([...copies, EOS]));
    expect([raw.error, raw.block.bytes[3 * PAGE_SIZE]]).toEqual([undefined, 'c'.charCodeAt(0)]);
    const zlib = await loaded(Buffer.concat([...copies, page(3, stream('d')), EOS]));
    expect([zlib.error, zlib.block.bytes[3 * PAGE_SIZE]]).toEqual([undefined, 'd'.charCodeAt(0)]);
  });

  const AT = 8 + NAME.length;
  test.each([
    ['of no bytes', page(0, Buffer.alloc(0)), { at: AT, field: 'length of a compressed page', actual: '0' }],
    ['longer than zlib makes them', page(0, Buffer.alloc(10), 4111), { at: AT, limit: 'COMPRESSED_PAGE_BYTES' }],
    ['of 4 GiB', page(0, Buffer.alloc(10), 0xffff_ffff), { at: AT, limit: 'COMPRESSED_PAGE_BYTES' }],
    ['that is no zlib stream', page(0, Buffer.alloc(10, 0xff)), { at: AT + 4, field: 'compressed page' }],
    ['that expands to less', page(0, stream('a', PAGE_SIZE - 1)), { at: AT + 4, actual: 'it expands to 4095 bytes' }],
    ['that expands to more', page(0, stream('a', 1 << 20)), { at: AT + 4, field: 'compressed page' }],
    ['whose stream is cut', page(0, stream('a').subarray(0, 10)), { at: AT + 4, field: 'compressed page' }],
    [
      'with something behind its stream',
      page(0, Buffer.concat([stream('a'), Buffer.of(0)])),
      { at: AT + 4, field: 'compressed page' },
    ],
    ['behind the end of RAM', page(PAGES, stream('a')), { field: "page offset in block 'ram'" }],
  ])('refuses a page %s, at its place', async (_what, bytes, details) => {
    const { error } = await loaded(Buffer.concat([bytes, EOS]));
    expect(error).toMatchObject({ details });
  });

  test('without the capability refuses, and says what is missing', async () => {
    const { error } = await loaded(Buffer.concat([page(0, stream('a')), EOS]), false);
    expect(error).toMatchObject({
      message: expect.stringMatching(/RAM record flags.*0x100.*Hint: .*-global migration.x-compress=on/),
    });
  });
});

describe('options', () => {
  const set = (...globals: readonly (readonly [string, string])[]) => {
    const options = new MigrationOptions();
    options.setGlobals(globals.map(([name, text]) => ({ name, text })));
    return options;
  };

  test.each([
    ['x-compress-level', '10', 'between 0 and 9'],
    ['x-compress-threads', '0', 'between 1 and 255'],
    ['x-decompress-threads', '0', 'between 1 and 255'],
  ])('%s=%s is refused', (name, text, why) => {
    expect(() => set([name, text])).toThrow(`Parameter '${name}' expects a value ${why}`);
  });

  test.each(['multifd', 'xbzrle', 'mapped-ram'])('x-compress excludes %s', (capability) => {
    const state = true;
    expect(() => set(['x-compress', 'on']).setCapabilities([{ capability, state }], IDLE_CONTEXT)).toThrow(
      `compress is not compatible with ${capability}`,
    );
    expect(() => set(['x-compress', 'off']).setCapabilities([{ capability, state }], IDLE_CONTEXT)).not.toThrow();
  });

  test('QMP does not know it, as in QEMU 10', () => {
    const options = set(['x-compress', 'on']);
    expect(options.queryCapabilities().map(({ capability }) => capability)).not.toContain('compress');
    expect(Object.keys(options.queryParameters()).filter((name) => name.includes('compress-'))).toEqual([]);
  });
});
