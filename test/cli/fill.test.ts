import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Fill, writeFill } from '../../src/cli/fill.ts';

const MiB = 1024 * 1024;

async function filled(kind: Exclude<Fill, 'none'>, bytes: number, seed = 1): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'switchover-fill-'));
  try {
    await writeFill(join(directory, 'fill'), { kind, bytes, seed });
    return await readFile(join(directory, 'fill'));
  } finally {
    await rm(directory, { recursive: true });
  }
}

test('a random fill follows from its seed', async () => {
  const fill = await filled('random', 3 * 4096);
  expect(fill.length).toBe(3 * 4096);
  expect(fill.equals(await filled('random', 3 * 4096))).toBe(true);
  expect(fill.equals(await filled('random', 3 * 4096, 2))).toBe(false);
});

test('a random fill does not repeat from chunk to chunk', async () => {
  const fill = await filled('random', 2 * MiB);
  expect(fill.subarray(0, MiB).equals(fill.subarray(MiB))).toBe(false);
});

test('a zero fill is all zeros, to the byte', async () => {
  const fill = await filled('zero', MiB + 4096);
  expect(fill.equals(Buffer.alloc(MiB + 4096))).toBe(true);
});

test('a mixed fill has random, repetitive and zero parts', async () => {
  const fill = await filled('mixed', 4 * MiB);
  expect(fill.toString('latin1', MiB, MiB + 20)).toBe('The guest wrote this');
  expect(fill.subarray(3 * MiB).equals(Buffer.alloc(MiB))).toBe(true);
  expect(fill.subarray(0, MiB).equals(fill.subarray(2 * MiB, 3 * MiB))).toBe(false);
});
