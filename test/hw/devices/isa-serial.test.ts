/** The UART does what the data sheet of the 16550A says, register by register. */

import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import serial from '../../../src/hw/devices/isa-serial/device.ts';
import { FCR, IER, IIR, LCR, LSR, MCR, MSR, REGISTER } from '../../../src/hw/devices/isa-serial/registers.ts';
import { type InlineDevice, inlineDevice } from '../../support/inline-device.ts';
import { tempDir } from '../../support/temp.ts';

const EMPTY = LSR.HOLDING_EMPTY | LSR.TRANSMITTER_EMPTY;
/** Four characters of ten bits at 115200 bits per second. */
const TIMEOUT_NS = 347_220n;

/** In loopback, 115200 bits per second, eight bits, no parity. */
async function loopback(): Promise<InlineDevice> {
  const on = await inlineDevice(serial);
  await on.write(REGISTER.LCR, LCR.DLAB | 3);
  await on.write(REGISTER.DATA, 1);
  await on.write(REGISTER.LCR, 3);
  await on.write(REGISTER.MCR, MCR.LOOPBACK);
  return on;
}

async function send(on: InlineDevice, ...bytes: number[]): Promise<void> {
  for (const byte of bytes) await on.write(REGISTER.DATA, byte);
}

describe('registers', () => {
  test('at power-on', async () => {
    await using on = await inlineDevice(serial);
    expect(await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map((offset) => on.read(offset)))).toEqual([
      0,
      0,
      IIR.NONE,
      0,
      MCR.OUT2,
      EMPTY,
      MSR.DCD | MSR.DSR | MSR.CTS,
      0,
    ]);
    expect(on.irq()).toBe(false);
  });

  test.for([
    ['IER', REGISTER.IER, 0x0f],
    ['LCR', REGISTER.LCR, 0xff],
    ['MCR', REGISTER.MCR, 0x1f],
    ['SCR', REGISTER.SCR, 0xff],
    ['LSR', REGISTER.LSR, EMPTY],
  ] as const)('%s keeps the bits it has', async ([, offset, kept]) => {
    await using on = await inlineDevice(serial);
    await on.write(offset, 0xff);
    expect(await on.read(offset)).toBe(kept);
  });

  test('the divisor is behind DLAB', async () => {
    await using on = await inlineDevice(serial);
    await on.write(REGISTER.LCR, LCR.DLAB);
    await on.write(REGISTER.DATA, 0x34);
    await on.write(REGISTER.IER, 0x12);
    expect([await on.read(REGISTER.DATA), await on.read(REGISTER.IER)]).toEqual([0x34, 0x12]);
    await on.write(REGISTER.LCR, 0);
    expect([await on.read(REGISTER.DATA), await on.read(REGISTER.IER)]).toEqual([0, 0]);
  });

  test('in loopback the modem lines are the control lines', async () => {
    await using on = await loopback();
    for (const [output, input] of [
      [MCR.DTR, MSR.DSR],
      [MCR.RTS, MSR.CTS],
      [MCR.OUT1, MSR.RI],
      [MCR.OUT2, MSR.DCD],
    ] as const) {
      await on.write(REGISTER.MCR, MCR.LOOPBACK | output);
      expect(await on.read(REGISTER.MSR)).toBe(input);
    }
  });
});

describe('without FIFOs', () => {
  test('a character comes and goes', async () => {
    await using on = await loopback();
    await on.write(REGISTER.IER, IER.RECEIVED);
    await send(on, 0x55);
    expect(await on.read(REGISTER.LSR)).toBe(EMPTY | LSR.DATA_READY);
    expect([await on.read(REGISTER.IIR), on.irq()]).toEqual([IIR.RECEIVED, true]);
    expect(await on.read(REGISTER.DATA)).toBe(0x55);
    expect([await on.read(REGISTER.IIR), on.irq()]).toEqual([IIR.NONE, false]);
    expect(await on.read(REGISTER.LSR)).toBe(EMPTY);
  });

  test('a second one overruns the first, which line status tells once', async () => {
    await using on = await loopback();
    await on.write(REGISTER.IER, IER.LINE_STATUS | IER.RECEIVED);
    await send(on, 1, 2);
    expect(await on.read(REGISTER.IIR)).toBe(IIR.LINE_STATUS);
    expect(await on.read(REGISTER.LSR)).toBe(EMPTY | LSR.DATA_READY | LSR.OVERRUN);
    expect(await on.read(REGISTER.LSR)).toBe(EMPTY | LSR.DATA_READY);
    expect(await on.read(REGISTER.IIR)).toBe(IIR.RECEIVED);
    expect(await on.read(REGISTER.DATA)).toBe(2);
  });

  test('the empty transmitter interrupts when it is enabled and after each character, until identified', async () => {
    await using on = await inlineDevice(serial);
    await on.write(REGISTER.IER, IER.TRANSMITTER_EMPTY);
    expect([on.irq(), await on.read(REGISTER.IIR), on.irq()]).toEqual([true, IIR.TRANSMITTER_EMPTY, false]);
    expect(await on.read(REGISTER.IIR)).toBe(IIR.NONE);
    await send(on, 1);
    expect(await on.read(REGISTER.IIR)).toBe(IIR.TRANSMITTER_EMPTY);
    expect(on.edges()).toBe(2);
  });
});

