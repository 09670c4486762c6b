/** qtest, QEMU's own test socket, and a firmware that leaves everything to it. */

import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

const ROM_BYTES = 65_536;
/** `cli; hlt; jmp` to the halt, where the processor starts. */
const HALT = [0xfa, 0xf4, 0xeb, 0xfd];
const RESET_VECTOR = 0xfff0;

/** Writes a firmware with which the processor halts at once; returns its path. */
export async function writeHaltingBios(path: string): Promise<string> {
  const rom = Buffer.alloc(ROM_BYTES);
  rom.set(HALT, RESET_VECTOR);
  await writeFile(path, rom);
  return path;
}

/** A connection; `ask` resolves with what follows the OK, and rejects when there is none. */
export function connectQtest(path: string): { ask(command: string): Promise<string>; close(): void } {
  const socket = connect(path);
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  return {
    ask: async (command) => {
      socket.write(`${command}\n`);
      for (;;) {
        const { value, done } = await lines.next();
        if (done === true) throw new Error(`qtest closed at '${command}'`);
        if (value.startsWith('OK')) return value.slice(3);
        if (value.startsWith('FAIL')) throw new Error(`qtest: ${command}: ${value}`);
      }
    },
    close: () => socket.destroy(),
  };
}
