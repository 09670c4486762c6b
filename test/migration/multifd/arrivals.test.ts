/** Connections are told apart by their first bytes, whatever comes in whatever order; what is wrong is said at once. */

import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../../src/base/clock.ts';
import { isHarnessError } from '../../../src/base/errors.ts';
import { type ArrivalOptions, awaitArrivals } from '../../../src/migration/multifd/arrivals.ts';
import type { Channel } from '../../../src/migration/transport/channel.ts';
import { LIMITS } from '../../../src/wire/limits.ts';
import { MULTIFD_HELLO, MULTIFD_MAGIC, MULTIFD_VERSION } from '../../../src/wire/multifd.ts';
import { memoryChannel } from '../../support/multifd-loading.ts';
import { settled } from '../../support/settled.ts';

const MAIN = Buffer.from('5145564d 00000003 00'.replaceAll(' ', ''), 'hex');
const UUID = new Uint8Array(16).fill(7);

function hello(id: number, rest: { magic?: number; version?: number; uuid?: Uint8Array } = {}): Uint8Array {
  return MULTIFD_HELLO.encode({ magic: MULTIFD_MAGIC, version: MULTIFD_VERSION, uuid: UUID, id, ...rest });
}

/** A connection that says nothing and stays open. */
function silent(): Channel {
  return { ...memoryChannel(new Uint8Array(0)), source: { readv: undefined, read: () => new Promise(() => {}) } };
}

/** Main and both channels, each with its greeting. */
const ALL = [MAIN, hello(0), hello(1)];

/** A connection that says these bytes once it is told to. */
function speaking(bytes: Uint8Array) {
  const told = Promise.withResolvers<void>();
  const channel = memoryChannel(bytes);
  const read = (into: Uint8Array) => told.promise.then(() => channel.source.read(into));
  return { channel: { ...channel, source: { readv: undefined, read } }, speak: told.resolve };
}

interface Watched {
  readonly channel: Channel;
  destroyed: boolean;
}

function watch(channel: Channel): Watched {
  const watched: Watched = {
    destroyed: false,
    channel: { ...channel, destroy: () => (watched.destroyed = true) },
  };
  return watched;
}

function arrive(connections: readonly Channel[], options: Partial<ArrivalOptions> = {}) {
  const watched = connections.map(watch);
  const waiting = watched.map(({ channel }) => channel);
  const accept = () => {
    const next = waiting.shift();
    return next === undefined ? new Promise<Channel>(() => {}) : Promise.resolve(next);
  };
  const clock = new ManualClock();
  const listener = { socketAddress: undefined, accept, close: async () => {} };
  const result = awaitArrivals({ listener, uri: 'unix:/m', count: 2, uuid: UUID, clock, arrivalMs: 1000, ...options });
  return { result, watched, clock };
}

async function refusal(connections: readonly Uint8Array[]): Promise<string> {
  const { result, watched } = arrive(connections.map((bytes) => memoryChannel(bytes)));
  const error = await result.then(
    () => new Error('they were accepted'),
    (reason) => reason,
  );
  expect(isHarnessError(error)).toBe(true);
  expect(watched.every(({ destroyed }) => destroyed)).toBe(true);
  return error.message;
}

test.for([
  [0, 1, 2],
  [2, 0, 1],
  [1, 2, 0],
] as const)('in the order %s', async (order) => {
  const all = [Buffer.concat([MAIN, Buffer.from('more')]), hello(0), Buffer.concat([hello(1), Buffer.from('packet')])];
  const { result, watched } = arrive(order.map((index) => memoryChannel(all[index]!)));
  const { main, channels } = await result;
  expect(Buffer.from(main.rest).toString('latin1')).toBe(all[0]!.toString('latin1'));
  expect(channels.map(({ rest }) => Buffer.from(rest).toString())).toEqual(['', 'packet']);
  expect(watched.some(({ destroyed }) => destroyed)).toBe(false);
});

