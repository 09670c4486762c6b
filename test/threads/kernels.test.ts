import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { loadKernel } from '../../src/threads/kernel.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const committed = join(root, 'src/threads');

test('building the kernels again gives the committed bytes and signatures', { timeout: 60_000 }, async () => {
  const rebuilt = await mkdtemp(join(tmpdir(), 'switchover-kernels-test-'));
  try {
    await promisify(execFile)(process.execPath, [join(root, 'scripts/build-kernels.ts'), rebuilt]);
    const built = (await readdir(join(rebuilt, 'kernels'))).sort();
    expect(built).toContain('pages64.wasm');
    expect((await readdir(join(committed, 'kernels'))).filter((file) => file.endsWith('.wasm')).sort()).toEqual(built);
    for (const file of ['kernel-exports.ts', ...built.map((wasm) => join('kernels', wasm))]) {
      const [before, after] = await Promise.all([readFile(join(committed, file)), readFile(join(rebuilt, file))]);
      expect(after.equals(before), `${file} differs: run "npm run build:kernels" and commit the result`).toBe(true);
    }
  } finally {
    await rm(rebuilt, { recursive: true });
  }
});

test.each(['i32', 'i64'] as const)('a page kernel writes where it is told in an %s memory', (address) => {
  const pages = (count: number) => (address === 'i64' ? BigInt(count) : count);
  const memory = new WebAssembly.Memory({ initial: pages(2), maximum: pages(2), shared: true, address });
  const bytes = new Uint8Array(memory.buffer);
  const kernel = loadKernel('guest', memory, address);

  kernel.sweep(4096, 3);
  kernel.stamp(65_536, 2 ** 40 + 7, 32);

  const written = [...bytes.entries()].filter(([, byte]) => byte !== 0).map(([at]) => at);
  expect(written.slice(0, 3)).toEqual([4096, 8192, 12_288]);
  expect(written.slice(3).every((at) => at >= 65_536 && at < 65_568)).toBe(true);
  expect(Buffer.from(bytes.slice(65_536, 65_568)).toString('hex')).toBe('0700000000010000f8fffffffffeffff'.repeat(2));
});

test('a page kernel reaches beyond 4 GiB', () => {
  const memory = new WebAssembly.Memory({ initial: 65_537n, maximum: 65_537n, shared: true, address: 'i64' });
  const kernel = loadKernel('guest', memory, 'i64');

  kernel.stamp(2 ** 32 + 4096, 1, 16);

  expect(new DataView(memory.buffer, 2 ** 32 + 4096, 16).getBigUint64(0, true)).toBe(1n);
  expect(kernel.peek(4096)).toBe(0);
});

test.each(['i32', 'i64'] as const)(
  'the zero pages are those without a byte of data, wherever it is, in an %s memory',
  (address) => {
    const [group, page] = [32, 4096];
    const size = (group * page) / 65_536;
    const pages = address === 'i64' ? BigInt(size) : size;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true, address });
    const bytes = new Uint8Array(memory.buffer);
    const { zeroMask } = loadKernel('pages', memory, address);
    const place = fc.constantFrom(undefined, 0, 7, 8, 63, 64, 2048, page - 1);
    const wanted = fc.oneof(fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 1), fc.nat({ max: 2 ** 32 - 1 }));

    fc.assert(
      fc.property(fc.array(place, { minLength: group, maxLength: group }), wanted, (places, mask) => {
        bytes.fill(0);
        let expected = 0;
        for (const [index, at] of places.entries()) {
          if (at !== undefined) bytes[index * page + at] = 1;
          else expected |= mask & (1 << index);
        }
        expect(zeroMask(0, mask) >>> 0).toBe(expected >>> 0);
      }),
    );
  },
);
