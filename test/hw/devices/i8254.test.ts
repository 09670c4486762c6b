/** The interval timer does what the data sheet of the 8254 says, mode by mode. */

import { describe, expect, test } from 'vitest';
import i8254 from '../../../src/hw/devices/i8254/device.ts';
import { PORT } from '../../../src/hw/devices/i8254/registers.ts';
import { type InlineDevice, inlineDevice } from '../../support/inline-device.ts';

/** A time in the middle of clock `clocks` after a load at time 0, so that rounding does not matter. */
const during = (clocks: number) => (BigInt(2 * clocks + 1) * 1_000_000_000n) / (2n * 1_193_182n);

/** A timer with one counter programmed, both bytes, and a way to go to a clock after that. */
async function programmed(options: { mode: number; count: number; bcd?: number; counter?: number }) {
  const { mode, count, bcd = 0, counter = 0 } = options;
  const on = await inlineDevice(i8254);
  await on.write(0, 7, 'pins');
  await on.write(PORT.CONTROL, (counter << 6) | 0x30 | (mode << 1) | bcd);
  await on.write(counter, count & 0xff);
  await on.write(counter, count >> 8);
  let nowNs = 0n;
  return Object.assign(on, {
    to: async (clocks: number) => {
      await on.wait(during(clocks) - nowNs);
      nowNs = during(clocks);
    },
  });
}

async function countOf(on: InlineDevice, counter = 0): Promise<number> {
  await on.write(PORT.CONTROL, counter << 6); // latch
  return (await on.read(counter)) | ((await on.read(counter)) << 8);
}

async function output(on: InlineDevice, counter = 0): Promise<number> {
  return ((await on.read(0, 'pins')) >> counter) & 1;
}

/** OUT at each clock. */
async function wave(on: InlineDevice & { to(clocks: number): Promise<void> }, clocks: number): Promise<string> {
  let levels = '';
  for (let clock = 0; clock < clocks; clock += 1) {
    await on.to(clock);
    levels += await output(on);
  }
  return levels;
}

describe('OUT', () => {
  test.for([
    [0, 4, '0000111111'], // low until the count is over
    [2, 4, '1110111011'], // low for the last clock of each period
    [3, 4, '1100110011'],
    [3, 5, '1110011100'], // the high half is the longer one
    [4, 4, '1111011111'], // one low clock
    [6, 4, '1110111011'], // as 2
    [7, 4, '1100110011'], // as 3
  ] as const)('in mode %i with count %i is %s', async ([mode, count, levels]) => {
    await using on = await programmed({ mode, count });
    expect(await wave(on, levels.length)).toBe(levels);
  });

  test.for([
    [1, '0000111111'], // low for as long as the count
    [5, '1111011111'],
  ] as const)('in mode %i waits for the gate to rise', async ([mode, levels]) => {
    await using on = await programmed({ mode, count: 4 });
    expect(await wave(on, 6)).toBe('111111');
    await on.write(0, 0, 'pins');
    await on.write(0, 7, 'pins');
    let seen = '';
    await on.wait(during(0));
    for (const _ of levels) {
      seen += await output(on);
      await on.wait(839n); // a clock
    }
    expect(seen).toBe(levels);
    await on.write(0, 0, 'pins'); // falls: nothing
    expect(await output(on)).toBe(1);
  });

  test.for([
    [0, 0],
    [1, 1],
    [2, 1],
    [3, 1],
    [4, 1],
    [5, 1],
  ] as const)('in mode %i is %i after the control word', async ([mode, level]) => {
    await using on = await inlineDevice(i8254);
    await on.write(PORT.CONTROL, 0x30 | (mode << 1));
    expect(await output(on)).toBe(level);
  });

  test.for([2, 3])('in mode %i is high while the gate is low, and begins again when it rises', async (mode) => {
    await using on = await programmed({ mode, count: 4 });
    await on.to(3);
    expect(await output(on)).toBe(0);
    await on.write(0, 0, 'pins');
    expect(await output(on)).toBe(1);
    await on.wait(1_000_000n);
    await on.write(0, 7, 'pins');
    expect(await countOf(on)).toBe(4);
  });
});

