/** The real-time clock does what the data sheet of the MC146818A says. */

import { describe, expect, test } from 'vitest';
import rtc from '../../../src/hw/devices/mc146818rtc/device.ts';
import { A, ANY, B, C, PORT, REGISTER } from '../../../src/hw/devices/mc146818rtc/registers.ts';
import { type InlineDevice, inlineDevice } from '../../support/inline-device.ts';

const MS = 1_000_000n;
const SECOND = 1000n * MS;
/** Of a calendar's registers, in the order that people write them. */
const CALENDAR = [REGISTER.CENTURY, REGISTER.YEAR, REGISTER.MONTH, REGISTER.DAY] as const;
const TIME = [REGISTER.HOURS, REGISTER.MINUTES, REGISTER.SECONDS] as const;

async function get(on: InlineDevice, register: number): Promise<number> {
  await on.write(PORT.INDEX, register);
  return on.read(PORT.DATA);
}

async function set(on: InlineDevice, register: number, value: number): Promise<void> {
  await on.write(PORT.INDEX, register);
  await on.write(PORT.DATA, value);
}

/** The registers in hex, which is the time while they are BCD: `20260102 030405`. */
async function shown(on: InlineDevice): Promise<string> {
  let text = '';
  for (const register of [...CALENDAR, ...TIME]) {
    text += `${register === REGISTER.HOURS ? ' ' : ''}${(await get(on, register)).toString(16).padStart(2, '0')}`;
  }
  return text;
}

const clock = (base: string) => inlineDevice(rtc, { properties: { base } });

describe('the time', () => {
  test('begins where it is told to and goes on', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    expect(await shown(on)).toBe('20260102 030405');
    await on.wait(3661n * SECOND);
    expect(await shown(on)).toBe('20260102 040506');
  });

  test.for([
    ['2026-12-31T23:59:59', '20270101 000000', 6],
    ['2028-02-28T23:59:59', '20280229 000000', 3],
    ['2100-02-28T23:59:59', '21000301 000000', 2],
    ['1999-12-31T23:59:59', '20000101 000000', 7],
  ] as const)('after %s comes %s', async ([base, next, dayOfWeek]) => {
    await using on = await clock(base);
    await on.wait(SECOND);
    expect([await shown(on), await get(on, REGISTER.DAY_OF_WEEK)]).toEqual([next, dayOfWeek]);
  });

  test.for([
    ['BCD, 24 hours', B.HOURS_24, [0x00, 0x09, 0x12, 0x23]],
    ['BCD, 12 hours', 0, [0x12, 0x09, 0x92, 0x91]],
    ['binary, 24 hours', B.BINARY | B.HOURS_24, [0, 9, 12, 23]],
    ['binary, 12 hours', B.BINARY, [12, 9, 0x80 | 12, 0x80 | 11]],
  ] as const)('has its hours in %s', async ([, format, hours]) => {
    const seen: number[] = [];
    for (const hour of ['00', '09', '12', '23']) {
      await using on = await clock(`2026-05-31T${hour}:00:00`);
      await set(on, REGISTER.B, format);
      seen.push(await get(on, REGISTER.HOURS));
    }
    expect(seen).toEqual(hours);
    // And takes them back.
    await using on = await clock('2026-05-31T05:00:00');
    await set(on, REGISTER.B, format);
    for (const [nth, hour] of hours.entries()) {
      await set(on, REGISTER.B, format);
      await set(on, REGISTER.HOURS, hour);
      await set(on, REGISTER.B, B.HOURS_24);
      expect(await get(on, REGISTER.HOURS)).toBe([0x00, 0x09, 0x12, 0x23][nth]);
    }
  });

  test('is set while it goes on, and keeps its place in the second', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    await on.wait(700n * MS);
    await set(on, REGISTER.SECONDS, 0x30);
    await on.wait(299n * MS);
    expect(await shown(on)).toBe('20260102 030430');
    await on.wait(1n * MS);
    expect(await shown(on)).toBe('20260102 030431');
  });

  test('stands while it is set', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    await set(on, REGISTER.B, B.SET | B.HOURS_24 | B.UPDATE);
    expect(await get(on, REGISTER.B)).toBe(B.SET | B.HOURS_24); // no interrupt meanwhile
    await set(on, REGISTER.MINUTES, 0x59);
    await on.wait(10n * SECOND);
    await on.migrate();
    expect([await shown(on), await get(on, REGISTER.C)]).toEqual(['20260102 035905', 0]);
    await set(on, REGISTER.B, B.HOURS_24);
    await on.wait(SECOND);
    expect(await shown(on)).toBe('20260102 035906');
  });

  test('stands in divider reset, and is updated half a second after', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    await set(on, REGISTER.A, A.DIVIDER_RESET);
    await on.wait(10n * SECOND);
    await set(on, REGISTER.A, A.PRESET);
    await on.wait(499n * MS);
    expect(await shown(on)).toBe('20260102 030405');
    await on.wait(1n * MS);
    expect(await shown(on)).toBe('20260102 030406');
  });

  test('says 244 µs before an update that one is coming', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    const seen: number[] = [];
    for (const wait of [SECOND - 245_000n, 1_000n, 243_999n, 1n]) {
      await on.wait(wait);
      seen.push(await get(on, REGISTER.A));
    }
    expect(seen).toEqual([0x26, 0xa6, 0xa6, 0x26]);
  });

  test('that is no time is refused', async () => {
    await expect(clock('noon')).rejects.toThrow(/base: expected a time like/);
  });
});