test('byte by byte', async () => {
  const { result } = arrive([hello(1), MAIN, hello(0)].map((bytes) => memoryChannel(bytes, () => 1)));
  const { main, channels } = await result;
  expect(main.rest.length).toBe(4);
  expect(channels.length).toBe(2);
});

test('a connection that says nothing holds nobody up, and goes a moment after the others are there', async () => {
  const { result, watched, clock } = arrive([silent(), ...ALL.map((bytes) => memoryChannel(bytes))]);
  await result;
  clock.advance(LIMITS.MULTIFD_LATE_MS - 1);
  expect(watched.map(({ destroyed }) => destroyed)).toEqual([false, false, false, false]);
  clock.advance(1);
  await settled(result);
  expect(watched.map(({ destroyed }) => destroyed)).toEqual([true, false, false, false]);
});

describe('a connection that speaks when the others are there', () => {
  /** The others, this one behind them, and what the roll call says of it. */
  async function late(bytes: Uint8Array, speaksAfterMs: number) {
    const { channel, speak } = speaking(bytes);
    const { result, watched, clock } = arrive([...ALL.map((said) => memoryChannel(said)), channel]);
    const arrivals = await result;
    clock.advance(speaksAfterMs);
    speak();
    return { arrivals, clock, others: watched.slice(0, 3), last: watched[3]! };
  }

  test.for([
    ['an id that is too high', hello(2), 'expected 0 to 1, got 2'],
    ['an id twice', hello(1), 'expected one that is not there yet, got 1 again'],
  ] as const)('%s is one channel too many', async ([, bytes, message]) => {
    const { arrivals, others, last } = await late(bytes, LIMITS.MULTIFD_LATE_MS - 1);
    await expect(arrivals.surplus).rejects.toThrow(`greeting of connection 4, reading channel id: ${message}`);
    expect(last.destroyed).toBe(true);
    expect(others.some(({ destroyed }) => destroyed)).toBe(false);
  });

  test.for([
    ['with another magic', Buffer.alloc(64, 0x47)],
    ['as another machine', hello(2, { uuid: new Uint8Array(16) })],
    ['as a main channel', MAIN],
  ] as const)('%s is somebody else, and goes', async ([, bytes]) => {
    const { arrivals, others, last } = await late(bytes, 0);
    expect(await settled(arrivals.surplus)).toBe('pending');
    expect([...others, last].map(({ destroyed }) => destroyed)).toEqual([false, false, false, true]);
  });

  test('is not heard when a moment has passed', async () => {
    const { arrivals, last } = await late(hello(2), LIMITS.MULTIFD_LATE_MS);
    expect(await settled(arrivals.surplus)).toBe('pending');
    expect(last.destroyed).toBe(true);
  });

  test('and ends in its greeting goes with the moment', async () => {
    const { arrivals, clock, last } = await late(hello(2).subarray(0, 30), 0);
    expect(await settled(arrivals.surplus)).toBe('pending');
    clock.advance(LIMITS.MULTIFD_LATE_MS);
    expect(await settled(arrivals.surplus)).toBe('pending');
    expect(last.destroyed).toBe(true);
  });

  test('goes unheard once the migration is over', async () => {
    const { channel, speak } = speaking(hello(2));
    const { result, watched } = arrive([...ALL.map((said) => memoryChannel(said)), channel]);
    const arrivals = await result;
    arrivals.close();
    expect(watched.map(({ destroyed }) => destroyed)).toEqual([false, false, false, true]);
    speak();
    expect(await settled(arrivals.surplus)).toBe('pending');
  });
});

/** A main channel that says these bytes and is open until `end`. */
function endable(bytes: Uint8Array) {
  const over = Promise.withResolvers<number>();
  const { read } = memoryChannel(bytes).source;
  let isSaid = false;
  const source = {
    readv: undefined,
    read: (into: Uint8Array) => {
      if (isSaid) return over.promise;
      isSaid = true;
      return read(into);
    },
  };
  return { channel: { ...memoryChannel(bytes), source }, end: () => over.resolve(0), fail: over.reject };
}

