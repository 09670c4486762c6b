/**
 * Our devices and a real QEMU's side by side: after the same accesses the guest has read the same; and the state that QEMU
 * sends of its device is taken apart and put together again without a byte's difference.
 */

import { describe, expect, test } from 'vitest';
import i8254 from '../../src/hw/devices/i8254/device.ts';
import serial from '../../src/hw/devices/isa-serial/device.ts';
import { FCR, IER, MCR, REGISTER } from '../../src/hw/devices/isa-serial/registers.ts';
import rtc from '../../src/hw/devices/mc146818rtc/device.ts';
import { A, B, REGISTER as RTC } from '../../src/hw/devices/mc146818rtc/registers.ts';
import type { StateSchema } from '../../src/hw/vmstate/schema.ts';
import { type InlineDevice, inlineDevice } from '../support/inline-device.ts';
import { whyNoQemu } from '../support/qemu.ts';
import { type QtestMachine, qtestMachine } from '../support/qtest-machine.ts';
import { seeded } from '../support/seeded.ts';
import type { RealSection } from '../support/stream-section.ts';

/** An access: a store, or a read where there is no value. */
type Access = readonly [offset: number, value?: number];

const SEEDS = [1, 2, 3, 4];
const ACCESSES = 400;
const COM1 = 0x3f8;
const TIMER = 0x40;
const CLOCK = 0x70;
/** A byte of CMOS RAM. */
const RAM = 0x0e;

/** Does the same on both; fails at the first access that reads something else. */
async function compare(real: QtestMachine, ours: InlineDevice, ports: number, accesses: readonly Access[]) {
  for (const [nth, [offset, value]] of accesses.entries()) {
    if (value === undefined) {
      const [theirs, own] = [await real.inb(ports + offset), await ours.read(offset)];
      const before = accesses.slice(Math.max(0, nth - 12), nth);
      const history = JSON.stringify(before);
      expect({ nth, offset, history, value: own }).toEqual({ nth, offset, history, value: theirs });
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
  const machine = (type: 'isapc' | 'pc' = 'isapc') => qtestMachine(type, ['-serial', 'null']);
  const busy: readonly Access[] = [
    [REGISTER.MCR, MCR.LOOPBACK],
    [REGISTER.FCR, FCR.ENABLE | 0x80],
    [REGISTER.IER, IER.RECEIVED | IER.TRANSMITTER_EMPTY],
    ...Array.from({ length: 9 }, (_, value): Access => [REGISTER.DATA, value]),
  ];

  const inFifo = ['serial/thr_ipending', 'serial/recv_fifo', 'serial/fifo_timeout_timer'];
  test.for([
    ['isapc', 'untouched', [], []],
    ['isapc', 'with characters received', busy, inFifo],
    ['pc', 'untouched', [], []],
    ['pc', 'with characters received', busy, inFifo],
  ] as const)('its state on %s, %s', async ([type, , accesses, subsections]) => {
    await using real = await machine(type);
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

describe.skipIf(whyNoQemu() !== undefined)('i8254', () => {
  test.for(SEEDS)('reads the same counts as QEMU after any accesses, seed %i', async (seed) => {
    const below = seeded(seed);
    const accesses = Array.from({ length: ACCESSES }, (): Access => {
      const counter = below(3);
      if (below(2) === 0) return [counter];
      if (below(2) === 0) return [counter, below(256)];
      // A counter's control word (access, mode, binary), its latch command, or read-back of counts; time stands.
      const modes = [below(2), 0x10 | below(0x30)] as const;
      return [3, below(4) === 0 ? 0xd0 | (below(8) << 1) : (counter << 6) | (modes[0] === 0 ? 0 : modes[1] & 0x3e)];
    });
    await using real = await qtestMachine('isapc');
    await using ours = await inlineDevice(i8254);
    await compare(real, ours, TIMER, accesses);
    expectSameState(i8254.state as StateSchema<unknown>, await real.section('i8254'));
  });
});

describe.skipIf(whyNoQemu() !== undefined)('mc146818rtc', () => {
  const base = '2026-01-02T03:04:05';
  const machine = () => qtestMachine('isapc', ['-rtc', `base=${base},clock=vm`]);

  test.for(SEEDS)('reads the same as QEMU after any accesses, seed %i', async (seed) => {
    const below = seeded(seed);
    const bcd = (maximum: number) => {
      const value = 1 + below(maximum);
      return (Math.floor(value / 10) << 4) | (value % 10);
    };
    const values: Readonly<Record<number, () => number>> = {
      [RTC.SECONDS]: () => bcd(59),
      [RTC.MINUTES]: () => bcd(59),
      [RTC.HOURS]: () => bcd(23),
      [RTC.DAY]: () => bcd(28),
      [RTC.MONTH]: () => bcd(12),
      [RTC.YEAR]: () => bcd(69),
      [RTC.A]: () => A.PRESET,
      [RTC.B]: () => (below(256) & ~B.BINARY) | B.HOURS_24,
      [RTC.CENTURY]: () => 0x20,
    };
    // Firmware's places in RAM differ; one of ours is enough.
    const registers = [...Array.from({ length: 14 }, (_, register) => register), RTC.CENTURY, RAM];
    const accesses = Array.from({ length: ACCESSES / 2 }, (): readonly Access[] => {
      const register = registers[below(registers.length)]!;
      const index: Access = [0, register];
      if (below(2) === 0 || register === RTC.DAY_OF_WEEK) return [index, [1]];
      return [index, [1, values[register]?.() ?? below(256)]];
    }).flat();
    await using real = await machine();
    await using ours = await inlineDevice(rtc, { properties: { base } });
    await compare(real, ours, CLOCK, [[0, RAM], [1, 0], ...accesses]);
    const section = await real.section('mc146818rtc');
    expectSameState(rtc.state as StateSchema<unknown>, section);
    // Timers and times of theirs are not compared: they depend on rounding.
    const [theirs, own] = [section.payload, (await ours.saved()).bytes].map((bytes) =>
      rtc.state.decode(bytes, { version: 3 }),
    );
    const shown = ({ cmos }: { cmos: Uint8Array }) => [...cmos.subarray(0, RAM + 1), cmos[RTC.CENTURY]];
    expect(shown(own!)).toEqual(shown(theirs!));
  });
});