describe('interrupts', () => {
  test('update: once a second, until C is read', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    await set(on, REGISTER.B, B.HOURS_24 | B.UPDATE);
    expect(on.irq()).toBe(false);
    await on.wait(SECOND);
    expect(on.irq()).toBe(true);
    expect(await get(on, REGISTER.C)).toBe(C.INTERRUPT | C.UPDATED);
    expect([on.irq(), await get(on, REGISTER.C)]).toEqual([false, 0]);
    await on.wait(5n * SECOND);
    expect(on.edges()).toBe(2);
  });

  test('a flag that is not enabled is set and interrupts nobody', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    await on.wait(SECOND);
    expect(on.irq()).toBe(false);
    await set(on, REGISTER.B, B.HOURS_24 | B.UPDATE); // and enabling it later does
    expect([on.irq(), await get(on, REGISTER.C)]).toEqual([true, C.INTERRUPT | C.UPDATED]);
  });

  test.for([
    ['at a time', [0x03, 0x05, 0x10], 65n],
    ['at any hour', [ANY, 0x05, 0x10], 65n],
    ['at any minute', [ANY, ANY, 0x10], 5n],
    ['at any second', [0xff, ANY, 0xc1], 1n],
    ['on the next day', [0x03, 0x04, 0x05], 86_400n],
  ] as const)('alarm: %s', async ([, [hours, minutes, seconds], inSeconds]) => {
    await using on = await clock('2026-01-02T03:04:05');
    await set(on, REGISTER.HOURS_ALARM, hours);
    await set(on, REGISTER.MINUTES_ALARM, minutes);
    await set(on, REGISTER.SECONDS_ALARM, seconds);
    await set(on, REGISTER.B, B.HOURS_24 | B.ALARM);
    await on.wait((inSeconds - 1n) * SECOND + 999n * MS);
    expect(on.irq()).toBe(false);
    await on.migrate();
    await on.wait(1n * MS);
    expect([on.irq(), await get(on, REGISTER.C)]).toEqual([true, C.INTERRUPT | C.ALARM | C.UPDATED]);
  });

  test('alarm: never at a time that no clock shows', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    await set(on, REGISTER.SECONDS_ALARM, 0x61);
    await set(on, REGISTER.B, B.HOURS_24 | B.ALARM);
    await on.wait(90_000n * SECOND);
    expect(on.irq()).toBe(false);
  });

  test.for([
    [1, 3_906_250n],
    [2, 7_812_500n],
    [3, 122_071n], // 122.0703125 µs, rounded up
    [6, 976_563n],
    [15, 500_000_000n],
  ] as const)('periodic: rate %i is every %i ns', async ([rate, periodNs]) => {
    await using on = await clock('2026-01-02T03:04:05');
    await set(on, REGISTER.A, 0x20 | rate);
    await set(on, REGISTER.B, B.HOURS_24 | B.PERIODIC);
    await on.wait(periodNs - 1n);
    expect(on.irq()).toBe(false);
    await on.wait(1n);
    expect([on.irq(), (await get(on, REGISTER.C)) & ~C.UPDATED]).toEqual([true, C.INTERRUPT | C.PERIODIC]);
    await on.migrate();
    await on.wait(periodNs);
    expect(on.irq()).toBe(true);
    await set(on, REGISTER.B, B.HOURS_24);
    await get(on, REGISTER.C);
    await on.wait(2n * periodNs);
    expect((await get(on, REGISTER.C)) & C.PERIODIC).toBe(0);
  });

  test('periodic: rate 0 is none', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    await set(on, REGISTER.A, 0x20);
    await set(on, REGISTER.B, B.HOURS_24 | B.PERIODIC);
    await on.wait(900n * MS);
    expect(on.irq()).toBe(false);
  });
});

