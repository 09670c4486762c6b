/**
 * A migration for practice in a VFIO device's thread, there and back, with an emulated device that nobody else sees. Code that
 * runs for the first time is compiled first, in each thread for itself, and most of what the device is asked while the guest
 * stands still it is asked once. The machine's own rehearsal is migration/rehearsal.ts.
 */

import { PAGE_SIZE } from '../../wire/ram.ts';
import type { DeviceDefinition } from '../device.ts';
import { DeviceHost, type DeviceHostOptions } from '../device-host.ts';
import { parseProperties } from '../device-property.ts';
import { IrqLines } from '../irq.ts';
import { emulatedVfioDevice } from './emulated-device.ts';
import { PRACTICE_DEVICE } from './practice-device.ts';
import { PROFILES } from './profiles.ts';
import type { VfioRead } from './vfio-device.ts';

/** V8 compiles what has been called a few times once more, for speed. */
const ROUNDS = 10;
const READ_BYTES = 2 ** 18;
const FIRST_PAGE = { iova: 0, length: PAGE_SIZE };
const SILENT = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** Migrates that device a few times. It has no limit of resources, and leaves RAM and time alone. */
export async function rehearseVfio(machine: Pick<DeviceHostOptions, 'ram' | 'time'>): Promise<void> {
  const { driver, id, properties } = PRACTICE_DEVICE;
  const definition: DeviceDefinition = emulatedVfioDevice(PROFILES[driver]);
  const host = await DeviceHost.create({
    ...machine,
    definition,
    id,
    properties: parseProperties(definition.properties, properties, id),
    resources: { take: () => {}, giveBack: () => {} },
    irqs: new IrqLines({ count: 1 }),
    log: SILENT,
    onFailure: () => {}, // it has no timers
  });
  for (let round = 0; round < ROUNDS; round += 1) await migrateOnce(host);
  await host.handle('close', undefined);
}

async function migrateOnce(host: DeviceHost): Promise<void> {
  const setState = (target: string) => host.handle('vfio/set-state', { target, recover: 'running' });
  await host.handle('start', undefined);
  await setState('pre-copy');
  await host.handle('vfio/dma-start', { pageSize: PAGE_SIZE, ranges: [FIRST_PAGE] });
  await host.handle('vfio/precopy-info', undefined);
  const stream = [...(await readAll(host))];
  await Promise.all([host.handle('vfio/quiesce', undefined), host.handle('stop', undefined)]);
  await host.handle('vfio/halt', undefined);
  await host.handle('vfio/dma-report', { ...FIRST_PAGE, pageSize: PAGE_SIZE });
  stream.push(...(await readAll(host)));
  await setState('stop');
  await host.handle('vfio/dma-stop', { ...FIRST_PAGE, pageSize: PAGE_SIZE });
  const { bytes } = await host.request('save', undefined);
  await setState('resuming');
  for (const piece of stream) await host.handle('vfio/write', piece);
  await host.handle('vfio/ready', undefined);
  await host.request('load', { bytes: bytes.slice(), version: 1 });
  await setState('running');
  await host.handle('vfio/reset', undefined);
}

/** Everything that there is now, piece by piece. */
async function readAll(host: DeviceHost): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for (;;) {
    await host.handle('vfio/stop-copy-bytes', undefined);
    const spare = new SharedArrayBuffer(READ_BYTES);
    const { bytes, status } = (await host.handle('vfio/read', { maxBytes: READ_BYTES, spare })) as VfioRead;
    if (status !== 'data') return pieces;
    pieces.push(bytes);
  }
}
