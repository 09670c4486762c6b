/**
 * A real QEMU with a PC's devices, whose ports tests poke over qtest (QEMU's own test socket) as a guest would, and whose
 * sections they read from a migration to a file. The processor halts at once.
 */

import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { startQemu } from './qemu.ts';
import { connectQtest, writeHaltingBios } from './qtest-socket.ts';
import { type RealSection, sectionOf } from './stream-section.ts';
import { tempDir } from './temp.ts';

/** See the header. */
export interface QtestMachine extends AsyncDisposable {
  inb(port: number): Promise<number>;
  outb(port: number, value: number): Promise<void>;
  /** Lets it run for about so long, and stops it. */
  run(ms: number): Promise<void>;
  /** Migrates to a file, which a machine that runs in between can do again. */
  saved(): Promise<SavedMachine>;
  /** One section of that. */
  section(idstr: string): Promise<RealSection>;
}

/** What a machine sent. */
interface SavedMachine {
  section(idstr: string): RealSection;
  /** Virtual time at which it had stopped. */
  readonly nowNs: bigint;
}

/** Where the section `timer` has the virtual time (spec/wire.md §10.2). */
const CLOCK_OFFSET = 16;

/** Starts a machine, stopped; `args` are QEMU's. */
export async function qtestMachine(machine: 'isapc' | 'pc', args: readonly string[] = []): Promise<QtestMachine> {
  const dir = await tempDir();
  const bios = await writeHaltingBios(dir.file('halt.bin'));
  const peer = await startQemu({
    memory: '1M',
    machine,
    args: ['-bios', bios, '-qtest', `unix:${dir.file('qtest')},server=on,wait=off`, ...args],
  });
  const { ask, close } = connectQtest(dir.file('qtest'));
  const saved = async (): Promise<SavedMachine> => {
    const file = dir.file('stream');
    await peer.qmp.execute('migrate', { uri: `file:${file}` });
    await peer.waitStatus('completed');
    const stream = await readFile(file);
    const { payload: timer } = sectionOf(stream, 'timer');
    const nowNs = Buffer.from(timer).readBigInt64BE(CLOCK_OFFSET);
    return { section: (idstr) => sectionOf(stream, idstr), nowNs };
  };
  return {
    inb: async (port) => Number(await ask(`inb ${port}`)),
    outb: async (port, value) => void (await ask(`outb ${port} ${value}`)),
    run: async (ms) => {
      await peer.qmp.execute('cont');
      await sleep(ms);
      await peer.qmp.execute('stop');
    },
    saved,
    section: async (idstr) => (await saved()).section(idstr),
    [Symbol.asyncDispose]: async () => {
      close();
      await peer[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}
