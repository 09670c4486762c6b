/** What a device writes by DMA while RAM is sent arrives, though only its log knows (spec/vfio.md §1.6, §2.5). */

import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { HarnessError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { RamBlock } from '../../../src/hw/ram.ts';
import { type DmaPort, DmaTracking } from '../../../src/migration/vfio/dma-tracking.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';
import { type MachinePair, machinePair } from '../../support/machine-pair.ts';
import { vfioConfig } from '../../support/vfio-pair.ts';
import type { WatchedVm } from '../../support/watched-vm.ts';

const DEVICE = fileURLToPath(new URL('../../support/devices/dma-vfio.ts', import.meta.url));
const RAM_BYTES = 4 << 20;
const register = (offset: number) => ({ region: 'registers', offset, size: 4 }) as const;
const [PAGE, DMA] = [register(0), register(4)];
/** Slow enough that the device writes before the end, and no end before everything has been sent. */
const SLOW = { 'max-bandwidth': 1 << 20, 'downtime-limit': 0 };
const FAST = { 'max-bandwidth': 0, 'downtime-limit': 300 };

async function dma({ vm }: WatchedVm, page: number, value: number): Promise<void> {
  const device = await vm.device('nic');
  await device.write(PAGE, page);
  await device.write(DMA, value);
}

async function pairWith(properties: Readonly<Record<string, string>> = {}): Promise<MachinePair> {
  return machinePair({
    common: {
      ramBytes: RAM_BYTES,
      devices: [await vfioConfig('nic', DEVICE, properties)],
      capabilities: ['return-path'],
    },
    source: { content: new Uint8Array(RAM_BYTES).fill(0x11), parameters: SLOW },
  });
}

async function finish({ source, destination }: MachinePair): Promise<Uint8Array> {
  source.vm.setParameters(FAST);
  expect(`${await source.ended()} ${source.vm.queryMigrate()['error-desc'] ?? ''}`).toBe('completed ');
  await destination.event(['RESUME']);
  return destination.vm.ram.bytes;
}

test.for([
  ['its log', {}],
  ['nothing, so that all of RAM counts once it stands still', { 'x-pre-copy-dirty-page-tracking': 'off' }],
] as const)('writes during precopy arrive, told by %s', async ([, properties]) => {
  await using pair = await pairWith(properties);
  const { source, uri } = pair;
  await source.vm.migrate({ uri });
  await source.event(['M:active']);
  for (let page = 0; page < 64; page += 1) await dma(source, page, 0x80 + page);
  const arrived = await finish(pair);
  for (let page = 0; page < 64; page += 1) expect(arrived[page * PAGE_SIZE]).toBe(0x80 + page);
  expect(Buffer.compare(source.vm.ram.bytes, arrived)).toBe(0);
});

test('what was in the log of a migration that was cancelled is sent by the next', async () => {
  await using pair = await pairWith();
  const { source, uri } = pair;
  await dma(source, 1000, 0x21); // without a log, marked as any write
  await source.vm.migrate({ uri });
  await source.event(['M:active']);
  await dma(source, 900, 0x22);
  await source.vm.migrateCancel();
  expect(await source.ended()).toBe('cancelled');
  await dma(source, 901, 0x23);
  await using again = await pairWith();
  const mark = source.events.length;
  source.vm.setParameters(FAST);
  await source.vm.migrate({ uri: again.uri });
  expect(await source.ended(mark)).toBe('completed');
  await again.destination.event(['RESUME']);
  for (const [page, value] of [
    [1000, 0x21],
    [900, 0x22],
    [901, 0x23],
  ] as const)
    expect(again.destination.vm.ram.bytes[page * PAGE_SIZE]).toBe(value);
});

describe('of a device', () => {
  const WISHES = { enable: 'auto', tracksPages: true, tracksInPrecopy: true, events: false } as const;

  async function tracking(port: Partial<DmaPort>) {
    const block = RamBlock.create({ name: 'ram', length: 64 * PAGE_SIZE });
    block.beginSave();
    while (block.takeList(0, 64, new Uint32Array(64)) > 0); // all sent
    const calls: string[] = [];
    const dma: DmaPort = {
      wishes: WISHES,
      startDmaLogging: async ({ ranges }) => calls.push(JSON.stringify(ranges)),
      reportDmaLog: async () => Uint8Array.of(0b1000_0001, 0, 0, 0, 0, 0, 0, 0b1000_0000),
      stopDmaLogging: async () => Uint8Array.of(0b10),
      ...port,
    };
    const logs = await DmaTracking.start({ devices: [{ id: 'nic', dma }, { id: 'uart' }], block, log: silentLogger });
    return { block, logs, calls };
  }

  test('the pages in its log are dirty, each once, and those of the last report too', async () => {
    const { block, logs, calls } = await tracking({});
    expect(calls).toEqual([`[{"iova":0,"length":${64 * PAGE_SIZE}}]`]);
    expect(block.syncDirty()).toBe(0);
    await logs.collect(false);
    expect(block.syncDirty()).toBe(3);
    await logs.stop();
    expect(block.syncDirty()).toBe(1);
    await logs.stop(); // is over
    await logs.collect(true);
    expect(block.syncDirty()).toBe(0);
  });

  test('whose log is lost all pages are dirty', async () => {
    const { block, logs } = await tracking({ reportDmaLog: () => Promise.reject(lost()) });
    await logs.collect(false);
    expect(block.syncDirty()).toBe(64);
  });

  test('that logs nothing all pages are dirty, every time', async () => {
    const { block, logs, calls } = await tracking({ wishes: { ...WISHES, tracksPages: false } });
    expect(calls).toEqual([]);
    await logs.collect(false);
    expect(block.syncDirty()).toBe(64);
  });

  test('that is not asked while the guest runs all pages are dirty at the end', async () => {
    const { block, logs } = await tracking({ wishes: { ...WISHES, tracksInPrecopy: false } });
    await logs.collect(false);
    expect(block.syncDirty()).toBe(0);
    await logs.collect(true);
    expect(block.syncDirty()).toBe(64);
  });
});

function lost(): Error {
  return new HarnessError('vfio/refused', {
    device: 'nic',
    what: 'DMA log report',
    errno: 'EINVAL',
    expected: 'logging started',
    actual: 'logging stopped',
  });
}
