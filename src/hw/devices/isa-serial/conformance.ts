/** A guest that uses everything the UART has, for the conformance suite. */

import type { DeviceConformance, TraceStep } from '../../device.ts';
import { FCR, IER, LCR, MCR, REGISTER } from './registers.ts';

const at = (offset: number) => ({ region: 'registers', offset, size: 1 }) as const;
const write = (offset: number, value: number): TraceStep => ({ write: at(offset), value });
const read = (offset: number): TraceStep => ({ read: at(offset) });
/** Everything a guest can see without taking a character. */
const look: readonly TraceStep[] = [REGISTER.IIR, REGISTER.LSR, REGISTER.MSR, REGISTER.IIR].map(read);
const dlab = [write(REGISTER.LCR, LCR.DLAB)];

/** See the header. */
export const CONFORMANCE: DeviceConformance = {
  registers: [
    { name: 'THR', ...at(REGISTER.DATA), stateless: 'what is sent leaves at once' },
    { name: 'DLL', ...at(REGISTER.DATA), before: dlab },
    { name: 'IER', ...at(REGISTER.IER) },
    { name: 'DLM', ...at(REGISTER.IER), before: dlab },
    { name: 'FCR', ...at(REGISTER.FCR) },
    { name: 'LCR', ...at(REGISTER.LCR) },
    { name: 'MCR', ...at(REGISTER.MCR) },
    { name: 'LSR', ...at(REGISTER.LSR), stateless: 'read only' },
    { name: 'MSR', ...at(REGISTER.MSR), stateless: 'read only' },
    { name: 'SCR', ...at(REGISTER.SCR) },
  ],
  trace: [
    ...look,
    write(REGISTER.LCR, LCR.DLAB | 3),
    write(REGISTER.DATA, 1),
    write(REGISTER.IER, 0),
    read(REGISTER.DATA),
    write(REGISTER.LCR, 3),
    write(REGISTER.IER, IER.ALL),
    ...look,
    write(REGISTER.MCR, MCR.LOOPBACK | MCR.RTS | MCR.OUT1),
    write(REGISTER.DATA, 0x55),
    write(REGISTER.DATA, 0x56), // overrun
    ...look,
    read(REGISTER.DATA),
    ...look,
    write(REGISTER.FCR, FCR.ENABLE | (1 << FCR.TRIGGER_SHIFT)),
    write(REGISTER.DATA, 0x61),
    ...look,
    { waitNs: 300_000n }, // less than four characters
    ...look,
    write(REGISTER.DATA, 0x62),
    { waitNs: 400_000n }, // more: the timeout interrupts
    ...look,
    read(REGISTER.DATA),
    ...look,
    ...Array.from({ length: 17 }, (_, nth) => write(REGISTER.DATA, nth)), // one too many
    ...look,
    ...Array.from({ length: 15 }, () => read(REGISTER.DATA)),
    { waitNs: 500_000n },
    ...look,
    write(REGISTER.FCR, FCR.ENABLE | FCR.RESET_RECEIVER),
    ...look,
    write(REGISTER.MCR, 0),
    write(REGISTER.DATA, 0x77),
    ...look,
    write(REGISTER.SCR, 0xa5),
    { reset: true },
    ...look,
    read(REGISTER.SCR),
  ],
  // Nothing in the section changed with version 3: the UART inside has a version of its own.
  older: { 2: '000c 00 02 02 03 0b 60 b0 5a 00' },
};
