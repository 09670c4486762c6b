/** When the guest of a machine with VFIO devices is stopped (spec/vfio.md §2.4, §3): by a real QEMU's rule, or by what a Switchover tells. */

import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { PeerKnowledge } from '../../src/migration/peer-extension.ts';
import { StreamFraming } from '../../src/migration/savevm.ts';
import { SourceStats } from '../../src/migration/stats.ts';
import { type JudgedDevice, SwitchoverJudge } from '../../src/migration/switchover-judge.ts';
import { type AckMode, SourceAck } from '../../src/migration/vfio/switchover-ack.ts';
import { AHEAD_BYTES } from '../../src/migration/vfio/vfio-load.ts';
import { BACKLOG_PING, EXTENSION, PROBE_PONG } from '../../src/wire/extension.ts';
import { settled } from '../support/settled.ts';
import { MemorySink } from '../support/stream-loading.ts';

const MIB = 2 ** 20;
/** Of the wire, which makes the downtime limit worth this many bytes. */
const BYTES_PER_SECOND = 1000 * MIB;
const DOWNTIME_LIMIT_MS = 100;
const THRESHOLD_BYTES = 100 * MIB;
/** How long a device has to have been known before what it told is enough (ms). */
const TELLING_MS = 200;

/** A device that has sent all but `pendingBytes` of its precopy data. */
function device(id: string, sizes: Partial<JudgedDevice> = {}): JudgedDevice {
  return {
    id,
    idstr: `${id}/vfio`,
    instanceId: 0,
    pendingBytes: 0,
    stopCopyBytes: MIB,
    answerMs: 0.2,
    isOverChannels: false,
    saveRate: { bytesPerSecond: 0 },
    ...sizes,
  };
}

/** A source with these devices and no dirty page, unless the guest writes `dirtyBytes` until the pass ends. */
function judged(
  devices: readonly JudgedDevice[],
  { dirtyBytes = 0, ramBytes = 0, ack = false, mode = 'legacy' as AckMode } = {},
) {
  const clock = new ManualClock();
  const parameters = {
    maxBandwidth: 0,
    availSwitchoverBandwidth: BYTES_PER_SECOND,
    downtimeLimitMs: DOWNTIME_LIMIT_MS,
  };
  const peer = new PeerKnowledge(clock);
  const ram = { pendingBytes: ramBytes, isDirty: dirtyBytes > 0 };
  const asked = { syncs: 0, devices: 0 };
  const sourceAck = new SourceAck({ mode, isOn: ack });
  const cancel = new AbortController();
  const sink = new MemorySink();
  const judge = new SwitchoverJudge({
    clock,
    signal: cancel.signal,
    connection: { sink, framing: new StreamFraming({ sectionFooters: true }), bytesWritten: () => 0 },
    ram,
    sections: {
      vfio: devices,
      pendingBytes: devices.reduce((sum, { pendingBytes }) => sum + pendingBytes, 0),
      pendingExact: async () => {
        asked.devices += 1;
        return devices.reduce((sum, { stopCopyBytes }) => sum + stopCopyBytes, 0);
      },
    },
    stats: new SourceStats({ clock, parameters: () => parameters, bytes: () => 0 }),
    ack: sourceAck,
    peer,
    sync: async () => {
      asked.syncs += 1;
      ram.pendingBytes += dirtyBytes;
    },
  });
  /** The destination is a Switchover and says what it knows of a device. */
  const tell = (id: string, loadBytesPerSecond = 0) => {
    peer.pong(PROBE_PONG, 0);
    const fixed = EXTENSION.READINESS.fields.encode({
      nowNs: 0n,
      ready: 1,
      preparationNs: 0n,
      loadBytesPerSecond: BigInt(loadBytesPerSecond),
      aheadBytes: 0n,
      instanceId: 0,
    });
    peer.heard('READINESS', Buffer.concat([fixed, Buffer.from(`${id}/vfio`)]), 0);
  };
  const isSwitchover = () => peer.pong(PROBE_PONG, 0);
  const hasRead = () => peer.pong(BACKLOG_PING, 0);
  return { judge, clock, asked, ram, sink, cancel, tell, ack: sourceAck, isSwitchover, hasRead };
}

describe('against a destination that may be a QEMU', () => {
  test('what is known to be left is enough to go on, without a pass and without a question', async () => {
    const { judge, asked } = judged([device('a', { pendingBytes: THRESHOLD_BYTES - MIB })], { ramBytes: MIB });
    expect(await judge.judge(true)).toBe('send');
    expect(asked).toEqual({ syncs: 0, devices: 0 });
    expect(judge.estimate).toBeUndefined();
  });

  test.each([
    ['less than', -1, 'switch'],
    ['as much as', 0, 'send'],
  ])('pages and STOP_COPY of all devices count: %s the limit', async (_what, more, judgement) => {
    const half = THRESHOLD_BYTES / 2;
    const devices = [device('a', { stopCopyBytes: half - MIB }), device('b', { stopCopyBytes: half + more })];
    const { judge, asked } = judged(devices, { dirtyBytes: MIB });
    expect(await judge.judge(true)).toBe(judgement);
    expect(asked).toEqual({ syncs: 1, devices: 1 });
  });

  test('precopy data that is left holds nothing up once it fits', async () => {
    const { judge } = judged([device('a', { pendingBytes: 2 * AHEAD_BYTES })]);
    expect(await judge.judge(true)).toBe('switch');
  });
});

