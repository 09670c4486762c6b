/**
 * Memory backends: `memory-backend-ram`, `-memfd` and `-file` (spec/control.md §5.4). A file is made, given its size and checked when the
 * object is made, as in QEMU; it becomes RAM when a machine is built on it (`hw/ram-file.ts`).
 */

import { closeSync, fstatSync, ftruncateSync, openSync, statSync, unlinkSync } from 'node:fs';
import { HarnessError } from '../../base/errors.ts';
import { systemReason } from '../../base/system-reason.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';

/** The types of memory backends. */
export const MEMORY_BACKEND_TYPES = ['memory-backend-file', 'memory-backend-memfd', 'memory-backend-ram'] as const;
type MemoryBackendType = (typeof MEMORY_BACKEND_TYPES)[number];

interface Memory<T extends MemoryBackendType> {
  readonly type: T;
  /** Bytes. */
  readonly size: number;
  /** Others who map the same memory see what is written. */
  readonly share: boolean;
  /** The file that it is in; absent for memory without a name. */
  readonly file?: { readonly path: string; readonly share: boolean };
}

/** Memory that a machine may use as its RAM (`-machine memory-backend=ID`). */
export type MemoryBackend = { [T in MemoryBackendType]: Memory<T> }[MemoryBackendType];

/** A size QEMU accepts. Throws `qmp/generic`. */
export function checkBackendSize(type: MemoryBackendType, size: bigint): void {
  if (size > 0n && size <= BigInt(Number.MAX_SAFE_INTEGER)) return;
  throw generic(`property 'size' of ${type} doesn't take value '${size}'`);
}

/**
 * Opens the file, makes it if it is not there, and gives an empty one its size. A directory means memory without a name, as the
 * file that QEMU makes there has none either. Throws `qmp/generic` in QEMU's words.
 */
export function makeFileBackend(options: { id: string; size: number; share: boolean; path: string }): MemoryBackend {
  const { id, size, share, path } = options;
  const type = 'memory-backend-file';
  const refuseSize = () => {
    if (size % PAGE_SIZE !== 0) throw generic(`backend '${type}' memory size must be multiple of 4 KiB`);
  };
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory()) {
    refuseSize();
    return { type, size, share };
  }
  let fd: number;
  try {
    fd = openSync(path, 'a+', 0o644);
  } catch (error) {
    throw generic(`can't open backing store ${path} for guest RAM: ${systemReason(error)}`);
  }
  try {
    refuseSize();
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw generic('unable to map backing store for guest RAM: No such device');
    if (stat.size === 0) ftruncateSync(fd, size);
    else if (stat.size < size) {
      const [has, wants] = [stat.size, size].map((bytes) => `0x${bytes.toString(16)}`);
      throw generic(`${id} backing store size ${has} is too small for 'size' option ${wants} plus 'offset' option 0x0`);
    }
  } catch (error) {
    if (found === undefined) unlinkSync(path); // unlike QEMU, which leaves it
    throw error;
  } finally {
    closeSync(fd);
  }
  return { type, size, share, file: { path, share } };
}

function generic(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}
