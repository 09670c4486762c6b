/** One device behind its host, inline: requests, virtual time, DMA, interrupts, and what a throwing method becomes. */

import { describe, expect, test } from 'vitest';
import { DeviceHost } from '../../src/hw/device-host.ts';
import { IrqLines } from '../../src/hw/irq.ts';
import { RamBlock } from '../../src/hw/ram.ts';
import { ManualTime } from '../../src/hw/virtual-time.ts';
import { COUNTER, counterConfig } from '../support/counter-config.ts';

const SILENT = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const UNLIMITED = { take: () => {}, giveBack: () => {} };
const MS = 1_000_000n;

async function hosted(properties: Readonly<Record<string, string>> = {}) {
  const { definition, properties: values, id } = counterConfig('c0', properties);
  const ram = RamBlock.create({ name: 'ram', length: 65_536 });
  const irqs = new IrqLines({ count: 1 });
  const time = new ManualTime();
  const failures: Error[] = [];
  const options = { definition, id, properties: values, ram: ram.share, resources: UNLIMITED, irqs, time, log: SILENT };
  const host = await DeviceHost.create({ ...options, onFailure: (error) => failures.push(error) });
  return { host, ram, irqs, time, failures };
}

describe('registers', () => {
  test('read back what was written', async () => {
    const { host } = await hosted({ count: '7' });
    expect(await host.request('read', COUNTER.COUNT)).toBe(7);
    await host.request('write', { ...COUNTER.COUNT, value: 9 });
    expect(await host.request('read', COUNTER.COUNT)).toBe(9);
  });

  test.each([
    [{ region: 'registers', offset: 12, size: 4 }],
    [{ region: 'registers', offset: 10, size: 4 }],
    [{ region: 'registers', offset: -1, size: 1 }],
    [{ region: 'none', offset: 0, size: 1 }],
  ] as const)('outside a region are an error that names the access: %j', async (access) => {
    const { host } = await hosted();
    const error = await host.request('read', access).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'device/access', details: { device: 'c0', ...access } });
  });
});

describe('memory for a state', () => {
  test('that was made ready is what the next state is saved into, and the state after that has its own', async () => {
    const { host } = await hosted({ count: '7' });
    const fresh = (await host.request('save', undefined)).bytes;
    await host.request('prepare', { bytes: 4096 });
    const { bytes } = await host.request('save', undefined);
    expect(bytes).toEqual(fresh);
    expect(bytes.buffer.byteLength).toBe(4096);
    const { bytes: next } = await host.request('save', undefined);
    expect(next).toEqual(fresh);
    expect(next.buffer).not.toBe(bytes.buffer);
  });

  test('that is too small is left alone', async () => {
    const { host } = await hosted();
    await host.request('prepare', { bytes: 1 });
    const { bytes } = await host.request('save', undefined);
    expect(bytes.buffer.byteLength).toBe(bytes.length);
  });
});

describe('virtual time', () => {
  test('fires timers only while the machine runs, at their time', async () => {
    const { host, time, irqs } = await hosted();
    await host.request('write', { ...COUNTER.PERIOD, value: 10 });
    time.advance(50n * MS);
    expect(await host.request('read', COUNTER.COUNT)).toBe(0);
    await host.request('start', undefined);
    time.advance(25n * MS);
    expect(await host.request('read', COUNTER.COUNT)).toBe(3); // the first was due long ago, then two in time
    expect(irqs.edges(0)).toBe(3);
    await host.request('stop', undefined);
    time.advance(100n * MS);
    expect(await host.request('read', COUNTER.COUNT)).toBe(3);
  });

  test('travels with the state: a timer goes on where it stopped', async () => {
    const source = await hosted();
    await source.host.request('start', undefined);
    await source.host.request('write', { ...COUNTER.PERIOD, value: 10 });
    source.time.advance(4n * MS);
    await source.host.request('stop', undefined);
    const { bytes } = await source.host.request('save', undefined);

    const destination = await hosted();
    destination.time.set(source.time.nowNs());
    await destination.host.request('load', { version: 1, bytes });
    await destination.host.request('start', undefined);
    destination.time.advance(5n * MS);
    expect(await destination.host.request('read', COUNTER.COUNT)).toBe(0);
    destination.time.advance(1n * MS);
    expect(await destination.host.request('read', COUNTER.COUNT)).toBe(1);
  });
});

describe('DMA', () => {
  test('marks the pages it writes', async () => {
    const { host, ram } = await hosted({ count: '305419896' });
    await host.request('start', undefined);
    ram.syncDirty();
    await host.request('write', { ...COUNTER.ADDRESS, value: 8190 });
    expect([...ram.bytes.subarray(8190, 8194)]).toEqual([0x78, 0x56, 0x34, 0x12]);
    expect(ram.syncDirty()).toBe(2);
  });

  test('of a device of a stopped machine is an error', async () => {
    const { host, ram } = await hosted({ count: '1' });
    const error = await host.request('write', { ...COUNTER.ADDRESS, value: 0 }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'device/stopped', details: { device: 'c0', address: 0 } });
    expect(ram.bytes[0]).toBe(0);
  });
});

describe('a method that throws', () => {
  test.each(['read', 'save', 'reset', 'start'] as const)('%s: the error names device and handler', async (fault) => {
    const { host } = await hosted({ fault });
    const asked = fault === 'read' ? host.request('read', COUNTER.COUNT) : host.request(fault, undefined);
    expect(await asked.catch((reason: unknown) => reason)).toMatchObject({
      code: 'device/failed',
      details: { device: 'c0', handler: fault, why: `told to fail in ${fault}` },
    });
  });

  test('create: there is no host', async () => {
    await expect(hosted({ fault: 'create' })).rejects.toMatchObject({ code: 'device/failed' });
  });
});
