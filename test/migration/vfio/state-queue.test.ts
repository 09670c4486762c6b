/** Packets of one device in any order, once each, within bounds: spec/vfio.md §2.6. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { StatePacket } from '../../../src/migration/multifd/state-packet-reader.ts';
import { StateQueue } from '../../../src/migration/vfio/state-queue.ts';
import { LIMITS } from '../../../src/wire/limits.ts';

const BYTES = new Uint8Array(new SharedArrayBuffer(64));

function packet(index: number, isConfig = false, byteLength = 1): StatePacket {
  const place = { at: 1000, section: 'multifd channel 2, packet 9' };
  return { target: 0, index, isConfig, bytes: BYTES.subarray(0, byteLength), place };
}

const queueOf = (maximumBytes = Number.POSITIVE_INFINITY) => new StateQueue({ device: 'd0', maximumBytes });

test('whatever the order of arrival, they are taken by index, and then it is complete', () => {
  fc.assert(
    fc.property(
      fc.shuffledSubarray([...Array(12).keys()], { minLength: 12 }),
      fc.infiniteStream(fc.boolean()),
      (order, eager) => {
        const queue = queueOf();
        const taken: number[] = [];
        const takeAll = () => {
          for (let next = queue.take(); next !== undefined; next = queue.take()) taken.push(next.index);
        };
        for (const index of order) {
          queue.add(packet(index, index === 11));
          if (eager.next().value) takeAll();
        }
        expect(queue.isComplete).toBe(taken.length === 12);
        takeAll();
        expect(taken).toEqual([...Array(12).keys()]);
        expect([queue.isComplete, queue.bytes]).toEqual([true, 0]);
      },
    ),
  );
});

describe('an error names channel, packet and field', () => {
  const refused = (...packets: StatePacket[]) => {
    const queue = queueOf(8);
    try {
      for (const one of packets) queue.add(one);
    } catch (error) {
      return error;
    }
    return undefined;
  };
  const place = { at: 1004, section: 'multifd channel 2, packet 9', field: "index of the state of 'd0'" };

  test.each([
    ['the same index twice', [packet(1), packet(1)], { actual: '1 again' }],
    ['a second last packet', [packet(2, true), packet(1, true)], { expected: 'one last packet, which was 2' }],
    ['an index behind the last packet’s', [packet(2, true), packet(3)], { actual: '3' }],
    ['a last packet before others', [packet(5), packet(2, true)], { actual: '2' }],
    ['an index over the limit', [packet(LIMITS.STATE_PACKET_INDEX + 1)], { limit: 'STATE_PACKET_INDEX' }],
    ['too large a hole', [packet(LIMITS.STATE_PACKET_HOLES + 1)], { limit: 'STATE_PACKET_HOLES' }],
    [
      'too many bytes behind a hole',
      [packet(1, false, 8), packet(2)],
      { limit: 'x-migration-max-queued-buffers-size', maximum: 8, actual: 9 },
    ],
  ])('for %s', (_what, packets, details) => {
    expect(refused(...packets)).toMatchObject({ details: { ...place, ...details } });
  });

  test('not for an index that was taken, once more', () => {
    const queue = queueOf();
    queue.add(packet(0));
    queue.take();
    expect(() => queue.add(packet(0))).toThrow(/got 0 again/);
  });

  test('not for as many bytes as may wait, nor for more that are next', () => {
    expect(refused(packet(1, false, 8))).toBeUndefined();
    expect(refused(packet(0, false, 9), packet(1, false, 9))).toBeUndefined();
    expect(refused(packet(LIMITS.STATE_PACKET_HOLES))).toBeUndefined();
  });
});
