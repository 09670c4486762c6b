/** What two Switchovers tell each other beyond QEMU's return path, and that nobody else is believed. */

import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { PeerKnowledge, PeerReporter } from '../../src/migration/peer-extension.ts';
import { ReturnPathWriter, readReturnPath } from '../../src/migration/return-path.ts';
import { BACKLOG_PING, PROBE_PING, PROBE_PONG } from '../../src/wire/extension.ts';
import { LIMITS } from '../../src/wire/limits.ts';
import { settled } from '../support/settled.ts';
import { MemorySink, memorySource } from '../support/stream-loading.ts';

const READY = {
  idstr: '0000:00:02.0/vfio',
  instanceId: 0,
  ready: true,
  preparationMs: 12.5,
  loadBytesPerSecond: 2e9,
  aheadBytes: 7,
};

const ACK = { isOn: true, mode: 'legacy' } as const;

/** Has a destination say something and a source of another clock hear it. */
async function overheard(say: (reporter: PeerReporter) => Promise<void>, heardAtMs = 0) {
  const sink = new MemorySink();
  const theirs = new ManualClock();
  theirs.advance(1_000_000);
  await say(new PeerReporter(new ReturnPathWriter(sink), theirs));
  const ours = new ManualClock();
  ours.advance(heardAtMs);
  const heardAck: unknown[] = [];
  const peer = new PeerKnowledge(ours, (ack) => heardAck.push(ack));
  const reading = readReturnPath({
    source: memorySource(sink.bytes()),
    uri: 'memory:',
    blocks: [],
    listener: {
      pong: (value) => peer.pong(value, 0),
      switchoverAck: () => undefined,
      extension: (name, data, at) => peer.heard(name, data, at),
    },
  });
  return { peer, heardAck, error: await reading.catch((reason: unknown) => reason) };
}

test('a Switchover is one that answers the probe with a value of its own', async () => {
  const { peer } = await overheard((reporter) => reporter.hello(ACK));
  expect(peer.isSwitchover).toBe(true);
  expect(PROBE_PONG).not.toBe(PROBE_PING);
});

test('a destination tells how it handles acks', async () => {
  const { heardAck } = await overheard((reporter) => reporter.hello(ACK));
  expect(heardAck).toEqual([ACK]);
});

test('an echo of the probe, as a real QEMU sends it, proves nothing', () => {
  const peer = new PeerKnowledge(new ManualClock());
  peer.pong(PROBE_PING, 0);
  expect(peer.isSwitchover).toBe(false);
});

test("a device's readiness arrives whole", async () => {
  const { peer } = await overheard(async (reporter) => {
    await reporter.hello(ACK);
    await reporter.readiness(READY);
  });
  expect(peer.device(READY.idstr, 0)).toEqual(READY);
  expect(peer.device(READY.idstr, 1)).toBeUndefined();
});

describe("the ledger's parts", () => {
  test("are told in the destination's time and read in the source's", async () => {
    const { peer } = await overheard(async (reporter) => {
      await reporter.hello(ACK);
      await reporter.ledger([{ row: 'nic', phase: 'load', startMs: 1_000_010, endMs: 1_000_030 }]);
    }, 40);
    const [part] = peer.parts();
    expect(part).toMatchObject({ row: 'nic', phase: 'load' });
    expect(part?.startMs).toBeCloseTo(50);
    expect(part?.endMs).toBeCloseTo(70);
  });

  test.each([['nic'], ['n'.repeat(255)]])(
    'all arrive, however many there are of a row and a phase: %s',
    async (row) => {
      const parts = (['load', 'wire'] as const).flatMap((phase) =>
        Array.from({ length: 40 }, (_, n) => ({
          row,
          phase,
          startMs: 1_000_000 + 2 * n,
          endMs: 1_000_001 + 2 * n,
        })),
      );
      const { peer, error } = await overheard(async (reporter) => {
        await reporter.hello(ACK);
        await reporter.ledger(parts);
      });
      expect(error).toMatchObject({ code: 'transport/closed' });
      expect(peer.parts()).toEqual(
        parts.map((part) => ({ ...part, startMs: part.startMs - 1_000_000, endMs: part.endMs - 1_000_000 })),
      );
    },
  );
});

