/** Who may release a source, counted: spec/vfio.md §3.2 to §3.4. */

import { describe, expect, test } from 'vitest';
import { DestinationAck, SourceAck } from '../../../src/migration/vfio/switchover-ack.ts';

describe('a source in legacy mode', () => {
  const legacy = () => new SourceAck({ mode: 'legacy', isOn: true });

  test.each([1, 2, 4])('waits for one ack for %i devices', (count) => {
    const ack = legacy();
    const devices = Array.from({ length: count }, (_, n) => `d${n}`);
    for (const device of devices) ack.request(device);
    expect(ack.withheldBy).toEqual(devices);
    for (const device of devices) ack.sent(device);
    expect(ack.isGranted).toBe(false);
    expect(ack.acked()).toEqual(devices);
    expect(ack.isGranted).toBe(true);
    expect(ack.withheldBy).toEqual([]);
  });

  test('waits for an ack even without devices, as QEMU does', () => {
    const ack = legacy();
    expect(ack.isGranted).toBe(false);
    ack.acked();
    expect(ack.isGranted).toBe(true);
  });

  test('refuses a second ack', () => {
    const ack = legacy();
    ack.acked();
    expect(() => ack.acked()).toThrow(/a second switchover-ack/);
  });

  test('refuses an ack before the initial data was sent: the other side is set up differently', () => {
    const ack = legacy();
    ack.request('nic');
    ack.request('gpu');
    ack.sent('gpu');
    expect(() => ack.acked()).toThrow(/initial data of 'nic' was sent/);
  });

  test('refuses one that came before any device had asked, as soon as one asks', () => {
    const ack = legacy();
    ack.acked();
    expect(() => ack.request('nic')).toThrow(/arrived before the initial data of 'nic' was sent/);
  });
});

describe('a source in re-usable mode', () => {
  const reusable = () => new SourceAck({ mode: 'reusable', isOn: true });

  test('waits for no ack without a device that asks', () => {
    expect(reusable().isGranted).toBe(true);
  });

  test('waits for one ack a request, in order', () => {
    const ack = reusable();
    for (const device of ['a', 'b']) ack.request(device);
    for (const device of ['a', 'b']) ack.sent(device);
    expect(ack.acked()).toEqual(['a']);
    expect(ack.withheldBy).toEqual(['b']);
    expect(ack.acked()).toEqual(['b']);
    expect(ack.isGranted).toBe(true);
  });

  test('waits again after REINIT', () => {
    const ack = reusable();
    ack.request('a');
    ack.sent('a');
    ack.acked();
    ack.request('a');
    expect(ack.isGranted).toBe(false);
    ack.sent('a');
    ack.acked();
    expect(ack.isGranted).toBe(true);
  });

  test("refuses an ack that nobody asked for, with QEMU's words", () => {
    expect(() => reusable().acked()).toThrow(/Switchover ack pending num underflowed/);
  });

  test('refuses an ack for data that was not sent yet', () => {
    const ack = reusable();
    ack.request('a');
    expect(() => ack.acked()).toThrow(/underflowed/);
  });

  test('fails a request after the decision', () => {
    const ack = reusable();
    ack.decide();
    expect(() => ack.request('a')).toThrow(/device 'a' asked for a switchover-ack during switchover/);
  });
});

describe('a source that is told how the destination does it', () => {
  const source = new SourceAck({ mode: 'legacy', isOn: true });

  test('agrees with the same', () => {
    expect(() => source.compare({ mode: 'legacy', isOn: true })).not.toThrow();
  });

  test('fails instead of waiting for a destination without the capability', () => {
    expect(() => source.compare({ mode: 'legacy', isOn: false })).toThrow(
      /on at the source and off at the destination/,
    );
  });

  test('fails instead of counting differently', () => {
    expect(() => source.compare({ mode: 'reusable', isOn: true })).toThrow(/legacy here, reusable at the destination/);
  });

  test('does not care without the capability', () => {
    const off = new SourceAck({ mode: 'legacy', isOn: false });
    expect(() => off.compare({ mode: 'reusable', isOn: true })).not.toThrow();
  });
});

test('a source without the capability takes no notice of acks', () => {
  const ack = new SourceAck({ mode: 'legacy', isOn: false });
  ack.request('a');
  expect(ack.isGranted).toBe(true);
  expect(ack.acked()).toEqual([]);
  expect(ack.acked()).toEqual([]);
});

test('waiting for the next ack ends with it', async () => {
  const ack = new SourceAck({ mode: 'legacy', isOn: true });
  const changed = ack.changed;
  ack.acked();
  await changed;
  expect(ack.isGranted).toBe(true);
});

describe('a destination', () => {
  const made = (devices: readonly string[], mode: 'legacy' | 'reusable' = 'legacy', isOn = true) =>
    new DestinationAck({ mode, isOn, devices });

  test('in legacy mode acks at once without devices, else after the last is ready', () => {
    expect(made([]).opened()).toBe(true);
    const ack = made(['a', 'b']);
    expect(ack.opened()).toBe(false);
    expect(ack.initDataSent('b')).toBeUndefined();
    expect(ack.ready('b')).toBe(false);
    expect(ack.initDataSent('a')).toBeUndefined();
    expect(ack.ready('a')).toBe(true);
  });

  test('in re-usable mode acks every time, and never on its own', () => {
    expect(made([], 'reusable').opened()).toBe(false);
    const ack = made(['a'], 'reusable');
    for (let n = 0; n < 3; n += 1) {
      expect(ack.initDataSent('a')).toBeUndefined();
      expect(ack.ready('a')).toBe(true);
    }
  });

  test.each([
    ['the capability is off', made(['a'], 'legacy', false), 'a', /capability is off/],
    ['the device has no precopy here', made(['a']), 'b', /no precopy here/],
  ])('refuses INIT_DATA_SENT when %s', (_why, ack, device, reason) => {
    expect(ack.initDataSent(device)).toMatch(reason);
  });

  test('refuses a second INIT_DATA_SENT in legacy mode, ready or not', () => {
    const ack = made(['a']);
    ack.initDataSent('a');
    expect(ack.initDataSent('a')).toMatch(/before/);
  });

  test('without the capability never acks', () => {
    expect(made([], 'legacy', false).opened()).toBe(false);
  });
});
