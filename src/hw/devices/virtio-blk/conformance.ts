/** A small driver with eight descriptors, one request at a time and three at once, for the conformance suite. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DeviceConformance, RegisterAccess, TraceStep } from '../../device.ts';
import { FEATURE, REGISTER, REQUEST, SECTOR_BYTES, STATUS } from './registers.ts';

const LATENCY_MS = 1;
const LATENCY_NS = 1_000_000n;
const IMAGE_SECTORS = 16;

// Where the driver has its things in guest RAM.
const DESCRIPTORS = 0x1000;
const AVAILABLE = 0x2000;
const USED = 0x3000;
/** A header, a result byte and room for two sectors for each of the driver's requests. */
const REQUESTS = 0x4000;
const REQUEST_BYTES = 0x800;
const QUEUE_SIZE = 8;

const at = (offset: number): RegisterAccess => ({ region: 'registers', offset, size: 4 });
const write = (offset: number, value: number): TraceStep => ({ write: at(offset), value });
const read = (offset: number): TraceStep => ({ read: at(offset) });
const le = (value: number | bigint, bytes: number) =>
  Array.from({ length: bytes }, (_, index) => Number((BigInt(value) >> BigInt(8 * index)) & 0xffn));

const SET_UP: readonly TraceStep[] = [
  write(REGISTER.STATUS, STATUS.ACKNOWLEDGE | STATUS.DRIVER),
  write(REGISTER.DEVICE_FEATURES_SELECT, 1),
  read(REGISTER.DEVICE_FEATURES),
  write(REGISTER.DRIVER_FEATURES, Number(FEATURE.FLUSH)),
  write(REGISTER.DRIVER_FEATURES_SELECT, 1),
  write(REGISTER.DRIVER_FEATURES, Number(FEATURE.VERSION_1 >> 32n)),
  write(REGISTER.STATUS, STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK),
  read(REGISTER.STATUS),
  write(REGISTER.QUEUE_SIZE, QUEUE_SIZE),
  write(REGISTER.QUEUE_DESCRIPTORS, DESCRIPTORS),
  write(REGISTER.QUEUE_DRIVER, AVAILABLE),
  write(REGISTER.QUEUE_DEVICE, USED),
  write(REGISTER.QUEUE_READY, 1),
  write(REGISTER.STATUS, STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK | STATUS.DRIVER_OK),
  read(REGISTER.CONFIG),
];

interface Request {
  readonly type: number;
  readonly sector: number;
  /** Bytes of data: from the guest for OUT, to the guest otherwise. */
  readonly bytes: number;
}

/** Puts a request where chain `slot` has it; the last descriptor of each chain is its result byte. */
function prepare(slot: number, { type, sector, bytes }: Request): TraceStep[] {
  const header = REQUESTS + slot * REQUEST_BYTES;
  const data = header + 0x20;
  const toGuest = type !== REQUEST.OUT;
  const chain = [
    { address: header, length: 16, writable: false },
    ...(bytes === 0 ? [] : [{ address: data, length: bytes, writable: toGuest }]),
    { address: header + 0x10, length: 1, writable: true },
  ];
  const table = chain.flatMap(({ address, length, writable }, index) => {
    const next = index + 1 < chain.length ? 1 : 0;
    return [...le(address, 8), ...le(length, 4), ...le(next | (writable ? 2 : 0), 2), ...le(slot * 3 + index + 1, 2)];
  });
  const pattern = Array.from({ length: toGuest ? 0 : bytes }, (_, index) => (index * 7 + slot + sector) & 0xff);
  return [
    { store: header, bytes: [...le(type, 4), ...le(0, 4), ...le(sector, 8), 0xff] },
    ...(pattern.length === 0 ? [] : [{ store: data, bytes: pattern }]),
    { store: DESCRIPTORS + slot * 3 * 16, bytes: table },
  ];
}

