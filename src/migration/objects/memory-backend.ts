/**
 * Memory backends: `memory-backend-ram`, `-memfd`, `-shm` and `-file` (spec/control.md §5.4). A file is made, given its size and checked when the
 * object is made, as in QEMU; it becomes RAM when a machine is built on it (`hw/ram-file.ts`).
 */

import { closeSync, fstatSync, ftruncateSync, openSync, statSync, unlinkSync } from 'node:fs';
import { HarnessError } from '../../base/errors.ts';
import { systemReason } from '../../base/system-reason.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';

/** The types of memory backends. */
export const MEMORY_BACKEND_TYPES = [
  'memory-backend-file',
  'memory-backend-memfd',
  'memory-backend-ram',
  'memory-backend-shm',
] as const;
const PAGE_BYTES = BigInt(PAGE_SIZE);
/** Most nodes of a host that QEMU knows. */
const MAX_NODES = 128;
type MemoryBackendType = (typeof MEMORY_BACKEND_TYPES)[number];

/** What a host may do with memory; kept to be told, for nothing here does any of it. */
interface MemoryHints {
  readonly dump: boolean;
  readonly merge: boolean;
  readonly prealloc: boolean;
  readonly reserve: boolean;
}

/** What `object-add` says of any memory. */
interface MemoryArguments extends Partial<MemoryHints> {
  readonly size: bigint;
  readonly share?: boolean;
  readonly 'host-nodes'?: readonly number[];
  readonly policy?: string;
  readonly 'prealloc-threads'?: number;
  readonly 'x-use-canonical-path-for-ramblock-id'?: boolean;
}

/** The hints of memory that nobody says anything about. */
export const NO_HINTS: MemoryHints = { dump: true, merge: true, prealloc: false, reserve: true };

interface Memory<T extends MemoryBackendType> {
  readonly type: T;
  /** Bytes. */
  readonly size: number;
  /** Others who map the same memory see what is written. */
  readonly share: boolean;
  readonly hints: MemoryHints;
  /** The file that it is in; absent for memory without a name. */
  readonly file?: { readonly path: string; readonly share: boolean; readonly offset: number; readonly isRom: boolean };
}

/** Memory that a machine may use as its RAM (`-machine memory-backend=ID`). */
export type MemoryBackend = { [T in MemoryBackendType]: Memory<T> }[MemoryBackendType];

/** Refuses what QEMU refuses before it makes memory, and memory on chosen nodes. Throws `qmp/generic`. */
export function checkBackend(type: MemoryBackendType, args: MemoryArguments): void {
  const { size, policy = 'default', 'host-nodes': nodes = [], 'prealloc-threads': threads } = args;
  const notTaken = (name: string, value: unknown) =>
    generic(`property '${name}' of ${type} doesn't take value '${value}'`);
  const wrongNode = nodes.find((node) => node >= MAX_NODES);
  if (wrongNode !== undefined) throw generic(`Invalid host-nodes value: ${wrongNode}`);
  if (threads === 0) throw notTaken('prealloc-threads', threads);
  if (size <= 0n || size > BigInt(Number.MAX_SAFE_INTEGER)) throw notTaken('size', size);
  if (nodes.length > 0 && policy === 'default') {
    throw generic(
      'host-nodes must be empty for policy default, or you should explicitly specify a policy other than default',
    );
  }
  if (nodes.length === 0 && policy !== 'default') throw generic(`host-nodes must be set for policy ${policy}`);
  if (nodes.length > 0) throw generic(`policy ${policy} is not implemented: Node cannot place memory on host nodes`);
  if (args['x-use-canonical-path-for-ramblock-id'] === true) {
    throw generic('x-use-canonical-path-for-ramblock-id=on is not implemented: RAM has the name of its object');
  }
}

/** The hints among an object's arguments, and what is so without them. */
export function memoryHints(args: MemoryArguments): MemoryHints {
  const { dump, merge, prealloc, reserve } = { ...NO_HINTS, ...args };
  return { dump, merge, prealloc, reserve };
}

/** Memory without a name; `share` where nothing is said about it. */
export function plainMemory<T extends 'memory-backend-memfd' | 'memory-backend-ram'>(
  type: T,
  args: MemoryArguments,
  defaults: { readonly share: boolean },
): Memory<T> {
  return { type, size: Number(args.size), share: args.share ?? defaults.share, hints: memoryHints(args) };
}

