/** How long a source waits for an ack: by the optional limit, and for each ack anew (README, x-switchover-ack-timeout). */

import { expect, test } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { IdleWait } from '../../src/migration/idle-wait.ts';
import { type AckMode, SourceAck } from '../../src/migration/vfio/switchover-ack.ts';

/** A source whose devices `a` and `b` have sent their initial data. */
function waiting({ mode = 'legacy' as AckMode, ackLimitMs = 100 } = {}) {
  const clock = new ManualClock();
  const ack = new SourceAck({ mode, isOn: true });
  for (const device of ['a', 'b']) {
    ack.request(device);
    ack.sent(device);
  }
  const idle = new IdleWait({ ack, clock, signal: new AbortController().signal, ackLimitMs });
  return { clock, ack, idle };
}

test('is over after the limit, counted from when the ack alone is missing, and names who withholds it', () => {
  const { clock, idle } = waiting();
  clock.advance(1000);
  idle.ackIsMissing();
  clock.advance(100);
  idle.ackIsMissing();
  clock.advance(1);
  expect(() => idle.ackIsMissing()).toThrow(/none after 101 ms, withheld by a, b$/);
});

test('an ack that comes when the limit has passed does not make up for it', () => {
  const { clock, ack, idle } = waiting();
  idle.ackIsMissing();
  clock.advance(101);
  expect(() => idle.ackIsMissing()).toThrow(/none after/);
  expect(ack.acked()).toEqual(['a', 'b']);
  expect(ack.isGranted).toBe(true);
});

test('without a limit there is no end', () => {
  const { clock, idle } = waiting({ ackLimitMs: 0 });
  idle.ackIsMissing();
  clock.advance(1e9);
  expect(() => idle.ackIsMissing()).not.toThrow();
});

test('each ack that comes begins the wait for the next one', () => {
  const { clock, ack, idle } = waiting({ mode: 'reusable' });
  idle.ackIsMissing();
  clock.advance(90);
  ack.acked();
  idle.ackIsMissing();
  clock.advance(90);
  expect(() => idle.ackIsMissing()).not.toThrow();
  clock.advance(11);
  expect(() => idle.ackIsMissing()).toThrow(/none after 101 ms, withheld by b$/);
});

test('the ack that REINIT asks for has the whole limit, however long ago the first one was waited for', () => {
  const { clock, ack, idle } = waiting({ mode: 'reusable' });
  idle.ackIsMissing();
  for (let device = 0; device < 2; device += 1) ack.acked();
  clock.advance(5000);
  ack.request('a');
  ack.sent('a');
  idle.ackIsMissing();
  clock.advance(100);
  expect(() => idle.ackIsMissing()).not.toThrow();
  clock.advance(1);
  expect(() => idle.ackIsMissing()).toThrow(/none after 101 ms, withheld by a$/);
});

test('a pause ends with an ack', async () => {
  const { ack, idle } = waiting();
  const pause = idle.moment();
  ack.acked();
  await pause;
});