describe('the count', () => {
  test.for([
    [0, 4, [4, 3, 2, 1, 0, 0xffff, 0xfffe]],
    [2, 4, [4, 3, 2, 1, 4, 3]],
    [3, 4, [4, 2, 4, 2, 4]],
    [3, 5, [5, 2, 0, 4, 2, 4, 2]],
    [4, 2, [2, 1, 0, 0xffff]],
  ] as const)('in mode %i from %i goes down', async ([mode, count, values]) => {
    await using on = await programmed({ mode, count });
    const seen: number[] = [];
    for (const [clock] of values.entries()) {
      await on.to(clock);
      seen.push(await countOf(on));
    }
    expect(seen).toEqual(values);
  });

  test('of zero is the largest', async () => {
    await using on = await programmed({ mode: 2, count: 0 });
    await on.to(1);
    expect(await countOf(on)).toBe(0xffff);
  });

  test('is decimal in BCD', async () => {
    await using on = await programmed({ mode: 0, count: 0x1000, bcd: 1 });
    await on.to(1);
    expect(await countOf(on)).toBe(0x0999);
    await on.to(1000);
    expect([await countOf(on), await output(on)]).toEqual([0, 1]);
    await on.to(1001);
    expect(await countOf(on)).toBe(0x9999);
  });

  test('of zero in BCD is ten thousand', async () => {
    await using on = await programmed({ mode: 2, count: 0, bcd: 1 });
    await on.to(1);
    expect(await countOf(on)).toBe(0x9999);
    await on.to(10_001);
    expect(await countOf(on)).toBe(0x9999);
  });

  test('stands while the gate is low', async () => {
    await using on = await programmed({ mode: 0, count: 100 });
    await on.to(10);
    await on.write(0, 0, 'pins');
    await on.migrate(); // held
    await on.wait(5_000_000n);
    expect(await countOf(on)).toBe(90);
    await on.write(0, 7, 'pins');
    await on.wait(during(20) - during(10));
    expect(await countOf(on)).toBe(80);
  });

  test('stops at the first byte of a new one in mode 0', async () => {
    await using on = await programmed({ mode: 0, count: 10 });
    await on.to(20);
    expect(await output(on)).toBe(1);
    await on.write(PORT.COUNTER0, 5);
    expect(await output(on)).toBe(0);
    await on.wait(5_000_000n);
    expect(await output(on)).toBe(0);
    await on.write(PORT.COUNTER0, 0);
    await on.wait(during(5));
    expect(await output(on)).toBe(1);
  });

  test.for([
    [1, 0x34, 0x34],
    [2, 0x34, 0x3400],
  ] as const)('by access %i is one byte', async ([access, byte, count]) => {
    await using on = await inlineDevice(i8254);
    await on.write(PORT.CONTROL, (access << 4) | 0x04);
    await on.write(PORT.COUNTER0, byte);
    expect(await on.read(PORT.COUNTER0)).toBe(byte);
    await on.wait(during(count + 1));
    expect(await on.read(PORT.COUNTER0)).toBe(access === 1 ? count - 1 : (count - 1) >> 8);
  });
});

describe('latching', () => {
  test('keeps a count until both bytes are read, and takes no other', async () => {
    await using on = await programmed({ mode: 2, count: 0x1234 });
    await on.to(0x10);
    await on.write(PORT.CONTROL, 0);
    await on.to(0x20);
    await on.write(PORT.CONTROL, 0);
    expect([await on.read(0), await on.read(0)]).toEqual([0x24, 0x12]);
    expect([await on.read(0), await on.read(0)]).toEqual([0x14, 0x12]); // the live count
  });

  test('reads back status before count, of all counters asked for', async () => {
    await using on = await programmed({ mode: 3, count: 0x1234, counter: 2 });
    await on.write(PORT.CONTROL, 0x14); // counter 0, low byte, mode 2: no count yet
    await on.write(PORT.CONTROL, 0xc0 | 0x0a); // counters 0 and 2
    expect(await on.read(0)).toBe(0x80 | 0x40 | 0x14);
    expect([await on.read(2), await on.read(2), await on.read(2)]).toEqual([0x80 | 0x36, 0x34, 0x12]);
    await on.write(PORT.CONTROL, 0xe0 | 0x08); // status alone
    expect([await on.read(2), await on.read(2)]).toEqual([0x80 | 0x36, 0x34]);
  });
});

describe('the interrupt', () => {
  test('rises with OUT of counter 0, once in a period', async () => {
    await using on = await programmed({ mode: 2, count: 1000 });
    const before = on.edges();
    await on.to(10_500);
    expect(on.edges() - before).toBe(10);
  });

  test('keeps its times over a migration', async () => {
    await using on = await programmed({ mode: 0, count: 1000 });
    await on.to(400);
    await on.migrate();
    await on.to(999);
    expect(on.irq()).toBe(false);
    await on.to(1000);
    expect(on.irq()).toBe(true);
  });
});

test('a timer in mode 2 that comes from QEMU misses no interrupt', async () => {
  await using blank = await inlineDevice(i8254);
  const { channels, ...rest } = i8254.state.decode((await blank.saved()).bytes, { version: 3 });
  // What QEMU 10.0.2 sends after it was programmed with 4660 at time 0; the 4660th clock comes at 3905524 ns.
  const counter = { ...channels[0]!, count: 4660, mode: 2, access: 3, readState: 3, writeState: 3, writeLatch: 0x34 };
  const nextTransitionNs = 3_906_361n;
  const state = { ...rest, channels: [{ ...counter, nextTransitionNs }, ...channels.slice(1)], nextTransitionNs };
  await using on = await inlineDevice(i8254, { state: i8254.state.encode(state) });
  const before = on.edges();
  await on.wait(3_905_524n);
  expect(on.edges() - before).toBe(1);
  await on.wait(3_905_524n);
  expect(on.edges() - before).toBe(2);
});

test('a count that could not be is refused', async () => {
  await using on = await inlineDevice(i8254);
  const { bytes } = await on.saved();
  new DataView(bytes.buffer, bytes.byteOffset).setInt32(4, 0); // counter 0's
  expect(() => i8254.state.decode(bytes, { version: 3 })).toThrow(/channels\[0\]\/isCount.*count to be 1 to 65536/);
});
