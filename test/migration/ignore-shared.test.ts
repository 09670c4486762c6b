/** RAM in files, and x-ignore-shared (spec/wire.md §4.2): what both sides have in a shared file is not sent. */

import { existsSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { ObjectRegistry } from '../../src/migration/objects/object-registry.ts';
import { native } from '../../src/threads/native.ts';
import { seeded } from '../support/seeded.ts';
import { tempDir } from '../support/temp.ts';
import { WatchedVm, type WatchedVmOptions } from '../support/watched-vm.ts';

const RAM_BYTES = 1 << 20;
const PAGE = 4096;
/** More than a stream without pages has, less than one page and the rest. */
const NO_PAGES_BYTES = 2000;
const below = seeded(9);
const content = new Uint8Array(RAM_BYTES).map(() => below(256));

/** A shared file is mapped, which takes native calls. */
const mapped = test.skipIf(native === undefined);

const machine = (options: WatchedVmOptions) => WatchedVm.start({ ramBytes: RAM_BYTES, ...options });

/** Saves a machine to a stream, with its bytes before and after. */
async function save(options: WatchedVmOptions, uri: string): Promise<WatchedVm> {
  const source = await machine(options);
  await source.vm.migrate({ uri });
  expect(await source.ended()).toBe('completed');
  return source;
}

mapped('a shared file is RAM: what either has, the other has at once', async () => {
  await using dir = await tempDir();
  const ramFile = { path: dir.file('ram'), share: true };
  await using one = await machine({ ramFile });
  await using two = await machine({ ramFile });
  one.vm.ram.write(5 * PAGE, new TextEncoder().encode('hello'));
  expect(Buffer.from(two.vm.readPhysical(5 * PAGE, 5)).toString()).toBe('hello');
  expect((await readFile(ramFile.path)).subarray(5 * PAGE, 5 * PAGE + 5).toString()).toBe('hello');
  expect((await stat(ramFile.path)).size).toBe(RAM_BYTES);
});

mapped('the file outlives the machine', async () => {
  await using dir = await tempDir();
  const ramFile = { path: dir.file('ram'), share: true };
  const first = await machine({ ramFile, content });
  await first[Symbol.asyncDispose]();
  await using second = await machine({ ramFile });
  expect(Buffer.compare(second.vm.ram.bytes, content)).toBe(0);
});

mapped('a machine may have a part of a shared file', async () => {
  await using dir = await tempDir();
  const path = dir.file('ram');
  await writeFile(path, new Uint8Array(2 * RAM_BYTES));
  await using vm = await machine({ ramFile: { path, share: true, offset: BigInt(RAM_BYTES) } });
  vm.vm.ram.write(5 * PAGE, new TextEncoder().encode('hello'));
  const file = await readFile(path);
  expect(file.indexOf('hello')).toBe(RAM_BYTES + 5 * PAGE);
});

test('a private one begins with what is there in the file', async () => {
  await using dir = await tempDir();
  const path = dir.file('ram');
  await writeFile(path, Buffer.concat([new Uint8Array(PAGE), content]));
  await using vm = await machine({ ramFile: { path, share: false, offset: BigInt(PAGE) } });
  expect(Buffer.compare(vm.vm.ram.bytes, content)).toBe(0);
});

test('a ROM is no RAM', async () => {
  await using dir = await tempDir();
  await writeFile(dir.file('ram'), content);
  const ramFile = { path: dir.file('ram'), share: false, readonly: true };
  await expect(machine({ ramFile })).rejects.toMatchObject({ code: 'ram/file', message: /it is a ROM/ });
});

test('a private file gives its content and keeps it', async () => {
  await using dir = await tempDir();
  await writeFile(dir.file('ram'), content);
  await using vm = await machine({ ramFile: { path: dir.file('ram'), share: false } });
  expect(Buffer.compare(vm.vm.ram.bytes, content)).toBe(0);
  vm.vm.ram.write(0, new Uint8Array(PAGE));
  expect(Buffer.compare(await readFile(dir.file('ram')), content)).toBe(0);
});

mapped.for([[], ['multifd'], ['xbzrle'], ['mapped-ram'], ['mapped-ram', 'multifd']])(
  'with x-ignore-shared and %o nothing of it is sent, and the guest goes on with it',
  async (also) => {
    await using dir = await tempDir();
    const ramFile = { path: dir.file('ram'), share: true };
    const isFile = also.includes('mapped-ram');
    const uri = isFile ? `file:${dir.file('stream')}` : `unix:${dir.file('m')}`;
    const common = { capabilities: ['x-ignore-shared', ...also], guest: 'guest-sweep,id=g0,rate=50MiB' };
    await using source = await machine({ ...common, ramFile, running: true });
    while (source.vm.ram.isUnwritten(1) || source.vm.ram.bytes[PAGE] === 0) await new Promise(setImmediate);
    const destination = isFile ? undefined : await machine({ ...common, ramFile, running: true, incoming: uri });
    await source.vm.migrate({ uri });
    expect(await source.ended()).toBe('completed');
    await using loaded = destination ?? (await machine({ ...common, ramFile, running: true, incoming: uri }));
    expect(await loaded.ended()).toBe('completed');
    expect(loaded.vm.queryStatus().status).toBe('running');
    const { ram } = source.vm.queryMigrate();
    expect(ram).toMatchObject({ total: 0, remaining: 0, normal: 0, duplicate: 0 });
    if (!isFile) expect(ram?.transferred).toBeLessThan(also.includes('multifd') ? 20_000 : NO_PAGES_BYTES);
    await loaded.vm.stop();
    expect(loaded.vm.checkGuests()).toMatchObject([{ ok: true }]);
  },
);

mapped('without the capability a shared file is sent as any RAM', async () => {
  await using dir = await tempDir();
  const uri = `file:${dir.file('stream')}`;
  await using source = await save({ ramFile: { path: dir.file('a'), share: true }, content }, uri);
  expect(source.vm.queryMigrate().ram?.total).toBe(RAM_BYTES);
  const ramFile = { path: dir.file('b'), share: true };
  await using destination = await machine({ ramFile, incoming: uri });
  expect(await destination.ended()).toBe('completed');
  expect(Buffer.compare(await readFile(ramFile.path), content)).toBe(0);
});

test('RAM that is no shared file is sent with the capability on', async () => {
  await using dir = await tempDir();
  const uri = `file:${dir.file('stream')}`;
  const capabilities = ['x-ignore-shared'];
  await using _ = await save({ capabilities, content }, uri);
  await using destination = await machine({ capabilities, incoming: uri });
  expect(await destination.ended()).toBe('completed');
  expect(Buffer.compare(destination.vm.ram.bytes, content)).toBe(0);
});

mapped('a page of a block that is not to be sent is an error', async () => {
  await using dir = await tempDir();
  const uri = `file:${dir.file('stream')}`;
  const capabilities = ['x-ignore-shared'];
  await using _ = await save({ capabilities, ramFile: { path: dir.file('a'), share: false }, content }, uri);
  await using destination = await machine({
    capabilities,
    ramFile: { path: dir.file('b'), share: true },
    incoming: uri,
  });
  expect(await destination.ended()).toBe('failed');
  const reason = destination.vm.queryMigrate()['error-desc'];
  expect(reason).toContain("expected no page of a block in a shared file (x-ignore-shared), got a page of 'm'");
  expect((await readFile(dir.file('b'))).every((byte) => byte === 0)).toBe(true);
});

mapped('so is one in a mapped-ram file', async () => {
  await using dir = await tempDir();
  const uri = `file:${dir.file('stream')}`;
  const capabilities = ['x-ignore-shared', 'mapped-ram'];
  await using _ = await save({ capabilities, ramFile: { path: dir.file('a'), share: false }, content }, uri);
  const ramFile = { path: dir.file('b'), share: true };
  await using destination = await machine({ capabilities, ramFile, incoming: uri });
  expect(await destination.ended()).toBe('failed');
  expect(destination.vm.queryMigrate()['error-desc']).toContain('no page of a block in a shared file');
  expect((await readFile(ramFile.path)).every((byte) => byte === 0)).toBe(true);
});

mapped('the address of a block in a shared file must be the same on both sides', async () => {
  await using dir = await tempDir();
  const path = dir.file('stream');
  const options: WatchedVmOptions = {
    capabilities: ['x-ignore-shared'],
    ramFile: { path: dir.file('ram'), share: true },
  };
  await using _ = await save(options, `file:${path}`);
  const stream = await readFile(path);
  const entry = Buffer.from('\x01m');
  stream.writeBigUInt64BE(4096n, stream.indexOf(entry) + entry.length + 8);
  await writeFile(path, stream);
  await using destination = await machine({ ...options, incoming: `file:${path}` });
  expect(await destination.ended()).toBe('failed');
  expect(destination.vm.queryMigrate()['error-desc']).toContain("address of block 'm': expected 0, got 4096");
});

test.for([
  { source: ['x-ignore-shared'], destination: [] },
  { source: [], destination: ['x-ignore-shared'] },
])('source with %o: both sides must agree', async ({ source, destination }) => {
  await using dir = await tempDir();
  const uri = `file:${dir.file('stream')}`;
  await using _ = await save({ capabilities: source }, uri);
  await using loaded = await machine({ capabilities: destination, incoming: uri });
  expect(await loaded.ended()).toBe('failed');
  expect(loaded.vm.queryMigrate()['error-desc']).toContain('set the capability x-ignore-shared the same on both sides');
});

test('file backends are refused as QEMU refuses them', async () => {
  await using dir = await tempDir();
  await writeFile(dir.file('small'), new Uint8Array(PAGE));
  const add = (size: bigint, path: string) => () =>
    new ObjectRegistry().add({ 'qom-type': 'memory-backend-file', id: 'n', size, 'mem-path': path });
  expect(add(8192n, dir.file('small'))).toThrow(
    "n backing store size 0x1000 is too small for 'size' option 0x2000 plus 'offset' option 0x0",
  );
  expect(add(4097n, dir.file('odd'))).toThrow("backend 'memory-backend-file' memory size must be multiple of 4 KiB");
  expect(existsSync(dir.file('odd'))).toBe(false);
  expect(add(4096n, '/nonexistent/ram')).toThrow(
    "can't open backing store /nonexistent/ram for guest RAM: No such file or directory",
  );
  expect(add(4096n, '/dev/null')).toThrow('unable to map backing store for guest RAM: No such device');
  expect(add(4096n, dir.path)).not.toThrow();
});

test.runIf(native === undefined)('without native calls a shared file is refused with the reason', async () => {
  await using dir = await tempDir();
  const refused = machine({ ramFile: { path: dir.file('ram'), share: true } });
  await expect(refused).rejects.toThrow('a shared one is mapped, which takes native calls');
});
