/**
 * Our devices and a real QEMU's side by side: after the same accesses the guest has read the same; and the state that QEMU
 * sends of its device is taken apart and put together again without a byte's difference.
 */

import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import i8254 from '../../src/hw/devices/i8254/device.ts';
import serial from '../../src/hw/devices/isa-serial/device.ts';
import { FCR, IER, LSR, MCR, REGISTER } from '../../src/hw/devices/isa-serial/registers.ts';
import rtc from '../../src/hw/devices/mc146818rtc/device.ts';
import { A, B, REGISTER as RTC } from '../../src/hw/devices/mc146818rtc/registers.ts';
import type { StateSchema } from '../../src/hw/vmstate/schema.ts';
import { type InlineDevice, inlineDevice } from '../support/inline-device.ts';
import { whyNoQemu } from '../support/qemu.ts';
import { type QtestMachine, qtestMachine } from '../support/qtest-machine.ts';
import { seeded } from '../support/seeded.ts';
import type { RealSection } from '../support/stream-section.ts';
import { tempDir } from '../support/temp.ts';

/** An access: a store, or a read where there is no value. */
type Access = readonly [offset: number, value?: number];

const SEEDS = [1, 2, 3, 4];
const ACCESSES = 400;
/** More single bytes than a unix socket keeps. */
const MAX_IN_SOCKET = 10_000;
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

  test('its state, with characters that were not taken in time', async () => {
    await using real = await machine();
    for (const [offset, value = 0] of busy) await real.outb(COM1 + offset, value);
    await real.run(50); // four characters take 4 ms
    const section = await real.section('serial');
    expectSameState(serial.state as StateSchema<unknown>, section);
    expect(section.described).toContain('"serial/timeout_ipending"');
  });

  test('its state, with a line that takes nothing any more', async () => {
    await using dir = await tempDir();
    const line = dir.file('line');
    await using deaf = await listener(line);
    await using real = await qtestMachine('isapc', [
      ...['-chardev', `socket,id=line,path=${line}`],
      ...['-serial', 'chardev:line'],
    ]);
    await real.outb(COM1 + REGISTER.FCR, FCR.ENABLE);
    await deaf.connected;
    for (let sent = 0; ((await real.inb(COM1 + REGISTER.LSR)) & LSR.HOLDING_EMPTY) !== 0; sent += 1) {
      expect(sent).toBeLessThan(MAX_IN_SOCKET);
      await real.outb(COM1 + REGISTER.DATA, sent & 0xff);
    }
    await real.outb(COM1 + REGISTER.DATA, 0x41);
    const section = await real.section('serial');
    expectSameState(serial.state as StateSchema<unknown>, section);
    for (const name of ['tsr', 'xmit_fifo']) expect(section.described).toContain(`"serial/${name}"`);
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

describe.skipIf(whyNoQemu() !== undefined)('of a store that is declared to leave no state', () => {
  const args = ['-rtc', 'base=2026-01-02T03:04:05,clock=vm', '-serial', 'null'];
  const cases = [
    { device: serial, port: COM1 },
    { device: rtc, port: CLOCK },
  ] as const;
  const stores = cases.flatMap(({ device, port }) =>
    device.conformance!.registers.flatMap(({ name, offset, before = [], poke = 0x77, stateless }) =>
      stateless === undefined
        ? []
        : [{ type: device.name, idstr: device.state.name, port, name, offset, before, poke }],
    ),
  );

  test.for(stores)("$type's $name, QEMU keeps none either", async ({ idstr, port, offset, before, poke }) => {
    await using real = await qtestMachine('isapc', args);
    const state = async () => {
      await real.run(1); // it migrates again only when it ran in between
      return Buffer.from((await real.section(idstr)).payload).toString('hex');
    };
    for (const step of before) if ('write' in step) await real.outb(port + step.write.offset, step.value);
    const kept = await state();
    await real.outb(port + offset, poke);
    expect(await state()).toBe(kept);
  });

  test('the day of the week is none while the clock is set, and follows from the date otherwise', async () => {
    await using real = await qtestMachine('isapc', args);
    await using ours = await inlineDevice(rtc, { properties: { base: '2026-01-02T03:04:05' } });
    const set = (register: number, value: number): readonly Access[] => [
      [0, register],
      [1, value],
    ];
    const look: readonly Access[] = [[0, RTC.DAY_OF_WEEK], [1]];
    await compare(real, ours, CLOCK, [
      ...look,
      ...set(RTC.DAY_OF_WEEK, 3),
      ...look,
      ...set(RTC.B, B.SET | B.HOURS_24),
      ...set(RTC.DAY_OF_WEEK, 5),
      ...look,
      ...set(RTC.B, B.HOURS_24),
      ...look,
    ]);
  });
});

/** Where both know the same: modes 0, 2 and 3 with counts that are even. */
const MODES = [0, 2, 3] as const;

describe.skipIf(whyNoQemu() !== undefined)('a machine that ran', () => {
  test.for(SEEDS)("goes on here as QEMU's own does, seed %i", async (seed) => {
    const below = seeded(seed);
    const program = MODES.flatMap((_, counter): readonly Access[] => {
      const mode = MODES[below(MODES.length)]!; // in range
      return [
        [3, (counter << 6) | 0x30 | (mode << 1)],
        [counter, 2 * (1 + below(127))],
        [counter, below(256)],
      ];
    });
    const enabled = [B.UPDATE, B.ALARM, B.PERIODIC].filter(() => below(2) === 0);
    const set = (register: number, value: number): readonly Access[] => [
      [0, register],
      [1, value],
    ];
    const times: readonly Access[] = [
      ...set(RTC.B, B.SET | B.HOURS_24),
      ...set(RTC.SECONDS, 0x57 + below(3)),
      ...set(RTC.SECONDS_ALARM, 0x59),
      ...set(RTC.MINUTES_ALARM, 0xff),
      ...set(RTC.HOURS_ALARM, 0xff),
      ...set(RTC.B, B.HOURS_24 | enabled.reduce((bits, bit) => bits | bit, 0)),
    ];
    await using real = await qtestMachine('isapc', ['-rtc', 'base=2026-01-02T03:04:05,clock=vm']);
    await real.outb(0x61, 1); // the gate of counter 2
    for (const [offset, value = 0] of program) await real.outb(TIMER + offset, value);
    for (const [offset, value = 0] of times) await real.outb(CLOCK + offset, value);
    await real.run(100 + below(400));
    const { nowNs, section } = await real.saved();
    await using timer = await inlineDevice(i8254, { state: section('i8254').payload, nowNs });
    await using clock = await inlineDevice(rtc, { state: section('mc146818rtc').payload, nowNs });

    await real.run(1000 + below(1000));
    const counts: readonly Access[] = MODES.flatMap((_, counter) => [[3, counter << 6], [counter], [counter]] as const);
    const shown = [RTC.SECONDS, RTC.MINUTES, RTC.HOURS, RTC.A, RTC.B, RTC.C].flatMap((register): readonly Access[] => [
      [0, register],
      [1],
    ]);
    const theirs = [await readAll(real, TIMER, counts), await readAll(real, CLOCK, shown)];
    const passedNs = (await real.saved()).nowNs - nowNs;
    await timer.wait(passedNs);
    await clock.wait(passedNs);
    expect([await readAll(timer, 0, counts), await readAll(clock, 0, shown)]).toEqual(theirs);
  });
});

/** A socket whose other end is accepted and never read from. */
async function listener(path: string): Promise<AsyncDisposable & { readonly connected: Promise<unknown> }> {
  const server = createServer({ pauseOnConnect: true });
  const connected = once(server, 'connection');
  server.listen(path);
  await once(server, 'listening');
  return {
    connected,
    [Symbol.asyncDispose]: async () => {
      const [socket] = (await connected) as [Socket];
      socket.destroy();
      server.close();
    },
  };
}

/** Makes the accesses; what the reads among them saw. */
async function readAll(on: QtestMachine | InlineDevice, ports: number, accesses: readonly Access[]): Promise<number[]> {
  const seen: number[] = [];
  for (const [offset, value] of accesses) {
    if (value === undefined) seen.push(await ('inb' in on ? on.inb(ports + offset) : on.read(offset)));
    else await ('inb' in on ? on.outb(ports + offset, value) : on.write(offset, value));
  }
  return seen;
}
