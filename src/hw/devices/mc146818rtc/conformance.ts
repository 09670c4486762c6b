/** A guest that uses everything the clock has, for the conformance suite. */

import type { DeviceConformance, TraceStep } from '../../device.ts';
import { A, ANY, B, PORT, REGISTER } from './registers.ts';

const at = (offset: number) => ({ region: 'registers', offset, size: 1 }) as const;
const select = (register: number): TraceStep => ({ write: at(PORT.INDEX), value: register });
const set = (register: number, value: number): readonly TraceStep[] => [
  select(register),
  { write: at(PORT.DATA), value },
];
const get = (register: number): readonly TraceStep[] => [select(register), { read: at(PORT.DATA) }];
const time = [REGISTER.SECONDS, REGISTER.MINUTES, REGISTER.HOURS, REGISTER.DAY, REGISTER.CENTURY].flatMap(get);
const look = [...get(REGISTER.A), ...get(REGISTER.SECONDS), ...get(REGISTER.C), ...get(REGISTER.C)];
const MS = 1_000_000n;
const READ_ONLY: readonly number[] = [REGISTER.C, REGISTER.D];

/** See the header. */
export const CONFORMANCE: DeviceConformance = {
  registers: [
    { name: 'index', ...at(PORT.INDEX) },
    ...Object.entries(REGISTER).map(([name, register]) => ({
      name,
      ...at(PORT.DATA),
      // The day of the week follows from the date, except while the clock is being set.
      before: [...(register === REGISTER.DAY_OF_WEEK ? set(REGISTER.B, B.HOURS_24 | B.SET) : []), select(register)],
      // A date that is another.
      poke: register === REGISTER.DAY_OF_WEEK ? 0 : 0x77,
      ...(READ_ONLY.includes(register) ? { stateless: 'read only' } : {}),
    })),
    { name: 'RAM', ...at(PORT.DATA), before: [select(0x40)] },
  ],
  trace: [
    ...time,
    { waitNs: 999_900_000n }, // an update is near
    ...look,
    { waitNs: 200_000n },
    ...look,
    ...set(REGISTER.B, B.HOURS_24 | B.SET),
    ...set(REGISTER.SECONDS, 0x58),
    ...set(REGISTER.MINUTES, 0x59),
    ...set(REGISTER.HOURS, 0x23),
    { waitNs: 1500n * MS }, // it stands
    ...time,
    ...set(REGISTER.SECONDS_ALARM, 0x01),
    ...set(REGISTER.MINUTES_ALARM, 0x00),
    ...set(REGISTER.HOURS_ALARM, ANY),
    ...set(REGISTER.B, B.HOURS_24 | B.UPDATE | B.ALARM),
    { waitNs: 1000n * MS },
    ...look,
    { waitNs: 2000n * MS },
    ...look,
    ...time,
    ...set(REGISTER.B, B.BINARY),
    ...time,
    ...set(REGISTER.A, 0x20 | 8), // 256 Hz
    ...set(REGISTER.B, B.HOURS_24 | B.PERIODIC),
    { waitNs: 5n * MS },
    ...look,
    { waitNs: 1n * MS },
    ...look,
    ...set(REGISTER.A, A.DIVIDER_RESET | 8),
    { waitNs: 700n * MS },
    ...look,
    ...set(REGISTER.A, A.PRESET),
    { waitNs: 499n * MS },
    ...look,
    { waitNs: 2n * MS },
    ...look,
    ...set(0x40, 0x5a),
    { reset: true },
    ...get(0x40),
    ...get(REGISTER.B),
    ...look,
  ],
  older: {
    1: `${older()} ffffffffffffffff 0000000000000000 ${'00'.repeat(24)}`,
    2: `${older()} 00000000000f4240 00000000000f4240 ${'00'.repeat(24)} 00000000 00000020`,
  },
};

/** Registers, index and unused space, as all versions have them: 2026-01-02 03:04:05. */
function older(): string {
  const registers = '05 00 04 00 03 00 06 02 01 26 26 42 00 80';
  return `${registers} ${'00'.repeat(0x32 - 14)} 20 ${'00'.repeat(0x80 - 0x33)} 0a ${'00'.repeat(28)}`;
}