/** Makes requests available, the first as number `first` since the beginning, and sees them done. */
function submit(first: number, requests: readonly Request[]): TraceStep[] {
  const ring = requests.map((_, slot) => ({
    store: AVAILABLE + 4 + 2 * ((first + slot) % QUEUE_SIZE),
    bytes: le(slot * 3, 2),
  }));
  const done = first + requests.length;
  return [
    ...requests.flatMap((request, slot) => prepare(slot, request)),
    ...ring,
    { store: AVAILABLE + 2, bytes: le(done, 2) },
    write(REGISTER.QUEUE_NOTIFY, 0),
    { waitNs: LATENCY_NS / 2n },
    { waitNs: LATENCY_NS, later: true },
    { untilStored: USED + 2, value: done & 0xff },
    read(REGISTER.INTERRUPT_STATUS),
    write(REGISTER.INTERRUPT_ACKNOWLEDGE, 1),
  ];
}

/** See the header. */
export const CONFORMANCE: DeviceConformance = {
  properties: async (folder) => {
    const file = join(folder, 'disk.raw');
    const content = Uint8Array.from({ length: IMAGE_SECTORS * SECTOR_BYTES }, (_, index) => (index >> 4) & 0xff);
    await writeFile(file, content);
    return { file, latency: `${LATENCY_MS}ms`, depth: '1' };
  },
  registers: [
    { name: 'MagicValue', ...at(REGISTER.MAGIC), stateless: 'read only' },
    { name: 'DeviceFeaturesSel', ...at(REGISTER.DEVICE_FEATURES_SELECT) },
    { name: 'DriverFeatures', ...at(REGISTER.DRIVER_FEATURES) },
    { name: 'DriverFeaturesSel', ...at(REGISTER.DRIVER_FEATURES_SELECT) },
    { name: 'QueueSel', ...at(REGISTER.QUEUE_SELECT) },
    { name: 'QueueSize', ...at(REGISTER.QUEUE_SIZE) },
    {
      name: 'QueueReady',
      ...at(REGISTER.QUEUE_READY),
      before: [write(REGISTER.QUEUE_SIZE, QUEUE_SIZE)],
      poke: 1,
    },
    {
      name: 'QueueNotify',
      ...at(REGISTER.QUEUE_NOTIFY),
      before: [
        ...SET_UP,
        ...prepare(0, { type: REQUEST.FLUSH, sector: 0, bytes: 0 }),
        { store: AVAILABLE + 2, bytes: le(1, 2) },
      ],
      poke: 0,
    },
    { name: 'InterruptStatus', ...at(REGISTER.INTERRUPT_STATUS), stateless: 'read only' },
    {
      name: 'InterruptACK',
      ...at(REGISTER.INTERRUPT_ACKNOWLEDGE),
      before: [...SET_UP, ...submit(0, [{ type: REQUEST.FLUSH, sector: 0, bytes: 0 }]).slice(0, -1)],
    },
    { name: 'Status', ...at(REGISTER.STATUS), poke: STATUS.ACKNOWLEDGE },
    ...(['QUEUE_DESCRIPTORS', 'QUEUE_DRIVER', 'QUEUE_DEVICE'] as const).flatMap((area) => [
      { name: `${area}, low half`, ...at(REGISTER[area]) },
      { name: `${area}, high half`, ...at(REGISTER[area] + 4) },
    ]),
  ],
  trace: [
    read(REGISTER.MAGIC),
    ...SET_UP,
    ...submit(0, [{ type: REQUEST.OUT, sector: 3, bytes: 2 * SECTOR_BYTES }]),
    ...submit(1, [{ type: REQUEST.GET_ID, sector: 0, bytes: 20 }]),
    // With eight descriptors the third chain is the last that fits, and the fourth request goes round the ring.
    ...submit(2, [
      { type: REQUEST.IN, sector: 4, bytes: SECTOR_BYTES },
      { type: REQUEST.FLUSH, sector: 0, bytes: 0 },
    ]),
    ...submit(4, [{ type: REQUEST.IN, sector: IMAGE_SECTORS, bytes: SECTOR_BYTES }]), // beyond the end
    ...submit(5, [{ type: 0x7777, sector: 0, bytes: 0 }]), // unknown
    { store: AVAILABLE + 4 + 2 * 6, bytes: le(QUEUE_SIZE, 2) }, // a chain that the table has not
    { store: AVAILABLE + 2, bytes: le(7, 2) },
    write(REGISTER.QUEUE_NOTIFY, 0),
    read(REGISTER.STATUS),
    read(REGISTER.INTERRUPT_STATUS),
    write(REGISTER.STATUS, 0),
    read(REGISTER.QUEUE_READY),
  ],
};
