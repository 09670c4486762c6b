import { expect, test } from 'vitest';
import { ManagedWorker } from '../../src/threads/managed-worker.ts';

const url = new URL('./fixtures/loading-worker.ts', import.meta.url);

test.each([
  'hw/device-loop.ts',
  'hw/guest/vcpu-loop.ts',
  'hw/ram-scout-loop.ts',
  'hw/ram-window.ts',
  'migration/multifd/send-channel.ts',
  'migration/multifd/receive-channel.ts',
])('a thread with %s does not load streams of files, which it does not need', async (path) => {
  const loaded = Promise.withResolvers<unknown>();
  const module = new URL(`../../src/${path}`, import.meta.url).href;
  await using _worker = await ManagedWorker.start({ name: path, url, data: { module }, onEvent: loaded.resolve });
  expect(await loaded.promise).toContain('NativeModule internal/worker/io');
  expect(await loaded.promise).not.toContain('NativeModule internal/fs/streams');
});
