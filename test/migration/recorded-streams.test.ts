/** Streams recorded from a real QEMU load to the recorded RAM: through a whole machine over a socket, and from a file. */

import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import { RamBlock } from '../../src/hw/ram.ts';
import { IDLE_CONTEXT } from '../../src/migration/options/capabilities.ts';
import { MigrationOptions } from '../../src/migration/options/options.ts';
import { RamLoader } from '../../src/migration/ram/ram-load.ts';
import { StreamReader } from '../../src/migration/transport/stream-reader.ts';
import { Vm } from '../../src/migration/vm.ts';
import { PAGE_SIZE, RAM_VERSION } from '../../src/wire/ram.ts';
import { ELEMENT } from '../../src/wire/stream.ts';
import { PRECOPY_STREAMS, type PrecopyStream } from '../support/precopy-streams.ts';
import { recordedStream } from '../support/recorded-stream.ts';
import { LoadingMachine, memorySource } from '../support/stream-loading.ts';
import { tempDir } from '../support/temp.ts';

/** A machine that waits at `incoming`, and a promise for its migration's last status. */
async function waitingVm(stream: PrecopyStream, incoming: string): Promise<{ vm: Vm; ended: Promise<string> }> {
  const options = new MigrationOptions();
  options.setGlobals(stream.off.map((name) => ({ name, text: 'off' })));
  options.setCapabilities([{ capability: 'events', state: true }], IDLE_CONTEXT);
  const vm = await Vm.create({
    machineType: 'none',
    ramBytes: stream.ram.length,
    startPaused: true,
    incoming: 'defer',
    options,
    log: silentLogger,
  });
  const ended = new Promise<string>((resolve) => {
    vm.onEvent(({ name, data }) => {
      if (name === 'MIGRATION' && (data.status === 'completed' || data.status === 'failed')) resolve(data.status);
    });
  });
  await vm.migrateIncoming({ uri: incoming, 'exit-on-error': false });
  return { vm, ended };
}

function expectRam(ram: RamBlock, image: Uint8Array): void {
  expect(Buffer.compare(ram.bytes, image)).toBe(0);
}

describe.for(PRECOPY_STREAMS)('$file', (stream) => {
  // `-S`: a guest that ran is paused.
  const runState = stream.runState === 'running' ? 'paused' : stream.runState;

  test('loads over a socket to the recorded RAM and answers as recorded', async () => {
    await using dir = await tempDir();
    const path = dir.file('m.sock');
    const waiting = await waitingVm(stream, `unix:${path}`);
    await using vm = waiting.vm;
    const socket = connect(path);
    await once(socket, 'connect');
    // Kept open for writing: a source waits for the destination to end the connection.
    socket.write(stream.bytes);
    const answers = buffer(socket);
    if (stream.off.includes('send-configuration')) socket.end(); // no description follows: do not make it wait for one
    expect(await waiting.ended).toBe('completed');
    expectRam(vm.ram, stream.ram);
    expect(vm.queryStatus().status).toBe(runState);
    expect((await answers).toString('hex')).toBe(stream.returnPath);
  });

  test('loads from a file to the recorded RAM', async () => {
    await using dir = await tempDir();
    const path = dir.file('stream');
    await writeFile(path, Buffer.concat([new Uint8Array(4096), stream.bytes]));
    const waiting = await waitingVm(stream, `file:${path},offset=0x1000`);
    await using vm = waiting.vm;
    expect(await waiting.ended).toBe('completed');
    expectRam(vm.ram, stream.ram);
    expect(vm.queryStatus().status).toBe(runState);
  });

  test('loads over RAM that holds something else', async () => {
    const machine = new LoadingMachine({ ramBytes: stream.ram.length, off: stream.off });
    machine.ram.write(0, new Uint8Array(stream.ram.length).fill(0xa5));
    const { error, state } = await machine.load(stream.bytes);
    expect(error).toBeUndefined();
    expectRam(machine.ram, stream.ram);
    expect(state?.runState).toBe(stream.runState);
  });
});

test('the clock of a guest that ran arrives', async () => {
  const machine = new LoadingMachine({ ramBytes: 4 << 20 });
  const { state } = await machine.load(recordedStream('none-4m-background-snapshot.main'));
  expect(state).toEqual({
    cpuTicksOffset: 4_223_232n,
    cpuClockOffset: 1_626_165n,
    runState: 'running',
    wasSuspended: false,
  });
});

test('the RAM sections of a recorded XBZRLE stream give the recorded RAM', async () => {
  const ram = RamBlock.create({ name: 'microvm.ram', length: 1 << 20 });
  const bios = RamBlock.create({ name: 'pc.bios', length: 64 << 10 });
  const reader = new StreamReader(memorySource(recordedStream('microvm-1m-xbzrle.main')));
  const loader = new RamLoader(reader, [ram, bios]);
  const counts = await loadRamSections(reader, loader);
  expect(counts).toEqual({ sections: 9, commands: 1 });
  expectRam(ram, recordedStream('microvm-1m-xbzrle.ram.zz'));
  const bitsSet = (page: number) =>
    bios.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE).some((byte) => byte !== 0);
  expect(Array.from({ length: bios.pageCount }, (_, page) => page).filter(bitsSet)).toEqual([1, 13]);
  expect({ normal: loader.normalPages, zero: loader.zeroPages }).toEqual({ normal: 16 + 16, zero: 265 });
});

/** Reads the framing around RAM sections, up to the first device. */
async function loadRamSections(
  reader: StreamReader,
  loader: RamLoader,
): Promise<{ sections: number; commands: number }> {
  await reader.bytes(20, 'header and configuration');
  const counts = { sections: 0, commands: 0 };
  for (;;) {
    const type = await reader.u8('type');
    if (type === ELEMENT.SECTION_FULL) return counts;
    if (type === ELEMENT.COMMAND) {
      await reader.u16('command');
      await reader.bytes(await reader.u16('length'), 'data');
      counts.commands += 1;
      continue;
    }
    const id = await reader.u32('section id');
    if (type === ELEMENT.SECTION_START) {
      expect(await reader.text8('name')).toBe('ram');
      expect(await reader.u32('instance id')).toBe(0);
      expect(await reader.u32('version')).toBe(RAM_VERSION);
    }
    await loader.load();
    expect(await reader.u8('footer')).toBe(ELEMENT.FOOTER);
    expect(await reader.u32('section id')).toBe(id);
    counts.sections += 1;
  }
}
