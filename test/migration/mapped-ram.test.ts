/** mapped-ram files (spec/wire.md §6): byte for byte those of a QEMU, loaded again, and hostile ones refused. */

import { open, readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { recordedStream } from '../support/recorded-stream.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import { WatchedVm, type WatchedVmOptions } from '../support/watched-vm.ts';

const MIB = 1 << 20;
const RAM_BYTES = 4 * MIB;
const recordedRam = new Uint8Array(recordedStream('none-4m.ram.zz'));
const recordedFile = new Uint8Array(recordedStream('none-4m-mapped-ram.file.gz'));
/** Where the recorded file has the header of block `ram`, and what follows it. */
const HEADER = 101;
const BITMAP = 129;

const machine = (options: WatchedVmOptions = {}) =>
  WatchedVm.start({ ramBytes: RAM_BYTES, capabilities: ['mapped-ram'], ...options });

/** Loads a file and tells how that ended, and the machine. */
async function load(path: string, options: WatchedVmOptions = {}): Promise<{ vm: WatchedVm; ended: string }> {
  const vm = await machine({ incoming: `file:${path}`, ...options });
  return { vm, ended: await vm.ended() };
}

async function save(dir: TempDir, options: WatchedVmOptions & { uri?: string } = {}): Promise<Uint8Array> {
  await using source = await machine(options);
  await source.vm.migrate({ uri: options.uri ?? `file:${dir.file('saved')}` });
  expect(await source.ended()).toBe('completed');
  return readFile(dir.file('saved'));
}

test('what we write for the recorded machine is what QEMU wrote', async () => {
  await using dir = await tempDir();
  const file = await save(dir, { content: recordedRam });
  expect(file.length).toBe(recordedFile.length);
  expect(Buffer.compare(file, recordedFile)).toBe(0);
});

test.for([1, 2, 4].flatMap((channels) => [false, true].map((direct) => ({ channels, direct }))))(
  'multifd with $channels handles, direct-io $direct: the file is the same, and loads the same way',
  async ({ channels, direct }) => {
    await using dir = await tempDir();
    const capabilities = ['mapped-ram', 'multifd'];
    const parameters = { 'multifd-channels': channels, 'direct-io': direct };
    await using source = await machine({ content: recordedRam, capabilities, parameters });
    await source.vm.migrate({ uri: `file:${dir.file('saved')}` });
    expect(await source.ended()).toBe('completed');
    expect(Buffer.compare(await readFile(dir.file('saved')), recordedFile)).toBe(0);
    expect(source.vm.queryMigrate().ram?.['multifd-bytes']).toBe(16 * 4096); // the pages, which are all that handles store
    const { vm, ended } = await load(dir.file('saved'), { capabilities, parameters });
    await using _ = vm;
    expect(ended).toBe('completed');
    expect(Buffer.compare(vm.vm.ram.bytes, recordedRam)).toBe(0);
  },
);

test('where direct I/O cannot be had, the migration fails and says so', async () => {
  const parameters = { 'direct-io': true };
  const { vm, ended } = await load('/proc/self/maps', { capabilities: ['mapped-ram', 'multifd'], parameters });
  await using _ = vm;
  expect(ended).toBe('failed');
  expect(vm.vm.queryMigrate()['error-desc']).toContain('with direct-io, which not every file system has');
});

test('what cannot be cut to the offset is no file to migrate to', async () => {
  await using source = await machine();
  await expect(source.vm.migrate({ uri: 'file:/dev/null' })).rejects.toMatchObject({ code: 'transport/open' });
});

test.for(['none-4m-mapped-ram.file.gz', 'none-4m-mapped-ram-multifd.file.gz'])(
  '%s loads to the recorded RAM',
  async (name) => {
    await using dir = await tempDir();
    await writeFile(dir.file('in'), recordedStream(name));
    const { vm, ended } = await load(dir.file('in'));
    await using _ = vm;
    expect(ended).toBe('completed');
    expect(Buffer.compare(vm.vm.ram.bytes, recordedRam)).toBe(0);
  },
);

test('with an offset all places are those of the file, and what was before stays', async () => {
  await using dir = await tempDir();
  await writeFile(dir.file('saved'), 'x'.repeat(5000));
  const file = await save(dir, { content: recordedRam, uri: `file:${dir.file('saved')},offset=3000` });
  const bytes = Buffer.from(file);
  expect(bytes.subarray(0, 3000).toString()).toBe('x'.repeat(3000));
  expect(bytes.readBigUInt64BE(3000 + HEADER + 12)).toBe(BigInt(3000 + BITMAP));
  expect(bytes.readBigUInt64BE(3000 + HEADER + 20)).toBe(BigInt(MIB));
  expect(bytes.length).toBe(recordedFile.length); // pages start at a whole MiB of the file all the same
  const { vm, ended } = await load(`${dir.file('saved')},offset=3000`);
  await using _ = vm;
  expect(ended).toBe('completed');
  expect(Buffer.compare(vm.vm.ram.bytes, recordedRam)).toBe(0);
});

test('a running guest is saved whole, and goes on from the file', async () => {
  await using dir = await tempDir();
  const guest = 'guest-random-writes,id=g0,rate=200MiB';
  await using source = await machine({ guest, running: true, parameters: { 'max-bandwidth': 20 * MIB } });
  while (source.vm.ram.isUnwritten(1)) await new Promise((resolve) => setImmediate(resolve));
  await source.vm.migrate({ uri: `file:${dir.file('saved')}` });
  expect(await source.ended()).toBe('completed');
  const { vm, ended } = await load(dir.file('saved'), { guest });
  await using _ = vm;
  expect(ended).toBe('completed');
  expect(Buffer.compare(vm.vm.ram.bytes, source.vm.ram.bytes)).toBe(0);
  expect(vm.vm.checkGuests()).toMatchObject([{ ok: true }]);
});

test('a page that became zero after it was stored loses its bit', async () => {
  await using dir = await tempDir();
  const content = new Uint8Array(RAM_BYTES).fill(7);
  await using source = await machine({ content, capabilities: ['mapped-ram', 'pause-before-switchover'] });
  // The last pass comes after the pause: what is written meanwhile is saved with the guest stopped.
  source.once('PASS:1', () => undefined);
  await source.vm.migrate({ uri: `file:${dir.file('saved')}` });
  await source.event(['M:pre-switchover']);
  source.vm.ram.write(8 * 4096, new Uint8Array(4096));
  await source.vm.migrateContinue('pre-switchover');
  expect(await source.ended()).toBe('completed');
  const bitmap = (await readFile(dir.file('saved'))).subarray(BITMAP, BITMAP + 2);
  expect([...bitmap]).toEqual([0xff, 0xfe]);
  const { vm, ended } = await load(dir.file('saved'));
  await using _ = vm;
  expect(ended).toBe('completed');
  expect(Buffer.compare(vm.vm.ram.bytes, source.vm.ram.bytes)).toBe(0);
});

test.for([
  { source: ['mapped-ram'], destination: [], says: 'set the capability mapped-ram the same on both sides' },
  { source: [], destination: ['mapped-ram'], says: 'set the capability mapped-ram the same on both sides' },
])('source with %o: both sides must agree', async ({ source, destination, says }) => {
  await using dir = await tempDir();
  await save(dir, { capabilities: source });
  const { vm, ended } = await load(dir.file('saved'), { capabilities: destination });
  await using _ = vm;
  expect(ended).toBe('failed');
  expect(vm.vm.queryMigrate()['error-desc']).toContain(says);
});

describe('a file that lies', () => {
  const u32 = (value: number) =>
    Buffer.from([value >>> 24, value >>> 16, value >>> 8, value].map((byte) => byte & 0xff));
  const u64 = (value: bigint) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(value);
    return bytes;
  };

  test.for([
    {
      what: 'a newer version',
      at: HEADER,
      bytes: u32(2),
      says: "mapped-ram version of block 'ram': expected at most 1, got 2",
    },
    {
      what: 'another page size',
      at: HEADER + 4,
      bytes: u64(1n),
      says: "page size of block 'ram': expected 4096, got 1",
    },
    { what: 'no page size', at: HEADER + 4, bytes: u64(0n), says: "page size of block 'ram': expected 4096, got 0" },
    {
      what: 'a bitmap beyond every file',
      at: HEADER + 12,
      bytes: u64(2n ** 63n),
      says: "bitmap offset of block 'ram'",
    },
    { what: 'a bitmap behind its end', at: HEADER + 12, bytes: u64(2n ** 40n), says: "bitmap of block 'ram'" },
    { what: 'pages beyond every file', at: HEADER + 20, bytes: u64(2n ** 63n), says: "pages offset of block 'ram'" },
    { what: 'pages off the grid', at: HEADER + 20, bytes: u64(BigInt(MIB + 1)), says: 'a multiple of 4096' },
    { what: 'pages behind its end', at: HEADER + 20, bytes: u64(2n ** 40n), says: "page 4 of block 'ram'" },
  ])('$what', async ({ at, bytes, says }) => {
    await using dir = await tempDir();
    await writeFile(dir.file('in'), recordedFile);
    const file = await open(dir.file('in'), 'r+');
    await file.write(bytes, 0, bytes.length, at);
    await file.close();
    const { vm, ended } = await load(dir.file('in'));
    await using _ = vm;
    expect(ended).toBe('failed');
    expect(vm.vm.queryMigrate()['error-desc']).toContain(says);
  });

  test('a bit for a page that the block has not', async () => {
    await using dir = await tempDir();
    const ramBytes = 3 * 4096;
    await save(dir, { ramBytes });
    const file = await open(dir.file('saved'), 'r+');
    await file.write(Buffer.from([0x08]), 0, 1, BITMAP);
    await file.close();
    const { vm, ended } = await load(dir.file('saved'), { ramBytes });
    await using _ = vm;
    expect(ended).toBe('failed');
    expect(vm.vm.queryMigrate()['error-desc']).toContain("expected no page beyond the block's 3, got page 3");
  });

  const CUTS = [HEADER + 10, BITMAP + 10, 2 * MIB, 2 * MIB + 100, 5 * MIB + 3];
  test.for(CUTS.flatMap((length) => [false, true].map((parallel) => ({ length, parallel }))))(
    'a file cut at $length, direct and with several handles: $parallel',
    async ({ length, parallel }) => {
      await using dir = await tempDir();
      await writeFile(dir.file('in'), recordedFile.subarray(0, length));
      const { vm, ended } = await load(dir.file('in'), {
        capabilities: ['mapped-ram', ...(parallel ? ['multifd'] : [])],
        parameters: { 'direct-io': parallel },
      });
      await using _ = vm;
      expect(ended).toBe('failed');
      expect(vm.vm.queryMigrate()['error-desc']).toContain('stream truncated');
    },
  );
});

test.for(['tcp:127.0.0.1:1', 'unix:/nowhere', 'exec:cat'])('%s is refused, in both directions', async (uri) => {
  const words = 'Migration requires seekable transport (e.g. file)';
  await using source = await machine();
  await expect(source.vm.migrate({ uri })).rejects.toThrow(words);
  await expect(machine({ incoming: uri })).rejects.toThrow(words);
});