/** What `memory-backend-file` is told about its file, defaults filled in. */
export interface FileBackendOptions {
  readonly id: string;
  /** Bytes. */
  readonly size: bigint;
  readonly share: boolean;
  readonly path: string;
  /** Where in the file the memory begins (bytes). */
  readonly offset: bigint;
  /** Asked of the memory's address (bytes; 0 for any): checked, and else WebAssembly's own 64 KiB. */
  readonly align: bigint;
  readonly readonly: boolean;
  /** Memory that a guest cannot write; `auto`: when the file is read-only. */
  readonly rom: 'on' | 'off' | 'auto';
  readonly hints: MemoryHints;
}

/**
 * Opens the file, makes it if it is not there, and gives an empty one its size. A directory means memory without a name, as the
 * file that QEMU makes there has none either. Throws `qmp/generic` in QEMU's words.
 */
export function makeFileBackend(options: FileBackendOptions): MemoryBackend {
  checkRom(options);
  const { share, path, offset, hints } = options;
  const size = Number(options.size);
  const type = 'memory-backend-file';
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() && !options.readonly) {
    checkPlace(options, undefined);
    return { type, size, share, hints };
  }
  let fd: number;
  try {
    if (found?.isDirectory()) throw Object.assign(new Error('a directory'), { code: 'EISDIR' }); // Node would open it
    fd = openSync(path, options.readonly ? 'r' : 'a+', 0o644);
  } catch (error) {
    throw generic(`can't open backing store ${path} for guest RAM: ${systemReason(error)}`);
  }
  try {
    const stat = fstatSync(fd);
    checkPlace(options, stat.isFile() ? BigInt(stat.size) : undefined);
    if (!stat.isFile()) throw generic('unable to map backing store for guest RAM: No such device');
    if (stat.size === 0) ftruncateSync(fd, size + Number(offset));
  } catch (error) {
    if (found === undefined) unlinkSync(path); // unlike QEMU, which leaves it
    throw error;
  } finally {
    closeSync(fd);
  }
  const isRom = options.rom === 'on' || (options.rom === 'auto' && options.readonly);
  return { type, size, share, hints, file: { path, share, offset: Number(offset), isRom } };
}

/** Memory that others may map as well, without a name. Throws `qmp/generic`. */
export function makeShmBackend(options: Pick<FileBackendOptions, 'id' | 'size' | 'share' | 'hints'>): MemoryBackend {
  const { id, size, share, hints } = options;
  const type = 'memory-backend-shm';
  if (!share) throw generic("can't create shm backend with `share=off`");
  checkRoom({ id, size, offset: 0n }, size);
  return { type, size: Number(size), share, hints };
}

function checkRom({ rom, readonly, share }: FileBackendOptions): void {
  if (rom === 'on' && !readonly) throw generic("property 'rom' = 'on' is not supported with 'readonly' = 'off'");
  if (rom === 'off' && readonly && share) {
    throw generic("property 'rom' = 'off' is incompatible with 'readonly' = 'on' and 'share' = 'on'");
  }
}

/** Size and place within a file of so many bytes (undefined: no file, nothing to compare), in QEMU's order. */
function checkPlace(options: FileBackendOptions, fileBytes: bigint | undefined): void {
  const { size, offset, align } = options;
  if (fileBytes !== undefined && fileBytes > 0n) checkRoom(options, fileBytes);
  const isWhole = (bytes: bigint) => bytes % PAGE_BYTES === 0n;
  if (!isWhole(align)) throw generic(`alignment ${hex(align)} must be multiples of page size ${hex(PAGE_BYTES)}`);
  if (!isWhole(offset)) throw generic(`offset ${hex(offset)} must be multiples of page size ${hex(PAGE_BYTES)}`);
  if (!isWhole(size)) throw generic("backend 'memory-backend-file' memory size must be multiple of 4 KiB");
  if (offset + size > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw generic('unable to map backing store for guest RAM: Value too large for defined data type');
  }
}

function checkRoom({ id, size, offset }: { id: string; size: bigint; offset: bigint }, has: bigint): void {
  const wants = ((size + PAGE_BYTES - 1n) / PAGE_BYTES) * PAGE_BYTES;
  if (has >= wants + offset) return;
  throw generic(
    `${id} backing store size ${hex(has)} is too small for 'size' option ${hex(wants)} plus 'offset' option ${hex(offset)}`,
  );
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function generic(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}
