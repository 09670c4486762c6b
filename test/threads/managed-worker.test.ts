import { expect, test } from 'vitest';
import { ManagedWorker, type WorkerOptions } from '../../src/threads/managed-worker.ts';

const url = new URL('./fixtures/echo-worker.ts', import.meta.url);

function start(mode: string, more: Partial<WorkerOptions> = {}) {
  return ManagedWorker.start({ name: 'echo', url, data: { mode }, ...more });
}

test('a request is answered, and stop ends the thread', async () => {
  await using worker = await start('serve');
  expect(worker.state).toBe('running');
  expect(await worker.request('echo', { answer: 42n }, { deadlineMs: 10_000 })).toEqual({ answer: 42n });
  await worker.stop();
  expect(worker.state).toBe('stopped');
  expect(worker.error).toBeUndefined();
});

test('an error of a handler keeps its code and details, and the worker goes on', async () => {
  await using worker = await start('serve');
  await expect(worker.request('sing', null, { deadlineMs: 10_000 })).rejects.toMatchObject({
    code: 'option/bad-value',
    details: { option: 'sing', expected: 'echo' },
  });
  expect(await worker.request('echo', 1, { deadlineMs: 10_000 })).toBe(1);
});

test('a worker that throws before it is ready fails its start with that error', async () => {
  await expect(start('throw')).rejects.toMatchObject({ code: 'option/bad-value', details: { option: 'mode' } });
});

test('a worker that is never ready is a timeout', async () => {
  await expect(start('silent', { startMs: 1 })).rejects.toMatchObject({
    code: 'thread/timeout',
    details: { thread: 'echo', request: 'start', waitedMs: 1 },
  });
});

test('a worker that ends by itself has failed, and its owner is told', async () => {
  const ended = Promise.withResolvers<Error | undefined>();
  const events: unknown[] = [];
  await using worker = await start('return', { onEnd: ended.resolve, onEvent: (value) => events.push(value) });
  expect(await ended.promise).toMatchObject({ code: 'thread/failed' });
  expect(events).toEqual(['hello']);
  expect(worker.state).toBe('failed');
  await expect(worker.request('echo', 1, { deadlineMs: 10_000 })).rejects.toMatchObject({ code: 'thread/failed' });
  await expect(worker.stop()).rejects.toMatchObject({ code: 'thread/failed' });
});

test('a hanging worker is a timeout for a request, then for stop, which terminates it', async () => {
  await using worker = await start('serve', { stopMs: 1 });
  await expect(worker.request('hang', null, { deadlineMs: 1 })).rejects.toMatchObject({ details: { request: 'hang' } });
  await expect(worker.stop()).rejects.toMatchObject({ code: 'thread/timeout', details: { request: 'close' } });
  expect(worker.state).toBe('stopped');
});

test('disposing fails the requests that are under way', async () => {
  const worker = await start('serve');
  const request = worker.request('hang', null, { deadlineMs: 60_000 });
  const failure = expect(request).rejects.toMatchObject({ code: 'thread/failed' });
  await worker[Symbol.asyncDispose]();
  await failure;
});

test('a request that waits when the thread dies says that the thread failed, and of what', async () => {
  await using worker = await start('serve');
  await expect(worker.request('lose a promise', undefined, { deadlineMs: 10_000 })).rejects.toMatchObject({
    code: 'thread/failed',
    details: { thread: 'echo', why: 'lost' },
  });
});
