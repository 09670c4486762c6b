/** A guest that uses all counters in all modes, for the conformance suite. */

import type { DeviceConformance, TraceStep } from '../../device.ts';
import { PORT } from './registers.ts';

const at = (offset: number) => ({ region: 'registers', offset, size: 1 }) as const;
const PINS = { region: 'pins', offset: 0, size: 1 } as const;
const write = (offset: number, value: number): TraceStep => ({ write: at(offset), value });
const read = (offset: number): TraceStep => ({ read: at(offset) });
const gates = (value: number): TraceStep => ({ write: PINS, value });

/** Programs a counter with a count of 1000 clocks (838 µs) and looks at it while it runs, is held, and goes on. */
function useOf(counter: number, mode: number, bcd = 0): readonly TraceStep[] {
  const [low, high] = bcd === 0 ? [0xe8, 0x03] : [0x00, 0x10];
  const look: readonly TraceStep[] = [
    write(PORT.CONTROL, 0xc0 | (2 << counter)), // count and status
    read(counter),
    read(counter),
    read(counter),
    { read: PINS },
  ];
  return [
    write(PORT.CONTROL, (counter << 6) | 0x30 | (mode << 1) | bcd),
    ...look,
    write(counter, low!), // both are given
    write(counter, high!),
    ...look,
    { waitNs: 300_000n },
    ...look,
    gates(0),
    { waitNs: 100_000n },
    ...look,
    gates(7),
    { waitNs: 600_000n },
    ...look,
    { waitNs: 400_000n },
    ...look,
  ];
}

/** See the header. */
export const CONFORMANCE: DeviceConformance = {
  registers: [
    { name: 'counter 0', ...at(PORT.COUNTER0) },
    { name: 'counter 1', ...at(PORT.COUNTER1) },
    { name: 'counter 2', ...at(PORT.COUNTER2) },
    { name: 'control word', ...at(PORT.CONTROL), poke: 0x34 },
    { name: 'gates', ...PINS },
  ],
  trace: [
    read(PORT.COUNTER0),
    { waitNs: 60_000_000n }, // a period of the wave at power-on
    gates(7),
    ...useOf(0, 0),
    ...useOf(0, 2),
    ...useOf(0, 3, 1),
    ...useOf(1, 4),
    ...useOf(2, 1),
    ...useOf(2, 5, 1),
    write(PORT.CONTROL, 0x10), // low byte only
    write(PORT.COUNTER0, 9),
    write(PORT.CONTROL, 0x00), // latch
    { waitNs: 1_000_000n },
    read(PORT.COUNTER0),
    read(PORT.COUNTER0),
    write(PORT.CONTROL, 0xa4), // counter 2, high byte only
    write(PORT.COUNTER2, 1),
    read(PORT.COUNTER2),
    { reset: true },
    read(PORT.COUNTER0),
    { read: PINS },
  ],
  // Version 2 had no first field.
  older: {
    2: `${['01', '01', '00']
      .map((gate) => `00010000 0000 00 00 00 00 00 00 00 03 00 ${gate} 0000000000000000 ffffffffffffffff`)
      .join(' ')} ffffffffffffffff`,
  },
};
