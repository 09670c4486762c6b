/** The block device towards its driver: registers, features, requests, malformed queues, and what travels in its state. */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import virtioBlk from '../../../src/hw/devices/virtio-blk/device.ts';
import { FEATURE, INTERRUPT, REGISTER, REQUEST, RESULT, STATUS } from '../../../src/hw/devices/virtio-blk/registers.ts';
import { VIRTIO_BLK_STATE, type VirtioBlkState } from '../../../src/hw/devices/virtio-blk/state.ts';
import { GuestWorld, InlineMachine } from '../../../src/kit/inline-machine.ts';
import { type DriverRequest, OK, readRequest, VirtioDriver, writeRequest } from '../../support/virtio-driver.ts';
import { turnUntil } from '../../support/watched-vm.ts';

const SECTORS = 64;
const CONTENT = Uint8Array.from({ length: SECTORS * 512 }, (_, index) => (index * 31 + (index >> 9)) & 0xff);
const MS = 1_000_000n;
const at = (offset: number, size: 1 | 2 | 4 = 4) => ({ region: 'registers', offset, size });

/** A machine with the device on an image of its own, and a driver that is set up. */
async function machine(properties: Readonly<Record<string, string>> = {}) {
  let file = '';
  const inFolder = async (folder: string) => {
    file = join(folder, 'disk.raw');
    await writeFile(file, CONTENT);
    return { file, ...properties };
  };
  const conformance = { registers: [], trace: [], properties: inFolder };
  const world = await GuestWorld.create({ ...virtioBlk, conformance });
  const running = await InlineMachine.create(world);
  const driver = new VirtioDriver(placeOf(running, world));
  await driver.setUp();
  return {
    world,
    running,
    driver,
    file,
    read: (offset: number, size: 1 | 2 | 4 = 4) => running.perform({ read: at(offset, size) }),
    write: (offset: number, value: number) => running.perform({ write: at(offset), value }),
    saved: async () => VIRTIO_BLK_STATE.decode((await running.stopAndSave()).bytes, { version: 1 }),
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}

function placeOf(running: InlineMachine, { ram }: GuestWorld) {
  return {
    ram,
    read: async (offset: number) => (await running.perform({ read: at(offset) }))!,
    write: (offset: number, value: number) => running.perform({ write: at(offset), value }),
  };
}

async function completed(driver: VirtioDriver, requests: readonly DriverRequest[]) {
  await driver.submit(requests);
  await turnUntil(() => driver.usedIndex >= requests.length);
  return driver.collect();
}

describe('its registers', () => {
  test('tell a virtio 1 block device with its capacity', async () => {
    await using on = await machine();
    expect(await on.read(REGISTER.MAGIC)).toBe(0x7472_6976);
    expect(await on.read(REGISTER.VERSION)).toBe(2);
    expect(await on.read(REGISTER.DEVICE_ID)).toBe(2);
    expect(await on.read(REGISTER.QUEUE_SIZE_MAX)).toBe(128);
    expect(await on.read(REGISTER.CONFIG)).toBe(SECTORS);
    expect(await on.read(REGISTER.CONFIG + 4)).toBe(0);
    expect(await on.read(REGISTER.CONFIG + 12)).toBe(126);
    expect(await on.read(REGISTER.CONFIG + 20, 2)).toBe(512);
    expect(await on.read(REGISTER.SHARED_MEMORY_LENGTH)).toBe(0xffff_ffff);
  });

  test('know no queue but the first', async () => {
    await using on = await machine();
    await on.write(REGISTER.QUEUE_SELECT, 1);
    expect(await on.read(REGISTER.QUEUE_SIZE_MAX)).toBe(0);
    expect(await on.read(REGISTER.QUEUE_READY)).toBe(0);
  });

  test('accept the features of virtio 1 that were offered, and no others', async () => {
    await using on = await machine({ readonly: 'on' });
    expect(await on.read(REGISTER.DEVICE_FEATURES)).toBe(
      Number(FEATURE.READ_ONLY | FEATURE.FLUSH | FEATURE.BLOCK_SIZE | FEATURE.SEGMENTS_MAX),
    );
    const accepted = async (features: bigint) => {
      await on.driver.setUp(features);
      return ((await on.read(REGISTER.STATUS))! & STATUS.FEATURES_OK) !== 0;
    };
    expect(await accepted(FEATURE.VERSION_1 | FEATURE.FLUSH)).toBe(true);
    expect(await accepted(FEATURE.FLUSH)).toBe(false);
    expect(await accepted(FEATURE.VERSION_1 | (1n << 28n))).toBe(false); // indirect descriptors
  });

  test('keep the queue as it is once it is ready', async () => {
    await using on = await machine();
    await on.write(REGISTER.QUEUE_SIZE, 4);
    expect((await on.saved()).queue).toMatchObject({ size: 128, ready: true });
  });

  test('do not let a queue be ready whose size is no power of two', async () => {
    await using on = await machine();
    await on.write(REGISTER.QUEUE_READY, 0);
    await on.write(REGISTER.QUEUE_SIZE, 100);
    await on.write(REGISTER.QUEUE_READY, 1);
    expect(await on.read(REGISTER.QUEUE_READY)).toBe(0);
  });
});

describe('a request', () => {
  test('reads what is in the image and marks the pages', async () => {
    await using on = await machine();
    on.world.ram.syncDirty();
    const [done] = await completed(on.driver, [readRequest(5, 3)]);
    expect(done).toMatchObject({ result: OK, written: 3 * 512 + 1 });
    expect(done!.answer).toEqual(CONTENT.slice(5 * 512, 8 * 512));
    expect(on.world.ram.syncDirty()).toBe(4); // what the driver wrote on three, and the device on the used ring's
    expect(await on.read(REGISTER.INTERRUPT_STATUS)).toBe(INTERRUPT.USED_BUFFER);
    expect(on.running.irqs.level(0)).toBe(true);
    await on.write(REGISTER.INTERRUPT_ACKNOWLEDGE, INTERRUPT.USED_BUFFER);
    expect(on.running.irqs.level(0)).toBe(false);
  });

  test('writes to the image', async () => {
    await using on = await machine();
    const data = new Uint8Array(1024).fill(0x5a);
    const done = await completed(on.driver, [writeRequest(62, data), { type: REQUEST.FLUSH }]);
    expect(done.map(({ result }) => result)).toEqual([OK, OK]);
    expect(await readFile(on.file)).toEqual(Buffer.concat([CONTENT.slice(0, 62 * 512), data]));
  });

  test('for the identity gets its id', async () => {
    await using on = await machine();
    const [done] = await completed(on.driver, [{ type: REQUEST.GET_ID, answerBytes: 20 }]);
    expect(done).toMatchObject({ result: OK, answer: new Uint8Array(Buffer.from('virtio-blk'.padEnd(20, '\0'))) });
  });

  test.each([
    ['that reads beyond the end', readRequest(SECTORS - 1, 2), RESULT.IO_ERROR],
    ['that writes beyond the end', writeRequest(SECTORS, new Uint8Array(512)), RESULT.IO_ERROR],
    ['of half a sector', { type: REQUEST.IN, sector: 0, answerBytes: 256 }, RESULT.IO_ERROR],
    ['of an unknown type', { type: 99 }, RESULT.UNSUPPORTED],
  ] as const)('%s fails to the guest', async (_which, request, result) => {
    await using on = await machine();
    expect(await completed(on.driver, [request])).toMatchObject([{ result, written: 1 }]);
    expect(Buffer.compare(await readFile(on.file), CONTENT)).toBe(0);
  });

  test('that writes to a read-only image fails to the guest', async () => {
    await using on = await machine({ readonly: 'on' });
    expect(await completed(on.driver, [writeRequest(0, new Uint8Array(512))])).toMatchObject([
      { result: RESULT.IO_ERROR },
    ]);
  });

  test('raises no interrupt for a driver that wants none', async () => {
    await using on = await machine();
    await on.driver.submit([readRequest(0, 1)], { interrupt: false });
    await turnUntil(() => on.driver.usedIndex === 1);
    expect(await on.read(REGISTER.INTERRUPT_STATUS)).toBe(0);
  });

  test('begins when its latency is over', async () => {
    await using on = await machine({ latency: '5ms' });
    await on.driver.submit([readRequest(0, 1)]);
    await on.running.perform({ waitNs: 4n * MS });
    expect((await on.running.saved()).described).toMatchObject({ vmsd_name: 'virtio-blk' });
    expect(on.driver.usedIndex).toBe(0);
    await on.running.perform({ waitNs: 1n * MS });
    await turnUntil(() => on.driver.usedIndex === 1);
  });

  test('that a reset overtakes does not reach the guest', async () => {
    await using on = await machine();
    await on.driver.submit([readRequest(0, 1), readRequest(1, 1)]);
    await on.write(REGISTER.STATUS, 0);
    const before = Buffer.from(on.world.ram.bytes);
    expect(await on.saved()).toMatchObject({ inFlight: [], queue: { ready: false, nextUsed: 0 } });
    expect(before.equals(on.world.ram.bytes)).toBe(true);
  });
});

describe('a queue that makes no sense asks for a reset:', () => {
  const store = (on: Awaited<ReturnType<typeof machine>>, address: number, ...bytes: number[]) =>
    on.world.ram.write(address, Uint8Array.from(bytes));
  const DESCRIPTOR = 0x1000;
  const AVAILABLE = 0x2000;
  type Broken = (on: Awaited<ReturnType<typeof machine>>) => void;
  test.each<[string, Broken]>([
    ['more chains than descriptors', (on) => store(on, AVAILABLE + 2, 129, 0)],
    ['a chain that the table has not', (on) => store(on, AVAILABLE + 2, 1, 0, 128, 0)],
    [
      'a chain in a circle',
      (on) => {
        store(on, DESCRIPTOR, 0, 0x80, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0);
        store(on, AVAILABLE + 2, 1, 0, 0, 0);
      },
    ],
    [
      'a buffer outside RAM',
      (on) => {
        store(on, DESCRIPTOR, 0, 0, 0, 0, 0, 1, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0);
        store(on, AVAILABLE + 2, 1, 0, 0, 0);
      },
    ],
    [
      'a chain without a result byte',
      (on) => {
        store(on, DESCRIPTOR, 0, 0x80, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0);
        store(on, AVAILABLE + 2, 1, 0, 0, 0);
      },
    ],
    [
      'an indirect descriptor',
      (on) => {
        store(on, DESCRIPTOR, 0, 0x80, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 4, 0, 0, 0);
        store(on, AVAILABLE + 2, 1, 0, 0, 0);
      },
    ],
  ])('%s', async (_what, breakIt) => {
    await using on = await machine();
    breakIt(on);
    await on.write(REGISTER.QUEUE_NOTIFY, 0);
    expect((await on.read(REGISTER.STATUS))! & STATUS.NEEDS_RESET).toBe(STATUS.NEEDS_RESET);
    expect(await on.read(REGISTER.INTERRUPT_STATUS)).toBe(INTERRUPT.CONFIGURATION);
    await on.driver.setUp();
    expect((await on.read(REGISTER.STATUS))! & STATUS.NEEDS_RESET).toBe(0);
  });
});

describe('when the machine stops', () => {
  const requests = [readRequest(1, 1), readRequest(2, 1), writeRequest(3, new Uint8Array(512))];

  test('requests that have not begun are kept, in order, with their time', async () => {
    await using on = await machine({ latency: '5ms' });
    await on.driver.submit(requests);
    const dueNs = 5n * MS;
    const inFlight = [0, 4, 8].map((head) => ({ head, dueNs }));
    expect(await on.saved()).toMatchObject({ inFlight, queue: { nextAvailable: 3, nextUsed: 0 } });
    expect(on.driver.usedIndex).toBe(0);
  });

  test('requests that have begun are finished first', async () => {
    await using on = await machine({ depth: '2' });
    await on.driver.submit(requests);
    expect(await on.saved()).toMatchObject({ inFlight: [{ head: 8 }], queue: { nextUsed: 2 } });
    expect(on.driver.collect().map(({ result }) => result)).toEqual([OK, OK]);
  });

  test('with inflight=drain all are', async () => {
    await using on = await machine({ latency: '5ms', depth: '1', inflight: 'drain' });
    await on.driver.submit(requests);
    expect(await on.saved()).toMatchObject({ inFlight: [], queue: { nextUsed: 3 } });
    expect(on.driver.collect()).toHaveLength(3);
  });

  test('and goes on here, they are executed, once', async () => {
    await using on = await machine({ depth: '1' });
    await on.driver.submit(requests);
    await on.running.saved();
    await turnUntil(() => on.driver.usedIndex === 3);
    expect(on.driver.collect().map(({ result }) => result)).toEqual([OK, OK, OK]);
    expect(on.driver.inFlight).toBe(0);
  });
});

describe('a state', () => {
  test.each<[string, Partial<VirtioBlkState>, RegExp]>([
    ['of an image of another size', { sectors: 63n }, /the image has 64 sectors, the source's has 63/],
    ['with features that are not offered', { driverFeatures: FEATURE.VERSION_1 | 1n }, /features 0x100000001/],
    ['with a request that is none of the queue', { inFlight: [{ head: 128, dueNs: 0n }] }, /none of the queue/],
  ])('%s is refused', async (_what, change, why) => {
    await using on = await machine();
    const bytes = VIRTIO_BLK_STATE.encode({ ...(await on.saved()), ...change });
    await expect(InlineMachine.create(on.world, { bytes })).rejects.toThrow(why);
  });

  test('with a ready queue of an impossible size is refused', async () => {
    await using on = await machine();
    const state = await on.saved();
    const bytes = VIRTIO_BLK_STATE.encode({ ...state, queue: { ...state.queue, size: 3 } });
    await expect(InlineMachine.create(on.world, { bytes })).rejects.toThrow(/queue of 3 descriptors cannot be ready/);
  });
});

test('without an image there is no device', async () => {
  await expect(machine({ file: '' })).rejects.toThrow(/needs the property file/);
  await expect(machine({ file: '/nowhere/disk.raw' })).rejects.toThrow(/'virtio-blk' failed in 'create'.*ENOENT/);
});
