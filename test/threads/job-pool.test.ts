import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RamBlock } from '../../src/hw/ram.ts';
import { hashFile } from '../../src/threads/hash-file.ts';
import { JobPool, runJobs } from '../../src/threads/job-pool.ts';
import { PAGE_SIZE } from '../../src/wire/ram.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'switchover-jobs-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** Larger than the chunk a file is read in, and not a multiple of it. */
const CONTENTS = [Buffer.from('a'), Buffer.alloc(9 * 1024 * 1024 + 1, 7), Buffer.alloc(0)];

async function files(): Promise<string[]> {
  const paths = CONTENTS.map((_content, index) => join(directory, `file${index}`));
  await Promise.all(paths.map((path, index) => writeFile(path, CONTENTS[index] ?? '')));
  return paths;
}

const digests = CONTENTS.map((content) => createHash('sha256').update(content).digest('hex'));

test('a file of any length is hashed whole', async () => {
  expect((await files()).map(hashFile)).toEqual(digests);
});

test('a pool of workers hashes files and answers in the order of the inputs', async () => {
  expect(await runJobs('hash', await files())).toEqual(digests);
});

test('a job that fails in its worker fails the call', async () => {
  await expect(runJobs('hash', [join(directory, 'missing')])).rejects.toThrow('ENOENT');
});

test('a pool may be disposed of while some of its threads start', async () => {
  // Node aborts the process when a thread is ended within a `require` of an ES module, which is how piscina loads the job.
  const [path] = await files();
  for (let round = 0; round < 20; round++) {
    await using pool = new JobPool('hash', { threads: 4 });
    expect(await pool.run(path!)).toBe(digests[0]);
  }
});

test('a pool may be disposed of while its threads make zlib streams', async () => {
  // Node aborts the process when a thread is ended between making a zlib stream and setting it up.
  const block = RamBlock.create({ name: 'ram', length: 32 * PAGE_SIZE });
  const job = {
    block: 0,
    pages: Uint32Array.from({ length: 32 }, (_page, index) => index),
    level: 1,
    detectZero: false,
  };
  for (let round = 0; round < 20; round++) {
    const pool = new JobPool('compress', { threads: 2, data: [block.share] });
    const jobs = Array.from({ length: 8 }, () => pool.run(job));
    await jobs[0];
    await pool[Symbol.asyncDispose]();
    expect((await Promise.all(jobs)).map(({ lengths }) => lengths.length)).toEqual(Array(8).fill(32));
  }
});
