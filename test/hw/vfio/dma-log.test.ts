/** DMA logging: what a device wrote is reported once, whichever pages are asked for; and a device's own writes get there. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Device, defineDevice, vmstate } from '../../../src/hw/device.ts';
import { DeviceHost } from '../../../src/hw/device-host.ts';
import { IrqLines } from '../../../src/hw/irq.ts';
import { RamBlock } from '../../../src/hw/ram.ts';
import { DmaLog } from '../../../src/hw/vfio/dma-log.ts';
import { VfioClient } from '../../../src/hw/vfio/vfio-service.ts';
import { ManualTime } from '../../../src/hw/virtual-time.ts';

const PAGE = 4096;
const LOGGING = { pageSize: PAGE, ranges: [{ iova: 0, length: 16 * PAGE }] };

function started(options: Parameters<DmaLog['start']>[1] = LOGGING): DmaLog {
  const log = new DmaLog();
  log.start('v0', options);
  return log;
}

describe('a report', () => {
  test('has the pages that were written, ored into what was there, once', () => {
    const log = started();
    log.record(PAGE - 1, 2);
    log.record(9 * PAGE, PAGE);
    log.record(16 * PAGE, PAGE); // outside
    const bitmap = new Uint8Array([0b1000_0000, 0]);
    log.report('v0', { iova: 0, length: 16 * PAGE, pageSize: PAGE }, bitmap);
    expect([...bitmap]).toEqual([0b1000_0011, 0b0000_0010]);
    expect([...log.report('v0', { iova: 0, length: 16 * PAGE, pageSize: PAGE })]).toEqual([0, 0]);
  });

  test('of larger pages, or logging with a larger page size, loses and adds nothing', () => {
    const log = started({ pageSize: 4 * PAGE, ranges: LOGGING.ranges });
    log.record(5 * PAGE, 1);
    log.record(6 * PAGE, 1);
    expect([...log.report('v0', { iova: 5 * PAGE, length: PAGE, pageSize: PAGE })]).toEqual([1]);
    expect([...log.report('v0', { iova: 0, length: 16 * PAGE, pageSize: 4 * PAGE })]).toEqual([0b10]);
  });

  test('says for every page whether it was written since it was last reported', () => {
    const log = fc.record({
      kind: fc.constant('write' as const),
      at: fc.nat({ max: 40 * PAGE }),
      length: fc.nat(9000),
    });
    const asked = fc.record({
      kind: fc.constant('report' as const),
      page: fc.nat({ max: 39 }),
      count: fc.integer({ min: 1, max: 8 }),
      pages: fc.constantFrom(1, 2, 4),
    });
    const ranges = [
      { iova: 2 * PAGE, length: 10 * PAGE },
      { iova: 12 * PAGE, length: 8 * PAGE },
      { iova: 30 * PAGE, length: 2 * PAGE },
    ];
    const isLogged = (page: number) =>
      ranges.some(({ iova, length }) => page * PAGE >= iova && page * PAGE < iova + length);
    fc.assert(
      fc.property(fc.array(fc.oneof(log, asked)), fc.constantFrom(PAGE / 2, PAGE, 2 * PAGE), (steps, hint) => {
        const dma = started({ pageSize: hint, ranges });
        const dirty = new Set<number>();
        for (const step of steps) {
          if (step.kind === 'write') {
            dma.record(step.at, step.length);
            for (let at = step.at; at < step.at + step.length; at += 1) {
              if (isLogged(Math.floor(at / PAGE))) dirty.add(Math.floor(at / PAGE));
            }
            continue;
          }
          const { pages, count } = step;
          const first = step.page - (step.page % pages);
          const bitmap = dma.report('v0', { iova: first * PAGE, length: count * pages * PAGE, pageSize: pages * PAGE });
          for (let bit = 0; bit < count; bit += 1) {
            const covered = Array.from({ length: pages }, (_, n) => first + bit * pages + n);
            expect((bitmap[bit >>> 3]! >>> (bit & 7)) & 1).toBe(covered.some((page) => dirty.has(page)) ? 1 : 0);
            for (const page of covered) dirty.delete(page);
          }
          if (dma.isClean) expect(dirty).toEqual(new Set());
        }
        dma.report('v0', { iova: 0, length: 40 * PAGE, pageSize: PAGE });
        expect(dma.isClean).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});

describe('refused', () => {
  const range = { iova: 0, length: PAGE };
  const many = Array.from({ length: 257 }, (_, n) => ({ iova: n * PAGE, length: PAGE }));
  test.each([
    ['no range', { pageSize: PAGE, ranges: [] }, 'EINVAL'],
    ['a page size that is no power of two', { pageSize: 5000, ranges: [range] }, 'EINVAL'],
    ['a page size of 0', { pageSize: 0, ranges: [range] }, 'EINVAL'],
    ['a page size of 3 · 2^32', { pageSize: 3 * 2 ** 32, ranges: [{ iova: 0, length: 3 * 2 ** 32 }] }, 'EINVAL'],
    ['a range inside a page', { pageSize: PAGE, ranges: [{ iova: 1, length: PAGE }] }, 'EINVAL'],
    ['an empty range', { pageSize: PAGE, ranges: [{ iova: 0, length: 0 }] }, 'EINVAL'],
    ['overlapping ranges', { pageSize: PAGE, ranges: [range, range] }, 'EINVAL'],
    ['addresses below 0', { pageSize: PAGE, ranges: [{ iova: -PAGE, length: PAGE }] }, 'EOVERFLOW'],
    [
      'an end beyond exact numbers',
      { pageSize: PAGE, ranges: [{ iova: 2 ** 53 - PAGE, length: 2 * PAGE }] },
      'EOVERFLOW',
    ],
    ['257 ranges', { pageSize: PAGE, ranges: many }, 'E2BIG'],
    ['more than can be logged', { pageSize: PAGE, ranges: [{ iova: 0, length: 2 ** 45 }] }, 'E2BIG'],
  ])('to start: %s', (_what, options, errno) => {
    expect(() => started(options)).toThrow(expect.objectContaining({ details: expect.objectContaining({ errno }) }));
  });

  test.each([
    ['pages smaller than 4 KiB', { iova: 0, length: PAGE, pageSize: 2048 }, 'EINVAL'],
    ['a page size of 0', { iova: 0, length: PAGE, pageSize: 0 }, 'EINVAL'],
    ['a range inside a page', { iova: 1, length: PAGE, pageSize: PAGE }, 'EINVAL'],
    ['part of a page', { iova: 0, length: PAGE + 1, pageSize: PAGE }, 'EINVAL'],
    ['nothing', { iova: 0, length: 0, pageSize: PAGE }, 'EINVAL'],
    ['more than can be logged', { iova: 0, length: 2 ** 45, pageSize: PAGE }, 'E2BIG'],
  ])('to report: %s', (_what, asked, errno) => {
    expect(() => started().report('v0', asked)).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ errno }) }),
    );
  });

  test('to report into too few bits, to report without logging, and to start twice', () => {
    const log = started();
    const sixteen = { iova: 0, length: 16 * PAGE, pageSize: PAGE };
    expect(() => log.report('v0', sixteen, new Uint8Array(1))).toThrow(/a bit for each of 16 pages/);
    expect(() => log.start('v0', LOGGING)).toThrow(/already started/);
    log.stop();
    expect(() => log.report('v0', sixteen)).toThrow(/logging stopped/);
  });
});

test("a device's writes to guest memory are logged, as they happen", async () => {
  const definition = defineDevice({
    name: 'writer',
    summary: 'writes where a register says',
    properties: {},
    state: vmstate({ name: 'writer', version: 1, fields: {} }),
    regions: { registers: { size: 4, bus: 'memory' } },
    vfio: true,
    create: ({ ram }): Device => ({
      write: (_access, address) => ram.write(address, new Uint8Array(2)),
      save: () => ({}),
      load: () => {},
      reset: () => {},
      vfio: {
        features: { p2p: true, precopy: true },
        arc: () => {},
        read: () => new Uint8Array(0),
        write: () => {},
        precopyInfo: () => ({ initialBytes: 0, dirtyBytes: 0, reinit: false }),
        stopCopyBytes: () => 0,
        reset: () => {},
      },
    }),
  });
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  using ram = RamBlock.create({ name: 'ram', length: 65_536 });
  const host = await DeviceHost.create({
    definition,
    id: 'w0',
    properties: {},
    ram: ram.share,
    resources: { take: () => {}, giveBack: () => {} },
    irqs: new IrqLines({ count: 1 }),
    time: new ManualTime(),
    log,
    onFailure: () => undefined,
  });
  const client = new VfioClient((kind, payload) => host.handle(kind, payload));
  await host.request('start', undefined);
  await client.startDmaLogging(LOGGING);
  await host.request('write', { region: 'registers', offset: 0, size: 4, value: 3 * PAGE - 1 });
  const report = () => client.reportDmaLog({ iova: 0, length: 16 * PAGE, pageSize: PAGE });
  expect(await report()).toEqual(new Uint8Array([0b1100, 0]));
  expect(await report()).toBeUndefined(); // no bits need to be sent
  await client.stopDmaLogging();
  await expect(client.reportDmaLog({ iova: 0, length: PAGE, pageSize: PAGE })).rejects.toMatchObject({
    code: 'vfio/refused',
    details: { device: 'w0', errno: 'EINVAL' },
  });
});
