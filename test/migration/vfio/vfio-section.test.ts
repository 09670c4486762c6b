/** A VFIO device's section record by record, as bytes: spec/vfio.md §2.1 to §2.3. */

import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../../src/base/clock.ts';
import type { VfioRead } from '../../../src/hw/vfio/vfio-device.ts';
import type { VfioLanding } from '../../../src/hw/vfio/vfio-driver.ts';
import { LedgerRecorder } from '../../../src/migration/ledger.ts';
import { StreamFraming } from '../../../src/migration/savevm.ts';
import { StreamReader } from '../../../src/migration/transport/stream-reader.ts';
import { SourceAck } from '../../../src/migration/vfio/switchover-ack.ts';
import { VfioLoad } from '../../../src/migration/vfio/vfio-load.ts';
import type { VfioPort } from '../../../src/migration/vfio/vfio-port.ts';
import { VfioSave } from '../../../src/migration/vfio/vfio-save.ts';
import type { StateChannels } from '../../../src/migration/vfio/vfio-transfer.ts';
import type { VfioState } from '../../../src/wire/vfio.ts';
import { MemorySink, memorySource } from '../../support/stream-loading.ts';

/** One length byte, then 0000:00:02.0/vfio. */
const IDSTR = '11 303030303a30303a30322e302f7666696f';
const END = 'ffffffffef100001';
const CONFIG = 'ffffffffef100002';
const SETUP = 'ffffffffef100003';
const DATA = 'ffffffffef100004';
const INIT_DATA_SENT = 'ffffffffef100005';
const START = `01 00000004 ${IDSTR} 00000000 00000001`;
const PART = '02 00000004';
const FOOTER = '7e 00000004';

/** A device whose reads are written down beforehand. */
class ScriptedPort implements VfioPort {
  readonly features = { p2p: true, precopy: true };
  readonly reads: VfioRead[];
  readonly written: string[] = [];
  readonly states: string[] = [];
  landing: VfioLanding | undefined;
  stopCopySize = 100;
  info = { initialBytes: 3, dirtyBytes: 0, reinit: false };
  #state: VfioState = 'running';
  onWrite: () => Promise<void> = async () => undefined;
  onReady: () => Promise<void> = async () => undefined;

  constructor(reads: readonly string[] = []) {
    this.reads = reads.map((read) => {
      const bytes = new Uint8Array(Buffer.from(read.replace(/[^0-9a-f]/g, ''), 'hex'));
      return { bytes, status: read === 'end' ? 'end' : bytes.length === 0 ? 'no-message' : 'data', tookMs: 1 };
    });
  }

  async setState(target: VfioState): Promise<VfioState> {
    this.#state = target;
    this.states.push(target);
    return target;
  }

  async state() {
    return this.#state;
  }

  async precopyInfo() {
    return this.info;
  }

  async stopCopyBytes() {
    return this.stopCopySize;
  }

  async read(_maxBytes: number, memory: { into?: SharedArrayBuffer } = {}): Promise<VfioRead> {
    const read = this.reads.shift() ?? { bytes: new Uint8Array(0), status: 'end', tookMs: 0 };
    if (memory.into !== undefined) new Uint8Array(memory.into).set(read.bytes);
    return read;
  }

  async write(bytes: Uint8Array<ArrayBuffer>) {
    await this.onWrite();
    this.written.push(Buffer.from(bytes).toString('hex'));
    return { tookMs: 1, landing: this.landing };
  }

  async landed(at: number, length: number) {
    this.written.push(`${length} bytes from ${at}`);
    return { tookMs: 1 };
  }

  ready(): Promise<void> {
    return this.onReady();
  }

  async reset(): Promise<void> {
    await this.setState('running');
  }
}

function saver(
  port: ScriptedPort,
  ack = new SourceAck({ mode: 'legacy', isOn: true }),
  over?: { channels: StateChannels; device: number },
) {
  const sink = new MemorySink();
  const save = new VfioSave({
    id: 'v0',
    idstr: '0000:00:02.0/vfio',
    instanceId: 0,
    sectionId: 4,
    port,
    sink,
    framing: new StreamFraming({ sectionFooters: true }),
    ack,
    ledger: new LedgerRecorder(),
    clock: new ManualClock(),
    over,
  });
  return { save, sink, ack };
}

const plain = (hex: string) => hex.replaceAll(' ', '');
const written = (sink: MemorySink) => Buffer.from(sink.bytes()).toString('hex');

