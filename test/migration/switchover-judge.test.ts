/** When the guest is stopped, where the bandwidth is not known yet (spec/control.md §7.3; docs/differences.md). */

import { expect, test } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { PeerKnowledge } from '../../src/migration/peer-extension.ts';
import { StreamFraming } from '../../src/migration/savevm.ts';
import { SourceStats, WINDOW_MS } from '../../src/migration/stats.ts';
import { SwitchoverJudge } from '../../src/migration/switchover-judge.ts';
import { SourceAck } from '../../src/migration/vfio/switchover-ack.ts';
import { MemorySink } from '../support/stream-loading.ts';

/** A machine without devices that has sent all of RAM; `isDirty`: its guest wrote a page meanwhile. */
function sent({ isDirty, downtimeLimitMs = 300 }: { isDirty: boolean; downtimeLimitMs?: number }) {
  const clock = new ManualClock();
  const stats = new SourceStats({
    clock,
    parameters: () => ({ maxBandwidth: 0, availSwitchoverBandwidth: 0, downtimeLimitMs }),
    bytes: () => 4096,
  });
  const ram = { pendingBytes: 0, isDirty };
  let syncs = 0;
  const judge = new SwitchoverJudge({
    ram,
    sections: { vfio: [], pendingBytes: 0, pendingExact: async () => 0 },
    stats,
    ack: new SourceAck({ mode: 'legacy', isOn: false }),
    peer: new PeerKnowledge(clock),
    sync: async () => {
      syncs += 1;
      if (ram.isDirty) ram.pendingBytes += 4096;
      ram.isDirty = false;
    },
    clock,
    signal: new AbortController().signal,
    connection: { sink: new MemorySink(), framing: new StreamFraming({ sectionFooters: true }), bytesWritten: () => 0 },
  });
  const endWindow = () => {
    clock.advance(WINDOW_MS);
    stats.checkWindow();
  };
  return { judge, endWindow, syncs: () => syncs };
}

test('before the bandwidth is known, a guest that wrote gets another pass', async () => {
  const { judge, syncs } = sent({ isDirty: true });
  expect(await judge.judge(true)).toBe('send');
  expect(syncs()).toBe(1);
});

test('before the bandwidth is known, a guest that wrote nothing is stopped, without a sync', async () => {
  const { judge, syncs } = sent({ isDirty: false });
  expect(await judge.judge(true)).toBe('switch');
  expect(syncs()).toBe(0);
});

test('with a downtime limit of 0 a pass that was sent is the last once the bandwidth is known, as in QEMU', async () => {
  const { judge, endWindow, syncs } = sent({ isDirty: true, downtimeLimitMs: 0 });
  endWindow();
  expect(await judge.judge(true)).toBe('switch');
  expect(syncs()).toBe(0);
});
