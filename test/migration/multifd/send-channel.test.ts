/** What a sending channel tells the thread that fills its lane, and when. */

import { expect, test } from 'vitest';
import { RamWindows } from '../../../src/hw/ram-window.ts';
import { ENTRY, ENTRY_KIND, SENT, sendInTurns } from '../../../src/migration/multifd/send-channel.ts';
import { StateSlots } from '../../../src/migration/multifd/state-slots.ts';
import { Bell } from '../../../src/threads/bell.ts';
import { LaneWriter } from '../../../src/threads/lane.ts';
import type { GatherList } from '../../../src/threads/segments.ts';
import { Tally } from '../../../src/threads/tally.ts';
import { MemorySink } from '../../support/stream-loading.ts';

/** A sink that takes one batch, and the second once it is let. */
class HaltingSink extends MemorySink {
  readonly second = Promise.withResolvers<void>();
  readonly #goOn = Promise.withResolvers<void>();
  #batches = 0;

  override async writeBatch(batch: GatherList): Promise<void> {
    this.#batches += 1;
    if (this.#batches === 2) {
      this.second.resolve();
      await this.#goOn.promise;
    }
    await super.writeBatch(batch);
  }

  goOn(): void {
    this.#goOn.resolve();
  }
}

test('a SYNC that is out is told at once, however full the lane behind it: the receiver reads no more before that', async () => {
  const bell = new Bell();
  const lane = new LaneWriter({ depth: 4, entryWords: ENTRY.WORDS, bell });
  const slots = new StateSlots(1);
  const publish = (kind: number, block = 0, count = 0) => {
    const entry = lane.claim()!;
    [entry[ENTRY.KIND], entry[ENTRY.BLOCK], entry[ENTRY.COUNT]] = [kind, block, count];
    lane.publish();
  };
  publish(ENTRY_KIND.SYNC);
  const mark = lane.mark;
  for (let index = 0; index < 3; index += 1) {
    const slot = slots.claim(0)!;
    slots.begin(slot, { idstr: 'd0', instanceId: 0, index, isConfig: false, byteLength: 100 });
    publish(ENTRY_KIND.STATE, slot, 100);
  }
  lane.close();
  const seen = bell.count;
  const sink = new HaltingSink();
  const work = sendInTurns(
    {
      uri: 'memory:',
      blocks: [],
      lane: lane.share,
      tally: new Tally(SENT.SLOTS).share,
      numbers: new Tally(1).share,
      method: 'none',
      level: 1,
      detectZero: false,
      oldLayout: false,
      slots: slots.share,
    },
    new RamWindows([]),
    sink,
  );
  await sink.second.promise;
  expect(lane.isReleased(mark)).toBe(true);
  expect(bell.count).not.toBe(seen);
  sink.goOn();
  await work;
  expect(lane.unreleased).toBe(0);
});
