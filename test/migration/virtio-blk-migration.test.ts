/** Block requests in flight across a migration over shared storage: each completes once, and the data are what they must be. */

import { readFile, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { parseProperties } from '../../src/hw/device-property.ts';
import { deviceModule } from '../../src/hw/device-registry.ts';
import type { DeviceConfig } from '../../src/hw/device-thread.ts';
import virtioBlk from '../../src/hw/devices/virtio-blk/device.ts';
import { counterConfig } from '../support/counter-config.ts';
import { machinePair } from '../support/machine-pair.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import {
  type Completion,
  type DriverRequest,
  OK,
  readRequest,
  VirtioDriver,
  writeRequest,
} from '../support/virtio-driver.ts';
import { turnUntil, type WatchedVm } from '../support/watched-vm.ts';

const REQUESTS = 32;
const SECTORS_EACH = 7;
const SECTORS = REQUESTS * SECTORS_EACH;
const CONTENT = Uint8Array.from({ length: SECTORS * 512 }, (_, index) => (index * 31 + (index >> 9)) & 0xff);

async function imageIn(dir: TempDir): Promise<string> {
  const file = dir.file('disk.raw');
  await writeFile(file, CONTENT);
  return file;
}

function blockDevice(file: string, properties: Readonly<Record<string, string>>): DeviceConfig {
  const texts = new Map(Object.entries({ file, ...properties }));
  return {
    id: 'disk',
    module: deviceModule('virtio-blk'),
    definition: virtioBlk,
    properties: parseProperties(virtioBlk.properties, texts, 'virtio-blk'),
  };
}

/** Where a driver runs on a machine: its RAM and the device in its thread. */
async function placeOn({ vm }: WatchedVm) {
  const disk = await vm.device('disk');
  const at = (offset: number) => ({ region: 'registers', offset, size: 4 }) as const;
  return {
    ram: vm.ram,
    read: (offset: number) => disk.read(at(offset)),
    write: (offset: number, value: number) => disk.write(at(offset), value),
  };
}

const patternOf = (nth: number) => new Uint8Array(SECTORS_EACH * 512).fill(0x80 + nth);

/** Reads and writes in turn, each of sectors of its own. */
const requests: readonly DriverRequest[] = Array.from({ length: REQUESTS }, (_, nth) => {
  const sector = nth * SECTORS_EACH;
  return nth % 2 === 0 ? readRequest(sector, SECTORS_EACH) : writeRequest(sector, patternOf(nth));
});

async function expectAllDone(done: readonly Completion[], file: string): Promise<void> {
  expect(done.map(({ result }) => result)).toEqual(requests.map(() => OK));
  const image = await readFile(file);
  for (const { sector = 0, data, answer } of done) {
    const start = sector * 512;
    if (data === undefined) expect(answer).toEqual(CONTENT.slice(start, start + SECTORS_EACH * 512));
    else expect(new Uint8Array(image.subarray(start, start + data.length))).toEqual(data);
  }
}

test.each([
  ['kept: they are executed at the destination', { inflight: 'keep' }, 0],
  ['drained: they are executed before the source stops', { inflight: 'drain' }, REQUESTS],
] as const)('requests in flight are %s', async (_how, properties, doneAtSource) => {
  await using dir = await tempDir();
  const file = await imageIn(dir);
  await using pair = await machinePair({
    source: { devices: [blockDevice(file, { latency: '1s', ...properties })] },
    destination: { devices: [blockDevice(file, properties)] },
  });
  const driver = new VirtioDriver(await placeOn(pair.source));
  await driver.setUp();
  await driver.submit(requests);
  await pair.source.vm.migrate({ uri: pair.uri });
  expect(await pair.source.ended()).toBe('completed');
  expect(driver.usedIndex).toBe(doneAtSource);

  await pair.destination.event(['RESUME']);
  driver.place = await placeOn(pair.destination);
  await turnUntil(() => driver.usedIndex === REQUESTS);
  await expectAllDone(driver.collect(), file);
  expect(driver.inFlight).toBe(0);
});

test('requests that come and go while the guest migrates complete once each', async () => {
  await using dir = await tempDir();
  const file = await imageIn(dir);
  const devices = [blockDevice(file, { depth: '2' })];
  await using pair = await machinePair({
    common: { devices, guest: 'guest-sweep,id=g,start=512KiB', ramBytes: 4 << 20 },
    source: { parameters: { 'downtime-limit': 1000 } },
  });
  const driver = new VirtioDriver(await placeOn(pair.source));
  await driver.setUp();
  const migrated = pair.source.vm.migrate({ uri: pair.uri }).then(() => pair.source.ended());
  const done: Completion[] = [];
  // One at a time, so that some are under way whenever the source stops. A notification that comes too late is lost with
  // the source; the next one tells of all that is available.
  for (const request of requests) {
    if (!pair.source.vm.queryStatus().running) break;
    await driver.submit([request]);
    done.push(...driver.collect());
  }
  expect(await migrated).toBe('completed');
  await pair.destination.event(['RESUME']);
  driver.place = await placeOn(pair.destination);
  await driver.submit(requests.slice(done.length + driver.inFlight));
  await turnUntil(() => driver.usedIndex === REQUESTS);
  done.push(...driver.collect());
  await expectAllDone(done, file);
});

test('a migration that fails leaves the requests with the source', async () => {
  await using dir = await tempDir();
  const file = await imageIn(dir);
  await using pair = await machinePair({
    common: { capabilities: ['return-path'] },
    source: { devices: [blockDevice(file, { latency: '300ms' }), counterConfig('c')] },
    destination: { devices: [blockDevice(file, {}), counterConfig('c', { fault: 'load' })] },
  });
  const driver = new VirtioDriver(await placeOn(pair.source));
  await driver.setUp();
  await driver.submit(requests);
  await pair.source.vm.migrate({ uri: pair.uri });
  expect(await pair.source.ended()).toBe('failed');
  await turnUntil(() => driver.usedIndex === REQUESTS);
  await expectAllDone(driver.collect(), file);
});