describe('the source', () => {
  test('sends SETUP; with a running guest the device begins to save', async () => {
    const port = new ScriptedPort();
    const { save, sink } = saver(port);
    await save.setup(true);
    expect(written(sink)).toBe(plain(`${START} ${SETUP} ${END} ${FOOTER}`));
    expect(port.states).toEqual(['pre-copy']);
  });

  test('leaves the device of a stopped guest as it is', async () => {
    const port = new ScriptedPort();
    const { save, sink } = saver(port);
    await save.setup(false);
    expect(await save.iterate()).toBe(0);
    expect(written(sink)).toBe(plain(`${START} ${SETUP} ${END} ${FOOTER}`));
    expect(port.states).toEqual([]);
  });

  test('ends the record with the last initial byte by INIT_DATA_SENT instead of END, once', async () => {
    const port = new ScriptedPort(['aabb', 'cc', 'dd', '']);
    const { save, sink, ack } = saver(port);
    await save.setup(true);
    const before = sink.bytes().length;
    expect(await save.iterate()).toBe(2);
    expect(ack.withheldBy).toEqual(['v0']);
    expect(await save.iterate()).toBe(1);
    expect(await save.iterate()).toBe(1);
    expect(await save.iterate()).toBe(0);
    const records = [
      `${PART} ${DATA} 0000000000000002 aabb ${END} ${FOOTER}`,
      `${PART} ${DATA} 0000000000000001 cc ${INIT_DATA_SENT} ${FOOTER}`,
      `${PART} ${DATA} 0000000000000001 dd ${END} ${FOOTER}`,
    ];
    expect(written(sink).slice(2 * before)).toBe(plain(records.join('')));
    expect(save.transferred).toBe(4);
  });

  test('says INIT_DATA_SENT without data when a temporary end comes first', async () => {
    const { save, sink } = saver(new ScriptedPort(['']));
    await save.setup(true);
    const before = sink.bytes().length;
    await save.iterate();
    expect(written(sink).slice(2 * before)).toBe(plain(`${PART} ${INIT_DATA_SENT} ${FOOTER}`));
  });

  test('without the capability never says it', async () => {
    const port = new ScriptedPort(['aabbcc', '']);
    const { save, sink } = saver(port, new SourceAck({ mode: 'legacy', isOn: false }));
    await save.setup(true);
    await save.iterate();
    await save.iterate();
    expect(written(sink)).not.toContain(INIT_DATA_SENT);
  });

  test('in re-usable mode says it again after REINIT, and waits for another ack', async () => {
    const port = new ScriptedPort(['aabbcc', 'dd']);
    const { save, ack } = saver(port, new SourceAck({ mode: 'reusable', isOn: true }));
    await save.setup(true);
    await save.iterate();
    ack.acked();
    expect(ack.isGranted).toBe(true);
    port.info = { initialBytes: 1, dirtyBytes: 0, reinit: true };
    await save.pendingExact();
    expect(ack.isGranted).toBe(false);
    await save.iterate();
    ack.acked();
    expect(ack.isGranted).toBe(true);
  });

  test('a REINIT after the decision fails the migration', async () => {
    const port = new ScriptedPort(['aabbcc']);
    const { save, ack } = saver(port, new SourceAck({ mode: 'reusable', isOn: true }));
    await save.setup(true);
    await save.iterate();
    ack.acked();
    ack.decide();
    port.info = { initialBytes: 1, dirtyBytes: 0, reinit: true };
    await expect(save.pendingExact()).rejects.toMatchObject({ code: 'vfio/ack' });
  });

  test('takes the mean of what a device says of STOP_COPY, whose statistics may be noisy', async () => {
    const port = new ScriptedPort();
    const { save } = saver(port);
    await save.setup(true);
    for (const size of [70, 130, 100]) {
      port.stopCopySize = size;
      expect(await save.pendingExact()).toBe(size);
    }
    expect(save.stopCopyBytes).toBe(100);
  });

  test('counts what was read off the estimate, the initial part first', async () => {
    const port = new ScriptedPort(['aabb', 'ccddee']);
    port.info = { initialBytes: 3, dirtyBytes: 10, reinit: false };
    const { save } = saver(port);
    await save.setup(true);
    expect(save.pendingBytes).toBe(13);
    await save.iterate();
    expect(save.pendingBytes).toBe(11);
    expect(save.isInitialPending).toBe(true);
    await save.iterate();
    expect(save.pendingBytes).toBe(8);
    expect(save.isInitialPending).toBe(false);
  });

  test.each([Number.NaN, -1, 2 ** 63])('takes a size of %d for one that is too large to switch over', async (bytes) => {
    const port = new ScriptedPort();
    port.info = { initialBytes: 0, dirtyBytes: bytes, reinit: false };
    const { save } = saver(port);
    await save.setup(true);
    expect(save.pendingBytes).toBe(100 * 2 ** 30);
  });

  test('completes with everything up to the end, then CONFIG around the ordinary state', async () => {
    const port = new ScriptedPort(['0102', '03', 'end']);
    const { save, sink } = saver(port);
    await save.setup(false);
    const before = sink.bytes().length;
    await save.complete();
    await save.saveState(new Uint8Array([0xc0, 0xc1]));
    const end = `03 00000004 ${DATA} 0000000000000002 0102 ${DATA} 0000000000000001 03 ${END} ${FOOTER}`;
    const full = `04 00000004 ${IDSTR} 00000000 00000001 ${CONFIG} c0c1 ${END} ${FOOTER}`;
    expect(written(sink).slice(2 * before)).toBe(plain(end + full));
    expect(port.states).toEqual(['stop-copy', 'stop']);
  });
});

