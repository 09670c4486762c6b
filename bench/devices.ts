/**
 * What does a device cost? Encoding and decoding its state, in the thread that has it, and starting, saving and loading
 * many devices, each in a thread of its own.
 */

import { enableCompileCache } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../src/base/log.ts';
import { field, vmstate } from '../src/hw/device.ts';
import { DeviceSet } from '../src/hw/device-set.ts';
import { RamBlock } from '../src/hw/ram.ts';
import { stateMemory } from '../src/hw/state-memory.ts';
import { SharedTime } from '../src/hw/virtual-time.ts';
import fourKib from './support/four-kib-device.ts';
import { msPerCall, valueBench } from './support/values.ts';

const DEVICES = 64;
const BUFFER_BYTES = 300 * 1024 ** 2;
const GIGA = 1e9;
const RAM_BYTES = 1024 ** 2;
const FOUR_KIB_MODULE = new URL('support/four-kib-device.ts', import.meta.url).href;

/** The benchmark behind `npm run bench -- devices`. */
export const devicesBench = valueBench({
  question: 'the state of a device as bytes and back; 64 devices in 64 threads',
  rows: {
    'state-100-fields': { unit: 'µs', bar: { atMost: 20 }, measure: hundredFieldsMicroseconds },
    'buffer-300MiB-encode': { unit: 'GB/s', bar: { atLeast: 5 }, measure: () => encodeSpeed() },
    'buffer-300MiB-decode': { unit: 'GB/s', bar: { atLeast: 5 }, measure: () => decodeSpeed() },
    '64-devices-setup': { unit: 'ms', bar: { atMost: 1500 }, measure: async () => (await manyDevices()).setupMs },
    '64-devices-save-load': { unit: 'ms', bar: { atMost: 150 }, measure: async () => (await manyDevices()).saveLoadMs },
  },
});

const hundredFields = vmstate({
  name: 'hundred-fields',
  version: 1,
  fields: {
    ...numbered(40, 'u32', field.u32),
    ...numbered(20, 'u8', field.u8),
    ...numbered(10, 'u16', field.u16),
    ...numbered(10, 'u64', field.u64),
    ...numbered(10, 'bool', field.bool),
    ...numbered(5, 'timer', field.timer),
    ...numbered(5, 'fifo', field.buffer(16)),
  },
});

/** `count` fields of one kind under numbered names. */
function numbered<F>(count: number, name: string, kind: F): Readonly<Record<string, F>> {
  return Object.fromEntries(Array.from({ length: count }, (_, n) => [`${name}-${n}`, kind]));
}

/** One encode and one decode. */
function hundredFieldsMicroseconds(): number {
  const state = hundredFields.decode(hundredFields.encode(zeroState()), { version: 1 });
  const place = { version: 1 };
  return msPerCall(() => void hundredFields.decode(hundredFields.encode(state), place)) * 1000;
}

/** Every field has its kind's zero. */
function zeroState(): never {
  return hundredFields.codec.zero() as never; // the type of 100 computed names is of no use here
}

const large = vmstate({ name: 'large', version: 1, fields: { bytes: field.buffer(BUFFER_BYTES) } });
let largeState: { bytes: Uint8Array } | undefined;
let largeBytes: Uint8Array | undefined;

/** One encode as in a migration: into memory that the device's thread made ready when the migration began. */
function encodeSpeed(): number {
  largeState ??= { bytes: new Uint8Array(BUFFER_BYTES).fill(1) };
  const prepared = stateMemory(BUFFER_BYTES);
  const startMs = performance.now();
  large.encode(largeState, prepared);
  return BUFFER_BYTES / ((performance.now() - startMs) / 1000) / GIGA;
}

/** One decode as in a migration, of bytes that have come to the device's thread: the device gets a view of them. */
function decodeSpeed(): number {
  largeBytes ??= new Uint8Array(BUFFER_BYTES).fill(1);
  const startMs = performance.now();
  large.decode(largeBytes, { version: 1 });
  return BUFFER_BYTES / ((performance.now() - startMs) / 1000) / GIGA;
}

// As bin/switchover.js does, for worker threads too: compiled code of modules is kept from one run to the next.
process.env['NODE_COMPILE_CACHE'] ??= join(tmpdir(), 'node-compile-cache');
enableCompileCache();

/** Starts 64 devices, saves and loads all of them at once, and ends them. */
async function manyDevices(): Promise<{ setupMs: number; saveLoadMs: number }> {
  const ram = RamBlock.create({ name: 'ram', length: RAM_BYTES });
  const configs = Array.from({ length: DEVICES }, (_, n) => ({
    id: `device${n}`,
    module: FOUR_KIB_MODULE,
    definition: fourKib,
    properties: {},
  }));
  const start = performance.now();
  const time = new SharedTime().share;
  await using set = await DeviceSet.create({
    ...{ configs, ram: ram.share, resourceBytes: 0, time },
    log: silentLogger,
  });
  const ready = performance.now();
  const saved = await Promise.all(set.devices.map(({ thread }) => thread.save()));
  await Promise.all(
    set.devices.map(({ thread }, n) => {
      const bytes = new Uint8Array(saved[n]?.bytes ?? []);
      return thread.load({ bytes, version: 1 });
    }),
  );
  return { setupMs: ready - start, saveLoadMs: performance.now() - ready };
}
