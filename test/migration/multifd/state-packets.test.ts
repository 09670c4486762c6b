/** Device-state packets as bytes, made and taken apart: spec/wire.md §5.3, spec/vfio.md §2.6. */

import { describe, expect, test } from 'vitest';
import { PacketReader } from '../../../src/migration/multifd/packet-reader.ts';
import type { StatePacket, StateTarget } from '../../../src/migration/multifd/state-packet-reader.ts';
import { StateSlots } from '../../../src/migration/multifd/state-slots.ts';
import { Segments } from '../../../src/threads/segments.ts';
import { LIMITS } from '../../../src/wire/limits.ts';
import { IDSTR, type PacketPlan, statePacket } from '../../support/state-packets.ts';

const TARGETS: readonly StateTarget[] = [
  { idstr: IDSTR, instanceId: 0, refusal: undefined },
  { idstr: '0000:00:03.0/vfio', instanceId: 0, refusal: 'x-migration-multifd-transfer is off here' },
];
const STATE = Buffer.from('c0ffee', 'hex');

/** What a channel reads from these bytes. `room` counts how often it may take a packet. */
function read(bytes: Uint8Array, room = 100): StatePacket[] {
  const packets: StatePacket[] = [];
  const steps = new PacketReader({
    name: 'multifd channel 1',
    windows: [],
    method: 'none',
    decompressor: undefined,
    targets: TARGETS,
  }).steps();
  let rest = bytes;
  let left = room;
  let step = steps.next();
  while (step.done !== true) {
    const wish = step.value;
    let answer = 1;
    if (wish.kind === 'read') {
      answer = 0;
      for (let index = 0; index < wish.into.entryCount; index++) {
        const target = wish.into.view(index);
        const piece = rest.subarray(0, target.length);
        target.set(piece);
        rest = rest.subarray(piece.length);
        answer += piece.length;
      }
    } else if (wish.kind === 'state') packets.push(wish.packet);
    else answer = left-- > 0 ? 1 : 0;
    step = steps.next(answer);
  }
  return packets;
}

describe('a packet is made', () => {
  test('with QEMU’s 276 bytes, 12 bytes and the state', () => {
    const slots = new StateSlots(2);
    const slot = slots.claim(1)!;
    new Uint8Array(slots.data(slot)).set(STATE);
    slots.begin(slot, { idstr: IDSTR, instanceId: 3, index: 0x01020304, isConfig: true, byteLength: STATE.length });
    const packet = slots.packet(slot, STATE.length, new Segments(2));
    const bytes = Buffer.concat(Array.from({ length: packet.entryCount }, (_, n) => packet.view(n)));
    const expected = [
      '11223344 00000001 00000040',
      `${Buffer.from(IDSTR).toString('hex')}${'00'.repeat(256 - IDSTR.length)}`,
      '00000003 0000000f',
      '00000000 01020304 00000001',
      'c0ffee',
    ];
    expect(bytes.toString('hex')).toBe(expected.join('').replaceAll(' ', ''));
    expect(bytes).toEqual(statePacket({ instanceId: 3, index: 0x01020304, stateFlags: 1, state: STATE }));
  });

  test('in a slot of its device, which has some and not another’s', () => {
    const slots = new StateSlots(2);
    const own = Array.from({ length: 6 }, () => slots.claim(0));
    expect(new Set(own).size).toBe(6);
    expect(own).not.toContain(undefined);
    expect(slots.claim(0)).toBeUndefined();
    expect(slots.claim(1)).toBeDefined();
    new StateSlots(slots.share).release(own[2]!);
    expect(slots.claim(0)).toBe(own[2]);
  });
});