describe('a main channel that ends before the others came', () => {
  const missing = 'multifd channel 0, 2 of 3 did not come (3 connections came, 1 said nothing)';

  test('leaves them a moment, then they are named', async () => {
    const main = endable(MAIN);
    const { result, watched, clock } = arrive([main.channel, memoryChannel(hello(1)), silent()], {
      count: 3,
      arrivalMs: 30_000,
    });
    expect(await settled(result)).toBe('pending');
    main.end();
    expect(await settled(result)).toBe('pending');
    clock.advance(LIMITS.MULTIFD_LATE_MS);
    await expect(result).rejects.toThrow(
      `connection 'memory: (main channel)' closed after 9 bytes: its sender closed it, and ${missing}`,
    );
    expect(watched.every(({ destroyed }) => destroyed)).toBe(true);
  });

  test('by an error names them at once', async () => {
    const main = endable(MAIN);
    const { result } = arrive([main.channel, memoryChannel(hello(1)), silent()], { count: 3, arrivalMs: 30_000 });
    expect(await settled(result)).toBe('pending');
    main.fail(new Error('read ECONNRESET'));
    await expect(result).rejects.toThrow(`9 bytes: read ECONNRESET, and ${missing}`);
  });

  test('is whole when they come in that moment', async () => {
    const main = endable(Buffer.concat([MAIN, Buffer.alloc(1000, 7)]));
    const [late, arrived] = [endable(hello(0)), Promise.withResolvers<void>()];
    const { read } = late.channel.source;
    const source = { readv: undefined, read: async (into: Uint8Array) => arrived.promise.then(() => read(into)) };
    const { result } = arrive([{ ...late.channel, source }, main.channel], { count: 1 });
    main.end();
    expect(await settled(result)).toBe('pending');
    arrived.resolve();
    const { main: found } = await result;
    expect(found.rest.length).toBe(1009);
    expect(await found.source.read(new Uint8Array(100))).toBe(0);
  });
});

test('who is missing when the time is up is named, and the others are let go', async () => {
  const { result, watched, clock } = arrive([memoryChannel(hello(0)), silent()]);
  const ended = result.catch((error) => error);
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  clock.advance(1000);
  const error = await ended;
  expect(error.code).toBe('transport/timeout');
  expect(error.message).toBe(
    "'unix:/m': waited 1000 ms for the main channel and multifd channel 1 of 2 (2 connections came, 1 said nothing)",
  );
  expect(watched.every(({ destroyed }) => destroyed)).toBe(true);
});

describe('refused at once', () => {
  test.for([
    [
      'a wrong magic',
      [MAIN, Buffer.alloc(64, 0x47)],
      /greeting of connection 2, reading magic: expected 0x5145564d .*0x11223344 .*got 0x47474747/,
    ],
    ['a wrong version', [hello(0, { version: 2 })], /reading version: expected 1, got 2/],
    ['another UUID', [hello(1, { uuid: new Uint8Array(16) })], /reading uuid of multifd channel 1: expected 0707/],
    ['an id that is too high', [hello(2)], /reading channel id: expected 0 to 1, got 2/],
    ['an id twice', [hello(1), MAIN, hello(1)], /greeting of connection 3, reading channel id: .*1 again/],
    ['two main channels', [MAIN, hello(0), MAIN], /connection 3, reading magic: expected one main channel/],
  ] as const)('%s', async ([, connections, message]) => {
    expect(await refusal(connections)).toMatch(message);
  });

  test.for([
    [0, 'magic'],
    [3, 'magic'],
    [5, 'version'],
    [8, 'uuid'],
    [23, 'uuid'],
    [24, 'id'],
    [25, 'reserved'],
    [63, 'reserved'],
  ] as const)('a greeting that ends after %i bytes, in %s', async ([length, field]) => {
    expect(await refusal([MAIN, hello(0).subarray(0, length)])).toContain(
      `at byte ${length} (0x${length.toString(16)}), greeting of connection 2, reading ${field}`,
    );
  });
});
