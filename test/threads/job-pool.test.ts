import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hashFile } from '../../src/threads/hash-file.ts';
import { runJobs } from '../../src/threads/job-pool.ts';

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
