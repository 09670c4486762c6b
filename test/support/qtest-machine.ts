/**
 * A real QEMU with a PC's devices, whose ports tests poke over qtest (QEMU's own test socket) as a guest would, and whose
 * sections they read from a migration to a file. The processor halts at once.
 */

import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { analyzeStream } from '../../src/report/analyze.ts';
import { startQemu } from './qemu.ts';
import { tempDir } from './temp.ts';

/** One device's section as QEMU sent it. */
export interface RealSection {
  readonly payload: Uint8Array;
  readonly version: number;
  /** Its members of the vmdescription, as JSON text. */
  readonly described: string;
}

/** See the header. */
export interface QtestMachine extends AsyncDisposable {
  inb(port: number): Promise<number>;
  outb(port: number, value: number): Promise<void>;
  /** Migrates to a file, once, and finds a section there. */
  section(idstr: string): Promise<RealSection>;
}

const ROM_BYTES = 65_536;
/** `cli; hlt; jmp` to the halt, where the processor starts. */
const HALT = [0xfa, 0xf4, 0xeb, 0xfd];
const RESET_VECTOR = 0xfff0;

/** Starts a machine, stopped; `args` are QEMU's. */
export async function qtestMachine(machine: 'isapc' | 'pc', args: readonly string[] = []): Promise<QtestMachine> {
  const dir = await tempDir();
  const rom = Buffer.alloc(ROM_BYTES);
  rom.set(HALT, RESET_VECTOR);
  await writeFile(dir.file('halt.bin'), rom);
  const peer = await startQemu({
    memory: '1M',
    machine,
    args: ['-bios', dir.file('halt.bin'), '-qtest', `unix:${dir.file('qtest')},server=on,wait=off`, ...args],
  });
  const socket = connect(dir.file('qtest'));
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const ask = async (command: string): Promise<string> => {
    socket.write(`${command}\n`);
    for (;;) {
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`qtest closed at '${command}'`);
      if (value.startsWith('OK')) return value.slice(3);
      if (value.startsWith('FAIL')) throw new Error(`qtest: ${command}: ${value}`);
    }
  };
  return {
    inb: async (port) => Number(await ask(`inb ${port}`)),
    outb: async (port, value) => void (await ask(`outb ${port} ${value}`)),
    section: async (idstr) => {
      const file = dir.file('stream');
      await peer.qmp.execute('migrate', { uri: `file:${file}` });
      await peer.waitStatus('completed');
      return sectionOf(await readFile(file), idstr);
    },
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      await peer[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** One section of a whole stream, with what the stream's description says of it. */
function sectionOf(stream: Uint8Array, idstr: string): RealSection {
  const { elements, vmDescription } = analyzeStream(stream);
  const section = elements.find((element) => element.kind === 'section' && element.idstr === idstr);
  if (section?.kind !== 'section' || vmDescription === undefined) throw new Error(`no section '${idstr}'`);
  const { payloadOffset, payloadSize, version } = section;
  const json = Buffer.from(stream.subarray(vmDescription.offset + 5, vmDescription.offset + vmDescription.size));
  // Trusted here: tests read what QEMU wrote.
  const { devices } = JSON.parse(json.toString()) as { devices: { name: string; instance_id?: number }[] };
  const found = devices.find(({ name }) => name === idstr);
  if (found === undefined) throw new Error(`'${idstr}' is not described`);
  const { name: _, instance_id: __, ...members } = found;
  return {
    payload: Uint8Array.from(stream.subarray(payloadOffset, payloadOffset + payloadSize)),
    version,
    described: JSON.stringify(members),
  };
}
