/**
 * Our devices and a real QEMU's side by side: after the same accesses the guest has read the same; and the state that QEMU
 * sends of its device is taken apart and put together again without a byte's difference.
 */

import { describe, expect, test } from 'vitest';
import serial from '../../src/hw/devices/isa-serial/device.ts';
import { FCR, IER, MCR, REGISTER } from '../../src/hw/devices/isa-serial/registers.ts';
import type { StateSchema } from '../../src/hw/vmstate/schema.ts';
import { type InlineDevice, inlineDevice } from '../support/inline-device.ts';
import { whyNoQemu } from '../support/qemu.ts';
import { type QtestMachine, qtestMachine, type RealSection } from '../support/qtest-machine.ts';
import { seeded } from '../support/seeded.ts';

/** An access: a store, or a read where there is no value. */
type Access = readonly [offset: number, value?: number];

const SEEDS = [1, 2, 3, 4];
const ACCESSES = 400;
const COM1 = 0x3f8;

/** Does the same on both; fails at the first access that reads something else. */
async function compare(real: QtestMachine, ours: InlineDevice, ports: number, accesses: readonly Access[]) {
  for (const [nth, [offset, value]] of accesses.entries()) {
    if (value === undefined) {
      const [theirs, own] = [await real.inb(ports + offset), await ours.read(offset)];
      const before = accesses.slice(Math.max(0, nth - 12), nth);
      expect({ nth, offset, before, value: own }).toEqual({ nth, offset, before, value: theirs });
    } else {
      await real.outb(ports + offset, value);
      await ours.write(offset, value);
    }
  }
}

function expectSameState(state: StateSchema<unknown>, { payload, version, described }: RealSection): void {
  const decoded = state.decode(payload, { version });
  expect(Buffer.from(state.encode(decoded)).toString('hex')).toBe(Buffer.from(payload).toString('hex'));
  expect(JSON.stringify(state.describe(decoded))).toBe(described);
}

describe.skipIf(whyNoQemu() !== undefined)('isa-serial', () => {
  const machine = () => qtestMachine('isapc', ['-serial', 'null']);
  const busy: readonly Access[] = [
    [REGISTER.MCR, MCR.LOOPBACK],
    [REGISTER.FCR, FCR.ENABLE | 0x80],
    [REGISTER.IER, IER.RECEIVED | IER.TRANSMITTER_EMPTY],
    ...Array.from({ length: 9 }, (_, value): Access => [REGISTER.DATA, value]),
  ];

  test.for([
    ['untouched', [], []],
    ['with characters received', busy, ['serial/thr_ipending', 'serial/recv_fifo', 'serial/fifo_timeout_timer']],
  ] as const)('its state, %s', async ([, accesses, subsections]) => {
    await using real = await machine();
    await using ours = await inlineDevice(serial);
    await compare(real, ours, COM1, accesses);
    const section = await real.section('serial');
    expectSameState(serial.state as StateSchema<unknown>, section);
    for (const name of subsections) expect(section.described).toContain(`"${name}"`);
    expect(JSON.stringify((await ours.saved()).described)).toBe(section.described);
  });

  test.for(SEEDS)('reads the same as QEMU after any accesses, seed %i', async (seed) => {
    const below = seeded(seed);
    const accesses = Array.from({ length: ACCESSES }, (): Access => {
      const offset = below(8);
      if (below(2) === 0) return [offset];
      // Mostly in loopback, where there is something to receive.
      return [offset, offset === REGISTER.MCR ? below(256) | (below(8) === 0 ? 0 : MCR.LOOPBACK) : below(256)];
    });
    await using real = await machine();
    await using ours = await inlineDevice(serial);
    await compare(real, ours, COM1, accesses);
  });
});