describe('registers', () => {
  test('have an index of seven bits, which cannot be read', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    expect(await get(on, 0x80 | REGISTER.SECONDS)).toBe(0x05);
    expect(await on.read(PORT.INDEX)).toBe(0xff);
  });

  test('C and D are read only, and D says that the battery is good', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    await set(on, REGISTER.C, 0xff);
    await set(on, REGISTER.D, 0x00);
    expect([await get(on, REGISTER.C), await get(on, REGISTER.D)]).toEqual([0, 0x80]);
  });

  test('reset switches interrupts off and leaves RAM and time alone', async () => {
    await using on = await clock('2026-01-02T03:04:05');
    await set(on, 0x40, 0x5a);
    await set(on, REGISTER.B, B.HOURS_24 | B.PERIODIC | B.ALARM | B.UPDATE | B.SQUARE_WAVE);
    await on.wait(SECOND);
    await on.reset();
    expect([on.irq(), await get(on, REGISTER.B), await get(on, REGISTER.C)]).toEqual([false, B.HOURS_24, 0]);
    expect([await get(on, 0x40), await shown(on)]).toEqual([0x5a, '20260102 030406']);
  });
});

test.for([1, 2] as const)(
  'a state of version %i, without a base, goes on from the time that it shows',
  async (version) => {
    const { [version]: hex = '' } = rtc.conformance?.older ?? {};
    const old = rtc.state.decode(Buffer.from(hex.replaceAll(' ', ''), 'hex'), { version });
    await using on = await inlineDevice(rtc, { state: rtc.state.encode(old) });
    expect(await shown(on)).toBe('20260102 030405');
    await on.wait(SECOND);
    expect(await shown(on)).toBe('20260102 030406');
  },
);

test('a clock that comes from QEMU while its update flag waits to be read sets it again after that', async () => {
  await using blank = await clock('2026-01-02T03:04:05');
  const state = rtc.state.decode((await blank.saved()).bytes, { version: 3 });
  const cmos = Uint8Array.from(state.cmos);
  cmos[REGISTER.C] = C.UPDATED;
  // QEMU's next event is then the alarm, hours away.
  const waiting = rtc.state.encode({ ...state, cmos, updateTimer: state.nextAlarmNs });
  await using on = await inlineDevice(rtc, { state: waiting });
  expect(await get(on, REGISTER.C)).toBe(C.UPDATED);
  await on.wait(SECOND);
  expect(await get(on, REGISTER.C)).toBe(C.UPDATED);
});

test('an index beyond the registers is refused', async () => {
  await using on = await clock('2026-01-02T03:04:05');
  const { bytes } = await on.saved();
  bytes[128] = 0x80;
  expect(() => rtc.state.decode(bytes, { version: 3 })).toThrow(/mc146818rtc.*index 128 is beyond/);
});
