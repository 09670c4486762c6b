import { expect, test } from 'vitest';
import { GateControl, GateLoop } from '../../src/threads/gate.ts';

function gatePair() {
  const control = new GateControl('test loop');
  return { control, loop: new GateLoop(control.share) };
}

test('a new gate asks for stop, so its thread starts outside of its loop', () => {
  const { control, loop } = gatePair();
  expect(control.command).toBe('stop');
  expect(loop.poll()).toBe('stop');
});

test('stop resolves only after the loop has polled', async () => {
  const { control, loop } = gatePair();
  control.start();
  expect(loop.poll()).toBe('run');
  let stopped = false;
  const stop = control.stop(10_000).then(() => {
    stopped = true;
  });
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  expect(stopped).toBe(false);
  expect(loop.poll()).toBe('stop');
  await stop;
  expect(stopped).toBe(true);
});

test('a stop that was answered does not pass for the next one', async () => {
  const { control, loop } = gatePair();
  loop.poll();
  await control.stop(10_000);
  control.start();
  const second = control.stop(10_000);
  let resolved = false;
  void second.then(() => {
    resolved = true;
  });
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  expect(resolved).toBe(false); // The loop may still be reading the start it was just given.
  loop.poll();
  await second;
});

test('stopping a stopped loop resolves at once', async () => {
  const { control, loop } = gatePair();
  loop.poll();
  await control.stop(0);
  await control.stop(0);
});

test('a loop that never answers is a timeout with the names of the thread and the request', async () => {
  const { control } = gatePair();
  control.start();
  await expect(control.stop(1)).rejects.toMatchObject({
    code: 'thread/timeout',
    details: { thread: 'test loop', request: 'stop' },
  });
});

test('a thread that is gone fails a stop that waits, and every later one', async () => {
  const { control } = gatePair();
  control.start();
  const waiting = control.stop(10_000);
  control.abandon();
  await expect(waiting).rejects.toMatchObject({ code: 'thread/failed' });
  await expect(control.stop(10_000)).rejects.toMatchObject({ code: 'thread/failed' });
});

test('a start that overtakes a stop fails that stop', async () => {
  const { control, loop } = gatePair();
  control.start();
  loop.poll();
  const stop = control.stop(10_000);
  control.start();
  expect(loop.poll()).toBe('run');
  await expect(stop).rejects.toMatchObject({ code: 'thread/failed' });
});

test('close is for good', () => {
  const { control, loop } = gatePair();
  control.close();
  control.start();
  expect(loop.poll()).toBe('close');
});

test('block does not wait for a request that is already there', () => {
  const { control, loop } = gatePair();
  loop.poll();
  control.start();
  loop.block(60_000);
  expect(loop.poll()).toBe('run');
});

test('the count adds up and the throttle is whole percent below 100', () => {
  const { control, loop } = gatePair();
  loop.addCount(2 ** 31);
  loop.addCount(2 ** 31);
  expect(control.count).toBe(2 ** 32);
  control.throttle(99);
  expect(loop.throttlePercent).toBe(99);
  for (const percent of [-1, 100, 1.5]) {
    expect(() => control.throttle(percent)).toThrow(expect.objectContaining({ code: 'option/bad-value' }));
  }
});
