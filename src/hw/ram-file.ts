/**
 * RAM in a file (QEMU's memory-backend-file). Shared: the file's pages are mapped where the block's memory is, so both are the
 * same bytes at any moment, for every process that has the file mapped. Private: the block starts with the file's content,
 * and the file never changes.
 */

import { closeSync, openSync, readSync } from 'node:fs';
import { HarnessError, messageOf } from '../base/errors.ts';
import { native } from '../threads/native.ts';

/** A file that is RAM, at least as long as the block behind `offset`. */
export interface RamFile {
  readonly path: string;
  readonly share: boolean;
  /** Where in the file the block begins: a multiple of the page size. */
  readonly offset: number;
  /** The guest may not write to it. */
  readonly isRom: boolean;
}

/** Longest single read (bytes). */
const READ_BYTES = 1 << 28;

/**
 * Gives `bytes`, all of a block's memory, the file's content. Throws `ram/file` for a ROM, when the file cannot be opened or mapped, and
 * for a shared one where Node has no native calls.
 */
export function attachRamFile(bytes: Uint8Array, file: RamFile): void {
  const { path, share, offset, isRom } = file;
  const bad = (why: string, cause?: unknown) => new HarnessError('ram/file', { path, why }, { cause });
  if (isRom) throw bad('it is a ROM (readonly=on without rom=off), and a machine writes to its RAM');
  if (share && native === undefined)
    throw bad('a shared one is mapped, which takes native calls (Node 26 or newer, SWITCHOVER_NATIVE not 0)');
  let fd: number;
  try {
    fd = openSync(path, share ? 'r+' : 'r');
  } catch (cause) {
    throw bad(messageOf(cause), cause);
  }
  try {
    if (!share) readWhole(fd, bytes, offset);
    else {
      const result = native?.mapShared(fd, bytes, offset) ?? 0;
      if (result < 0) throw bad(`mmap failed with errno ${-result}`);
    }
  } finally {
    closeSync(fd); // a mapping keeps the file
  }
}

function readWhole(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length; ) {
    const read = readSync(fd, bytes, done, Math.min(READ_BYTES, bytes.length - done), offset + done);
    if (read === 0) return; // it was cut meanwhile: the rest is zero
    done += read;
  }
}