describe('with FIFOs', () => {
  test('IIR says so', async () => {
    await using on = await inlineDevice(serial);
    await on.write(REGISTER.FCR, FCR.ENABLE);
    expect(await on.read(REGISTER.IIR)).toBe(IIR.FIFOS_ENABLED | IIR.NONE);
  });

  test.for([
    [0, 1],
    [1, 4],
    [2, 8],
    [3, 14],
  ] as const)('trigger level %i interrupts at %i characters', async ([level, characters]) => {
    await using on = await loopback();
    await on.write(REGISTER.FCR, FCR.ENABLE | (level << FCR.TRIGGER_SHIFT));
    await on.write(REGISTER.IER, IER.RECEIVED);
    await send(on, ...Array.from({ length: characters - 1 }, (_, nth) => nth));
    expect(on.irq()).toBe(false);
    await send(on, 0xff);
    expect([on.irq(), await on.read(REGISTER.IIR)]).toEqual([true, IIR.FIFOS_ENABLED | IIR.RECEIVED]);
    await on.read(REGISTER.DATA);
    expect(on.irq()).toBe(false);
  });

  test('fewer interrupt after four characters of silence, until one is read', async () => {
    await using on = await loopback();
    await on.write(REGISTER.FCR, FCR.ENABLE | (3 << FCR.TRIGGER_SHIFT));
    await on.write(REGISTER.IER, IER.RECEIVED);
    await send(on, 1);
    await on.wait(TIMEOUT_NS - 1n);
    await send(on, 2); // begins the silence again
    await on.wait(TIMEOUT_NS - 1n);
    expect(on.irq()).toBe(false);
    await on.migrate(); // with its timer
    await on.wait(1n);
    expect([on.irq(), await on.read(REGISTER.IIR)]).toEqual([true, IIR.FIFOS_ENABLED | IIR.TIMEOUT]);
    expect(await on.read(REGISTER.DATA)).toBe(1);
    expect(on.irq()).toBe(false);
    await on.wait(TIMEOUT_NS);
    expect(await on.read(REGISTER.IIR)).toBe(IIR.FIFOS_ENABLED | IIR.TIMEOUT);
  });

  test('the seventeenth character is lost', async () => {
    await using on = await loopback();
    await on.write(REGISTER.FCR, FCR.ENABLE);
    await send(on, ...Array.from({ length: 17 }, (_, nth) => nth + 1));
    expect(await on.read(REGISTER.LSR)).toBe(EMPTY | LSR.DATA_READY | LSR.OVERRUN);
    const read: number[] = [];
    while ((await on.read(REGISTER.LSR)) & LSR.DATA_READY) read.push(await on.read(REGISTER.DATA));
    expect(read).toEqual(Array.from({ length: 16 }, (_, nth) => nth + 1));
  });

  test.for([
    ['reset', FCR.ENABLE | FCR.RESET_RECEIVER],
    ['switched off', 0],
  ] as const)('the receiver, %s, is empty', async ([, control]) => {
    await using on = await loopback();
    await on.write(REGISTER.FCR, FCR.ENABLE);
    await send(on, 1, 2);
    await on.write(REGISTER.FCR, control);
    expect([await on.read(REGISTER.LSR), await on.read(REGISTER.DATA)]).toEqual([EMPTY, 0]);
  });
});

describe('what the guest sends', () => {
  test('is written to the end of the file', async () => {
    await using dir = await tempDir();
    const file = dir.file('out');
    {
      await using on = await inlineDevice(serial, { properties: { file } });
      await send(on, ...Buffer.from('hello '));
      await on.migrate();
      await on.write(REGISTER.FCR, FCR.ENABLE);
      await send(on, ...Buffer.from('world'));
    }
    expect(await readFile(file, 'utf8')).toBe('hello world');
  });

  // As QEMU 10 sends it while the other end of the line takes nothing.
  const STUCK = {
    'without FIFOs': ['000c000201000800b00000 050a73657269616c2f74737200000001 00000001 57 16', [0x16, 0x57]],
    'with FIFOs': [
      '000c0002c1000800b00001 050a73657269616c2f74737200000001 00000001 bb 16' +
        '051073657269616c2f786d69745f6669666f00000001 b0b1b2b3b4b5b6b7b8b9babbacadaeaf 0000000c 00000010',
      [0x16, 0xac, 0xad, 0xae, 0xaf, 0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xbb],
    ],
  } as const;
  test.for(Object.entries(STUCK))(
    'and the source could not get rid of leaves at the start, %s',
    async ([, [hex, sent]]) => {
      await using dir = await tempDir();
      const file = dir.file('out');
      const state = new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
      const { state: schema } = serial;
      expect(schema.encode(schema.decode(state, { version: 3 }))).toEqual(state);
      await using on = await inlineDevice(serial, { properties: { file }, state });
      expect([...(await readFile(file))]).toEqual(sent);
      expect([await on.read(REGISTER.LSR), on.irq()]).toEqual([EMPTY, true]);
    },
  );
});

test('a FIFO that could not be is refused', () => {
  const hex =
    '000c0000c1000861b00001 051073657269616c2f726563765f6669666f00000001 00000000000000000000000000000000 00000010 00000001';
  const state = new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
  expect(() => serial.state.decode(state, { version: 3 })).toThrow(
    /serial\/uart\/recv_fifo\/fifo\/fits.*head below 16/,
  );
});
