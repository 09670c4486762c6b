/** A guest that uses everything the teaching device has, for the conformance suite. */

import type { DeviceConformance, RegisterAccess } from '../../device.ts';
import { BUFFER_START, DMA, REGISTER, STATUS } from './registers.ts';

const at = (offset: number): RegisterAccess => ({ region: 'registers', offset, size: 4 });
const FACTORIAL_NS = 1_000_000n;
const DMA_NS = 10_000_000n;

const dma = (source: number, destination: number, command: number) =>
  [
    { write: at(REGISTER.DMA_SOURCE), value: source },
    { write: at(REGISTER.DMA_DESTINATION), value: destination },
    { write: at(REGISTER.DMA_COUNT), value: 16 },
    { write: at(REGISTER.DMA_COMMAND), value: command | DMA.RUN },
    { read: at(REGISTER.DMA_COMMAND) },
    { waitNs: DMA_NS / 2n },
    { write: at(REGISTER.DMA_COUNT), value: 1 }, // ignored: a transfer runs
    { waitNs: DMA_NS },
    { read: at(REGISTER.DMA_COMMAND) },
  ] as const;

const acknowledge = [
  { read: at(REGISTER.INTERRUPT_STATUS) },
  { write: at(REGISTER.INTERRUPT_ACKNOWLEDGE), value: 0xffff_ffff },
  { read: at(REGISTER.INTERRUPT_STATUS) },
] as const;

/** See the header. */
export const CONFORMANCE: DeviceConformance = {
  registers: [
    { name: 'identification', ...at(REGISTER.IDENTIFICATION), stateless: 'read only' },
    { name: 'liveness', ...at(REGISTER.LIVENESS) },
    { name: 'factorial', ...at(REGISTER.FACTORIAL) },
    { name: 'status', ...at(REGISTER.STATUS) },
    { name: 'interrupt status', ...at(REGISTER.INTERRUPT_STATUS), stateless: 'read only' },
    { name: 'interrupt raise', ...at(REGISTER.INTERRUPT_RAISE) },
    {
      name: 'interrupt acknowledge',
      ...at(REGISTER.INTERRUPT_ACKNOWLEDGE),
      before: [{ write: at(REGISTER.INTERRUPT_RAISE), value: 5 }],
    },
    ...(['SOURCE', 'DESTINATION', 'COUNT', 'COMMAND'] as const).flatMap((name) => [
      { name: `DMA ${name}, low half`, ...at(REGISTER[`DMA_${name}`]) },
      { name: `DMA ${name}, high half`, ...at(REGISTER[`DMA_${name}`] + 4) },
    ]),
  ],
  trace: [
    { read: at(REGISTER.IDENTIFICATION) },
    { write: at(REGISTER.LIVENESS), value: 0x1234_5678 },
    { read: at(REGISTER.LIVENESS) },
    { write: at(REGISTER.STATUS), value: STATUS.INTERRUPT_WHEN_DONE },
    { write: at(REGISTER.FACTORIAL), value: 10 },
    { read: at(REGISTER.STATUS) },
    { waitNs: FACTORIAL_NS / 2n },
    { write: at(REGISTER.FACTORIAL), value: 3 }, // ignored: it computes
    { read: at(REGISTER.FACTORIAL) },
    { waitNs: FACTORIAL_NS },
    { read: at(REGISTER.FACTORIAL) },
    ...acknowledge,
    { write: at(REGISTER.INTERRUPT_RAISE), value: 0x30 },
    { write: at(REGISTER.INTERRUPT_ACKNOWLEDGE), value: 0x10 },
    { read: at(REGISTER.INTERRUPT_STATUS) },
    { store: 0x1000, bytes: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] },
    ...dma(0x1000, BUFFER_START + 8, DMA.INTERRUPT_WHEN_DONE),
    ...acknowledge,
    ...dma(BUFFER_START, 0x2ff8, DMA.FROM_DEVICE),
    ...dma(BUFFER_START + 4090, 0x2ff8, DMA.FROM_DEVICE), // beyond the buffer: nothing is copied
    { reset: true },
    { read: at(REGISTER.LIVENESS) },
    ...dma(BUFFER_START, 0x1000, DMA.FROM_DEVICE),
  ],
};
