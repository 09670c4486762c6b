/** The teaching device does what its description says, register by register. */

import { describe, expect, test } from 'vitest';
import edu from '../../../src/hw/devices/edu/device.ts';
import { BUFFER_START, DMA, REGISTER, STATUS } from '../../../src/hw/devices/edu/registers.ts';
import { GuestWorld, InlineMachine } from '../../../src/kit/inline-machine.ts';

const MS = 1_000_000n;
const at = (offset: number, size: 1 | 2 | 4 = 4) => ({ region: 'registers', offset, size });

async function machine() {
  const world = await GuestWorld.create(edu);
  const running = await InlineMachine.create(world);
  const { ram } = world;
  return {
    ram,
    read: (offset: number, size: 1 | 2 | 4 = 4) => running.perform({ read: at(offset, size) }),
    write: (offset: number, value: number, size: 1 | 2 | 4 = 4) => running.perform({ write: at(offset, size), value }),
    wait: (ms: bigint) => running.perform({ waitNs: ms * MS }),
    reset: () => running.perform({ reset: true }),
    irq: () => running.irqs.level(0),
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}

type Machine = Awaited<ReturnType<typeof machine>>;

async function transfer(on: Machine, [source, destination, count, command]: readonly [number, number, number, number]) {
  await on.write(REGISTER.DMA_SOURCE, source);
  await on.write(REGISTER.DMA_DESTINATION, destination);
  await on.write(REGISTER.DMA_COUNT, count);
  await on.write(REGISTER.DMA_COMMAND, command | DMA.RUN);
}

test('identification says version 1.0 of edu', async () => {
  await using on = await machine();
  expect(await on.read(REGISTER.IDENTIFICATION)).toBe(0x0100_00ed);
});

test('liveness reads back inverted', async () => {
  await using on = await machine();
  await on.write(REGISTER.LIVENESS, 0x1234_5678);
  expect(await on.read(REGISTER.LIVENESS)).toBe(0xedcb_a987);
});

test('registers have four bytes; other widths and unused offsets read as ones and take no stores', async () => {
  await using on = await machine();
  await on.write(REGISTER.LIVENESS, 0xff, 1);
  expect(await on.read(REGISTER.LIVENESS)).toBe(0xffff_ffff);
  expect(await on.read(REGISTER.IDENTIFICATION, 1)).toBe(0xff);
  expect(await on.read(REGISTER.IDENTIFICATION, 2)).toBe(0xffff);
  expect(await on.read(0x40)).toBe(0xffff_ffff);
});

describe('factorial', () => {
  test.each([
    [0, 1],
    [1, 1],
    [5, 120],
    [12, 479_001_600],
    [13, 1_932_053_504], // modulo 2³²
    [33, 2_147_483_648],
    [34, 0],
    [0xffff_ffff, 0],
  ])('of %i is %i', async (of, result) => {
    await using on = await machine();
    await on.write(REGISTER.FACTORIAL, of);
    await on.wait(1n);
    expect(await on.read(REGISTER.FACTORIAL)).toBe(result);
  });

  test('takes its time, says so, and takes no other number meanwhile', async () => {
    await using on = await machine();
    await on.write(REGISTER.FACTORIAL, 5);
    await on.write(REGISTER.FACTORIAL, 6);
    expect(await on.read(REGISTER.STATUS)).toBe(STATUS.COMPUTING);
    expect(await on.read(REGISTER.FACTORIAL)).toBe(5);
    await on.wait(1n);
    expect(await on.read(REGISTER.STATUS)).toBe(0);
    expect(await on.read(REGISTER.FACTORIAL)).toBe(120);
  });

  test('raises an interrupt when it was told to, and only then', async () => {
    await using on = await machine();
    await on.write(REGISTER.FACTORIAL, 5);
    await on.wait(1n);
    expect(on.irq()).toBe(false);
    await on.write(REGISTER.STATUS, 0xffff_ffff); // of its bits one can be set
    await on.write(REGISTER.FACTORIAL, 5);
    await on.wait(1n);
    expect(await on.read(REGISTER.STATUS)).toBe(STATUS.INTERRUPT_WHEN_DONE);
    expect(await on.read(REGISTER.INTERRUPT_STATUS)).toBe(0x001);
    expect(on.irq()).toBe(true);
  });
});

test('interrupts add up, and the line falls when the last is acknowledged', async () => {
  await using on = await machine();
  await on.write(REGISTER.INTERRUPT_RAISE, 0x8000_0001);
  await on.write(REGISTER.INTERRUPT_RAISE, 0x6);
  expect(await on.read(REGISTER.INTERRUPT_STATUS)).toBe(0x8000_0007);
  await on.write(REGISTER.INTERRUPT_ACKNOWLEDGE, 0x7);
  expect(await on.read(REGISTER.INTERRUPT_STATUS)).toBe(0x8000_0000);
  expect(on.irq()).toBe(true);
  await on.write(REGISTER.INTERRUPT_ACKNOWLEDGE, 0x8000_0000);
  expect(on.irq()).toBe(false);
});

describe('DMA', () => {
  test('goes into the buffer and out again, to other pages, which it marks', async () => {
    await using on = await machine();
    const text = new TextEncoder().encode('switchover');
    on.ram.write(0x100, text);
    await transfer(on, [0x100, BUFFER_START + 20, text.length, 0]);
    await on.wait(10n);
    on.ram.syncDirty();
    await transfer(on, [BUFFER_START + 20, 0x4ffe, text.length, DMA.FROM_DEVICE | DMA.INTERRUPT_WHEN_DONE]);
    expect(await on.read(REGISTER.DMA_COMMAND)).toBe(DMA.RUN | DMA.FROM_DEVICE | DMA.INTERRUPT_WHEN_DONE);
    await on.wait(10n);
    expect(on.ram.bytes.slice(0x4ffe, 0x4ffe + text.length)).toEqual(text);
    expect(on.ram.syncDirty()).toBe(2);
    expect(await on.read(REGISTER.DMA_COMMAND)).toBe(DMA.FROM_DEVICE | DMA.INTERRUPT_WHEN_DONE);
    expect(await on.read(REGISTER.INTERRUPT_STATUS)).toBe(0x100);
  });

  test('that runs keeps its registers', async () => {
    await using on = await machine();
    await transfer(on, [0x100, BUFFER_START, 8, 0]);
    await on.write(REGISTER.DMA_SOURCE, 0x999);
    expect(await on.read(REGISTER.DMA_SOURCE)).toBe(0x100);
  });

  test.each([
    ['before the buffer', [0x100, BUFFER_START - 1, 8, 0]],
    ['beyond the buffer', [0x100, BUFFER_START + 4089, 8, 0]],
    ['beyond RAM', [BUFFER_START, 65_530, 8, DMA.FROM_DEVICE]],
  ] as const)('%s copies nothing and ends', async (_where, registers) => {
    await using on = await machine();
    on.ram.write(0, new Uint8Array(65_536).fill(0xaa));
    await transfer(on, registers);
    await on.wait(10n);
    expect(await on.read(REGISTER.DMA_COMMAND)).toBe(registers[3]);
    expect(on.ram.bytes.every((byte) => byte === 0xaa)).toBe(true);
  });

  test('sees the guest addresses that its mask leaves', async () => {
    await using on = await machine();
    on.ram.write(0x100, Uint8Array.of(7));
    await on.write(REGISTER.DMA_SOURCE + 4, 0xffff_ffff);
    await transfer(on, [0x1000_0100, BUFFER_START, 1, 0]);
    await on.wait(10n);
    await transfer(on, [BUFFER_START, 0x200, 1, DMA.FROM_DEVICE]);
    await on.wait(10n);
    expect(on.ram.bytes[0x200]).toBe(0);
    await on.write(REGISTER.DMA_SOURCE + 4, 0);
    await transfer(on, [BUFFER_START, 0x200, 1, DMA.FROM_DEVICE]);
    await on.wait(10n);
    expect(on.ram.bytes[0x200]).toBe(7);
  });
});

test('a reset forgets everything, what runs included', async () => {
  await using on = await machine();
  await on.write(REGISTER.LIVENESS, 1);
  await on.write(REGISTER.STATUS, STATUS.INTERRUPT_WHEN_DONE);
  await on.write(REGISTER.FACTORIAL, 5);
  await transfer(on, [0x100, BUFFER_START, 8, DMA.INTERRUPT_WHEN_DONE]);
  await on.write(REGISTER.INTERRUPT_RAISE, 1);
  await on.reset();
  await on.wait(20n);
  const offsets = [
    REGISTER.FACTORIAL,
    REGISTER.STATUS,
    REGISTER.INTERRUPT_STATUS,
    REGISTER.DMA_SOURCE,
    REGISTER.DMA_COMMAND,
  ];
  expect(await Promise.all(offsets.map((offset) => on.read(offset)))).toEqual([0, 0, 0, 0, 0]);
  expect(on.irq()).toBe(false);
});
