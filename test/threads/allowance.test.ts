import { expect, test } from 'vitest';
import { Allowance } from '../../src/threads/allowance.ts';
import { giveBack, SharedBuffers } from '../../src/threads/shared-buffers.ts';

test('a thread takes what was granted, and waits for more', async () => {
  const owner = new Allowance(1);
  const thread = new Allowance(owner.share);
  expect(thread.take()).toBe(true);
  let taken = false;
  const taking = thread.takeLater().then((answer) => {
    taken = true;
    return answer;
  });
  await Promise.resolve();
  expect(taken).toBe(false);
  owner.grant();
  expect(await taking).toBe(true);
});

test('the end lets everybody go, whatever was granted', async () => {
  const owner = new Allowance(0);
  const thread = new Allowance(owner.share);
  const taking = thread.takeLater();
  owner.end();
  expect(await taking).toBe(false);
  owner.grant();
  expect(thread.take()).toBe(false);
});

test('a buffer is filled again once it was given back, and not before', () => {
  const buffers = new SharedBuffers(1 << 20);
  const first = buffers.take(100_000);
  const second = buffers.take(1 << 20);
  expect(second.memory).not.toBe(first.memory);
  giveBack(structuredClone(first.bytes)); // as another thread sees it
  expect(buffers.take(200_000).memory).toBe(first.memory);
  expect(first.bytes).toHaveLength(100_000);
});