/** Keeps what it is to send, as text. */
class KeptChannels implements StateChannels {
  readonly sent: string[] = [];
  readonly released: number[] = [];
  readonly #slots: SharedArrayBuffer[] = [];

  async claimSlot(device: number) {
    expect(device).toBe(7);
    const data = new SharedArrayBuffer(1 << 20);
    return { slot: this.#slots.push(data) - 1, data };
  }

  async sendState(slot: number, packet: Parameters<StateChannels['sendState']>[1]): Promise<void> {
    const { idstr, instanceId, index, isConfig, byteLength } = packet;
    const state = Buffer.from(this.#slots[slot]!, 0, byteLength).toString('hex');
    this.sent.push(`${idstr} ${instanceId} ${index} ${isConfig ? 'config' : 'data'} ${state}`);
  }

  releaseSlot(slot: number): void {
    this.released.push(slot);
  }
}

describe('the source, over multifd channels', () => {
  test('sends the last data and CONFIG as packets, and sections with nothing but END', async () => {
    const port = new ScriptedPort(['0102', '03', 'end']);
    const channels = new KeptChannels();
    const { save, sink } = saver(port, undefined, { channels, device: 7 });
    await save.setup(false);
    const before = sink.bytes().length;
    await save.transfer(Promise.resolve(new Uint8Array([0xc0, 0xc1])));
    await save.complete();
    await save.saveState(new Uint8Array([0xc0, 0xc1]));
    expect(channels.sent).toEqual([
      '0000:00:02.0/vfio 0 0 data 0102',
      '0000:00:02.0/vfio 0 1 data 03',
      `0000:00:02.0/vfio 0 2 config ${CONFIG}c0c1${END}`,
    ]);
    expect(channels.released).toEqual([2]); // what was asked for in vain
    const sections = `03 00000004 ${END} ${FOOTER} 04 00000004 ${IDSTR} 00000000 00000001 ${END} ${FOOTER}`;
    expect(written(sink).slice(2 * before)).toBe(plain(sections));
    expect(save.transferred).toBe(2 + 1 + 18 + 3 * 12);
    expect(port.states).toEqual(['stop-copy', 'stop']);
  });

  test('keeps precopy data on the main channel', async () => {
    const channels = new KeptChannels();
    const { save, sink } = saver(new ScriptedPort(['aabb']), undefined, { channels, device: 7 });
    await save.setup(true);
    const before = sink.bytes().length;
    await save.iterate();
    expect(written(sink).slice(2 * before)).toBe(plain(`${PART} ${DATA} 0000000000000002 aabb ${END} ${FOOTER}`));
    expect(channels.sent).toEqual([]);
  });

  test('refuses an ordinary state that does not fit into a packet', async () => {
    const { save } = saver(new ScriptedPort(['end']), undefined, { channels: new KeptChannels(), device: 7 });
    await save.setup(false);
    await expect(save.transfer(Promise.resolve(new Uint8Array(1 << 20)))).rejects.toMatchObject({
      code: 'vfio/transfer',
      details: { device: 'v0' },
    });
  });
});

function loader(port: ScriptedPort) {
  const heard: string[] = [];
  const load = new VfioLoad({
    id: 'v0',
    port,
    clock: new ManualClock(),
    ledger: new LedgerRecorder(),
    onInitDataSent: () => heard.push('init'),
    loadConfig: async (reader) => {
      heard.push(Buffer.from(await reader.bytes(2, 'config')).toString('hex'));
    },
    onFailure: () => undefined,
    isOverChannels: false,
  });
  const feed = async (hex: string) => {
    const reader = new StreamReader(memorySource(Buffer.from(plain(hex), 'hex')));
    return load.load(reader).then(
      () => reader.offset,
      (error: unknown) => error,
    );
  };
  return { load, heard, feed };
}

describe('the destination', () => {
  test('reads what the source sends', async () => {
    const port = new ScriptedPort();
    const { load, heard, feed } = loader(port);
    await load.setup();
    expect(await feed(`${SETUP} ${END}`)).toBe(16);
    expect(await feed(`${DATA} 0000000000000002 aabb ${END}`)).toBe(26);
    expect(await feed(`${DATA} 0000000000000001 cc ${INIT_DATA_SENT}`)).toBe(25);
    expect(await feed(`${CONFIG} c0c1 ${END}`)).toBe(18);
    await load.finish();
    expect(port.written).toEqual(['aabb', 'cc']);
    expect(heard).toEqual(['init', 'c0c1']);
    expect(port.states).toEqual(['resuming', 'stop']);
  });

  test.each([
    ['an unknown flag', 'ffffffffef100009', { at: 0, field: 'VFIO flag' }],
    ['SETUP without END', `${SETUP} ${SETUP}`, { at: 8, field: 'END_OF_STATE after DEV_SETUP_STATE' }],
    ['CONFIG without END', `${CONFIG} c0c1 ${SETUP}`, { at: 10, field: 'END_OF_STATE after DEV_CONFIG_STATE' }],
    ['a forged length', `${DATA} 00000000ffffffff`, { at: 8, limit: 'VFIO_DATA_BYTES' }],
    ['a length of 2^63', `${DATA} 8000000000000000`, { at: 8, limit: 'VFIO_DATA_BYTES' }],
    ['data that is cut', `${DATA} 0000000000000004 aabb`, { field: 'data of DEV_DATA_STATE' }],
    ['a cut flag', 'ffffffff', { field: 'VFIO flag' }],
  ])('refuses %s, with the place', async (_what, hex, details) => {
    const { load, feed } = loader(new ScriptedPort());
    await load.setup();
    expect(await feed(hex)).toMatchObject({ details });
  });

  test('puts data where the device wants it, and tells it of several records at once', async () => {
    const port = new ScriptedPort();
    port.landing = { at: 2, memory: new Uint8Array(new SharedArrayBuffer(4)) };
    const { load, feed } = loader(port);
    await load.setup();
    await feed(`${DATA} 0000000000000002 aabb ${END}`);
    await load.ready(); // by now it has said where
    const record = (hex: string) => `${DATA} ${(hex.length / 2).toString(16).padStart(16, '0')} ${hex}`;
    await feed(`${record('ccddee')} ${record('ff')} ${record('99')} ${END}`);
    await load.finish();
    expect(Buffer.from(port.landing.memory).toString('hex')).toBe('ccddeeff');
    expect(port.written).toEqual(['aabb', '4 bytes from 2', '99']);
  });

  test('has news for the source when the rate has changed since it was told', async () => {
    const { load, feed } = loader(new ScriptedPort());
    await load.setup();
    expect(load.rateIsNews(0.1)).toBe(false); // nobody has asked yet
    expect(load.tellRate()).toBe(0);
    await feed(`${DATA} 0000000000010000 ${'00'.repeat(0x1_0000)} ${END}`);
    await load.ready();
    expect(load.rateIsNews(0.1)).toBe(true);
    expect(load.tellRate()).toBe(0x1_0000 * 1000);
    expect(load.rateIsNews(0.1)).toBe(false);
  });

  test('is not ready before the device says so', async () => {
    const port = new ScriptedPort();
    const prepared = Promise.withResolvers<void>();
    port.onReady = () => prepared.promise;
    const { load, feed } = loader(port);
    await load.setup();
    await feed(`${DATA} 0000000000000001 cc ${END}`);
    const order: string[] = [];
    const ready = load.ready().then(() => order.push('ready'));
    await feed(`${DATA} 0000000000000001 dd ${END}`);
    await load.finish();
    order.push('all written');
    prepared.resolve();
    await ready;
    expect(order).toEqual(['all written', 'ready']);
  });

  test('reads on only a bounded way ahead of a slow device', async () => {
    const port = new ScriptedPort();
    const taken = Promise.withResolvers<void>();
    port.onWrite = () => taken.promise;
    const { load, feed } = loader(port);
    await load.setup();
    const chunk = (bytes: number) => `${DATA} ${bytes.toString(16).padStart(16, '0')} ${'00'.repeat(bytes)}`;
    let done = false;
    const feeding = feed(`${Array.from({ length: 10 }, () => chunk(1 << 20)).join('')} ${END}`).then(() => {
      done = true;
    });
    for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(done).toBe(false);
    taken.resolve();
    await feeding;
    await load.finish();
    expect(port.written).toHaveLength(10);
  });

  test('what a device throws while it is written to fails the next record', async () => {
    const port = new ScriptedPort();
    port.onWrite = () => Promise.reject(new Error('no room'));
    const { load, feed } = loader(port);
    await load.setup();
    await feed(`${DATA} 0000000000000001 cc ${END}`);
    await expect(load.finish()).rejects.toThrow('no room');
    expect(await feed(`${DATA} 0000000000000001 dd ${END}`)).toMatchObject({ message: 'no room' });
    await load.cleanup();
    expect(port.states.at(-1)).toBe('stop');
  });
});