describe('a packet is read', () => {
  test('one after the other, the state as it was sent', () => {
    const plans = [
      { index: 0, state: STATE },
      { index: 7, state: Buffer.alloc(100_000, 0xab) },
      { index: 8, stateFlags: 1, state: STATE },
    ];
    const packets = read(Buffer.concat(plans.map(statePacket)));
    expect(packets.map(({ target, index, isConfig }) => [target, index, isConfig])).toEqual([
      [0, 0, false],
      [0, 7, false],
      [0, 8, true],
    ]);
    for (const [n, { bytes }] of packets.entries()) expect(Buffer.compare(bytes, plans[n]!.state)).toBe(0);
    expect(packets[1]!.place).toEqual({ at: 64 + 291 + 276, section: 'multifd channel 1, packet 1' });
  });

  test('of as many bytes as QEMU’s copy buffer has', () => {
    expect(read(statePacket({ state: Buffer.alloc(1 << 20) }))).toHaveLength(1);
  });

  test('with flags of the frame that nobody knows, as QEMU does', () => {
    expect(read(statePacket({ flags: 0x8000_0040, state: STATE }))).toHaveLength(1);
  });

  test('only where there is room for its state', () => {
    expect(
      read(Buffer.concat([statePacket({ state: STATE }), statePacket({ index: 1, state: STATE })]), 1),
    ).toHaveLength(1);
  });

  const hostile: readonly (readonly [string, PacketPlan, object])[] = [
    ['with SYNC', { flags: 0x41 }, { at: 72, field: 'flags', actual: 'both' }],
    ['with a compression method', { flags: 0x44 }, { at: 72, field: 'flags', actual: 'method 0x4' }],
    [
      'for a name without an end',
      { idstrField: Buffer.alloc(256, 0x61) },
      { at: 76, field: 'idstr', actual: '256 bytes without an end' },
    ],
    ['for an unknown device', { idstr: 'nobody' }, { at: 76, field: 'idstr', actual: "'nobody' instance 0" }],
    ['for no name', { idstr: '' }, { at: 76, field: 'idstr', actual: "'' instance 0" }],
    [
      'for an unknown instance',
      { instanceId: 1 },
      { at: 64 + 268, field: 'instanceId', actual: `'${IDSTR}' instance 1` },
    ],
    [
      'for a device that does not take it this way',
      { idstr: '0000:00:03.0/vfio' },
      { at: 72, field: 'flags', expected: 'no device state: x-migration-multifd-transfer is off here' },
    ],
    ['without payload', { dataBytes: 0 }, { at: 64 + 272, field: 'dataBytes', actual: '0' }],
    ['with half a payload header', { dataBytes: 11 }, { at: 64 + 272, field: 'dataBytes', actual: '11' }],
    ['without state', { dataBytes: 12 }, { at: 64 + 272, field: 'dataBytes', actual: '12' }],
    [
      'of more than the copy buffer',
      { dataBytes: LIMITS.STATE_PACKET_BYTES + 1 },
      { at: 64 + 272, field: 'dataBytes', limit: 'STATE_PACKET_BYTES' },
    ],
    [
      'of 4 GiB',
      { dataBytes: 0xffff_ffff },
      { at: 64 + 272, field: 'dataBytes', limit: 'STATE_PACKET_BYTES', actual: 0xffff_ffff },
    ],
    ['of another version', { version: 1 }, { at: 64 + 276, field: 'version of the device state', actual: '1' }],
    ['with the index that none has', { index: 0xffff_ffff }, { at: 64 + 280, field: 'index' }],
    [
      'with unknown flags',
      { stateFlags: 3 },
      { at: 64 + 284, field: 'flags of the device state', expected: '0 or 0x1', actual: '0x3' },
    ],
  ];
  test.each(hostile)('%s: an error at its place', (_what, plan, details) => {
    const section = 'multifd channel 1, packet 0';
    expect(() => read(statePacket({ state: STATE, ...plan }))).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ section, ...details }) }),
    );
  });

  test('cut anywhere: an error that says in which field', () => {
    const whole = statePacket({ state: STATE });
    const fields = new Set<string>();
    for (let cut = 1; cut < whole.length; cut += 1) {
      try {
        read(whole.subarray(0, cut));
        expect.unreachable(`cut at ${cut}`);
      } catch (error) {
        expect(error).toMatchObject({ code: 'stream/truncated', details: { at: 64 + cut } });
        fields.add((error as { details: { field: string } }).details.field);
      }
    }
    expect([...fields]).toEqual([
      ...['magic', 'version', 'flags', 'idstr', 'instanceId', 'dataBytes'],
      ...['version of the device state', 'index of the device state', 'flags of the device state', 'device state'],
    ]);
  });
});