describe('the ack', () => {
  test('is waited for when it is all that is missing, but not by a guest that is stopped', async () => {
    const { judge, ack } = judged([device('a')], { ack: true });
    expect(await judge.judge(true)).toBe('ack');
    expect(await judge.judge(false)).toBe('switch');
    ack.acked();
    expect(await judge.judge(true)).toBe('switch');
  });

  test('does not make up for what does not fit', async () => {
    const { judge, ack } = judged([device('a', { stopCopyBytes: THRESHOLD_BYTES })], { ack: true });
    ack.acked();
    expect(await judge.judge(true)).toBe('send');
    expect(await judge.judge(false)).toBe('send');
  });
});

describe('against a Switchover', () => {
  test('the time that a device takes to load counts, though its bytes would fit', async () => {
    const slow = judged([device('a', { stopCopyBytes: 10 * MIB })]);
    slow.tell('a', 50 * MIB);
    expect(await slow.judge.judge(true)).toBe('send');
    expect(slow.judge.estimate?.devices).toEqual([{ id: 'a', ms: expect.closeTo(200) }]);
    const fast = judged([device('a', { stopCopyBytes: 10 * MIB })]);
    fast.tell('a', 500 * MIB);
    expect(await fast.judge.judge(true)).toBe('switch');
  });

  test('the time that a device takes to be read counts', async () => {
    const saveRate = { bytesPerSecond: 50 * MIB };
    const { judge, isSwitchover } = judged([device('a', { stopCopyBytes: 10 * MIB, saveRate })]);
    isSwitchover();
    expect(await judge.judge(true)).toBe('send');
  });
});

describe('precopy data that is left of a device of a Switchover', () => {
  const left = { pendingBytes: AHEAD_BYTES + 1 };

  test('is sent while it tells how fast the device takes it, and no longer', async () => {
    const { judge, clock, tell } = judged([device('a', left)]);
    tell('a');
    expect(await judge.judge(true)).toBe('send');
    clock.advance(TELLING_MS - 1);
    expect(await judge.judge(true)).toBe('send');
    clock.advance(1);
    expect(await judge.judge(true)).toBe('switch');
  });

  test('counts from the first word about the device, not from the last', async () => {
    const { judge, clock, tell } = judged([device('a', left)]);
    tell('a');
    clock.advance(TELLING_MS - 1);
    tell('a');
    clock.advance(1);
    expect(await judge.judge(true)).toBe('switch');
  });

  test('tells nothing when the device may take it all ahead of the stream', async () => {
    const { judge, tell } = judged([device('a', { pendingBytes: AHEAD_BYTES })]);
    tell('a');
    expect(await judge.judge(true)).toBe('switch');
  });

  test('tells nothing of a device that the destination has said nothing of', async () => {
    const { judge, isSwitchover } = judged([device('a', left)]);
    isSwitchover();
    expect(await judge.judge(true)).toBe('switch');
  });

  test('of any one device is enough to wait for', async () => {
    const { judge, clock, tell } = judged([device('a', left), device('b', left), device('c')]);
    tell('a');
    tell('c');
    clock.advance(TELLING_MS);
    expect(await judge.judge(true)).toBe('switch');
    tell('b');
    expect(await judge.judge(true)).toBe('send');
    clock.advance(TELLING_MS);
    expect(await judge.judge(true)).toBe('switch');
  });

  test('is known by instance: what was said of another is not about this one', async () => {
    const { judge, tell } = judged([device('a', { ...left, instanceId: 1 })]);
    tell('a');
    expect(await judge.judge(true)).toBe('switch');
  });
});

describe('a Switchover that may be behind', () => {
  const PING = new StreamFraming({ sectionFooters: true }).ping(BACKLOG_PING);

  /** Only the destination's reading is missing. */
  function ready({ mode = 'legacy' as AckMode, ack = true } = {}) {
    const all = judged([device('a')], { ack, mode });
    if (mode === 'legacy') all.ack.acked();
    all.isSwitchover();
    return all;
  }

  test('is asked, and the guest stopped once it has read everything and what the guest wrote meanwhile fits', async () => {
    const { judge, asked, sink, hasRead } = ready();
    const judgement = judge.judge(true);
    expect(await settled(judgement)).toBe('pending');
    expect(Uint8Array.from(sink.bytes())).toEqual(Uint8Array.from(PING));
    hasRead();
    expect(await judgement).toBe('switch');
    expect(asked).toEqual({ syncs: 2, devices: 2 });
  });

  test('gets more when the guest wrote too much meanwhile', async () => {
    const { judge, ram, hasRead } = ready();
    const judgement = judge.judge(true);
    expect(await settled(judgement)).toBe('pending');
    ram.pendingBytes = THRESHOLD_BYTES;
    hasRead();
    expect(await judgement).toBe('send');
  });

  test('is asked for another ack where a device wants one by then', async () => {
    const { judge, ack, hasRead } = ready({ mode: 'reusable' });
    const judgement = judge.judge(true);
    expect(await settled(judgement)).toBe('pending');
    ack.request('a');
    hasRead();
    expect(await judgement).toBe('ack');
  });

  test('gets 100 ms, five times, and is waited for no longer', async () => {
    const { judge, clock } = ready();
    for (let n = 0; n < 5; n += 1) {
      const judgement = judge.judge(true);
      expect(await settled(judgement)).toBe('pending');
      clock.advance(100);
      expect(await judgement).toBe('send');
    }
    expect(await judge.judge(true)).toBe('switch');
  });

  test('is waited for no longer than the migration', async () => {
    const { judge, cancel } = ready();
    const judgement = judge.judge(true);
    expect(await settled(judgement)).toBe('pending');
    cancel.abort();
    expect(await judgement).toBe('send');
  });

  test('is not asked without switchover-ack: it may be preparing, which nobody wanted to wait for', async () => {
    const { judge, sink } = ready({ ack: false });
    expect(await judge.judge(true)).toBe('switch');
    expect(sink.bytes()).toHaveLength(0);
  });
});