describe('the backlog', () => {
  test('is asked for once the other side is a Switchover, one question at a time, and not too often', () => {
    const clock = new ManualClock();
    const peer = new PeerKnowledge(clock);
    expect(peer.asksForBacklog(0)).toBe(false);
    peer.pong(PROBE_PONG, 0);
    expect(peer.asksForBacklog(0)).toBe(true);
    clock.advance(100);
    expect(peer.asksForBacklog(0)).toBe(false);
    peer.pong(BACKLOG_PING, 0);
    expect(peer.asksForBacklog(0)).toBe(true);
    peer.pong(BACKLOG_PING, 0);
    clock.advance(19);
    expect(peer.asksForBacklog(0)).toBe(false);
    clock.advance(1);
    expect(peer.asksForBacklog(0)).toBe(true);
  });

  test('is how long the answer took, and what was sent meanwhile', () => {
    const clock = new ManualClock();
    const peer = new PeerKnowledge(clock);
    peer.pong(PROBE_PONG, 0);
    expect(peer.backlog).toEqual({ ms: 0, bytes: 0 });
    peer.asksForBacklog(1000);
    clock.advance(30);
    expect(peer.backlog).toEqual({ ms: 0, bytes: 0 });
    peer.pong(BACKLOG_PING, 5000);
    peer.pong(BACKLOG_PING, 9000); // one that nobody asked for
    expect(peer.backlog).toEqual({ ms: 30, bytes: 4000 });
  });
});

test('a question behind another one is answered by its own answer', async () => {
  const clock = new ManualClock();
  const peer = new PeerKnowledge(clock);
  peer.pong(PROBE_PONG, 0);
  peer.asksForBacklog(1000);
  clock.advance(10);
  const answer = peer.asksAnyway(2000);
  peer.pong(BACKLOG_PING, 2000);
  expect(await settled(answer)).toBe('pending');
  clock.advance(5);
  peer.pong(BACKLOG_PING, 2000);
  await answer;
  expect(peer.backlog).toEqual({ ms: 5, bytes: 0 });
});

describe('refused is', () => {
  test('anything before the proof', async () => {
    const { error } = await overheard((reporter) => reporter.readiness(READY));
    expect(error).toMatchObject({ code: 'migration/return-path', details: { at: 0, field: 'message type' } });
  });

  test('a message shorter than its fields', () => {
    const peer = new PeerKnowledge(new ManualClock());
    peer.pong(PROBE_PONG, 0);
    expect(() => peer.heard('READINESS', new Uint8Array(5), 77)).toThrow(/byte 77, length of READINESS/);
  });

  test('a phase that there is not', () => {
    const peer = new PeerKnowledge(new ManualClock());
    peer.pong(PROBE_PONG, 0);
    const data = new Uint8Array(10);
    data[8] = 200;
    expect(() => peer.heard('LEDGER_PARTS', data, 0)).toThrow(/ledger phase: expected 0 to 6, got 200/);
  });

  test('fewer stretches than a message says', () => {
    const peer = new PeerKnowledge(new ManualClock());
    peer.pong(PROBE_PONG, 0);
    const data = new Uint8Array(10 + 16);
    data[9] = 2;
    expect(() => peer.heard('LEDGER_PARTS', data, 5)).toThrow(
      /byte 5, length of LEDGER_PARTS of 2: expected at least 42, got 26/,
    );
  });

  test('more parts than the limit', () => {
    const peer = new PeerKnowledge(new ManualClock());
    peer.pong(PROBE_PONG, 0);
    const data = new Uint8Array(10 + 16 * 16);
    data[9] = 16;
    for (let n = 0; n < LIMITS.LEDGER_PARTS; n += 16) peer.heard('LEDGER_PARTS', data, 0);
    expect(() => peer.heard('LEDGER_PARTS', data, 0)).toThrow(/LEDGER_PARTS/);
  });

  test('more devices than the limit', () => {
    const peer = new PeerKnowledge(new ManualClock());
    peer.pong(PROBE_PONG, 0);
    const device = (n: number) => {
      const data = new Uint8Array(37);
      new DataView(data.buffer).setUint32(33, n);
      return data;
    };
    for (let n = 0; n < LIMITS.PEER_DEVICES; n++) peer.heard('READINESS', device(n), 0);
    expect(() => peer.heard('READINESS', device(LIMITS.PEER_DEVICES), 0)).toThrow(/PEER_DEVICES/);
  });
});
