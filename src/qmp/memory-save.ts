/** QMP pmemsave: guest-physical memory to a file on this host. */

import { open } from 'node:fs/promises';
import { HarnessError } from '../base/errors.ts';
import { systemReason } from '../base/system-reason.ts';
import type { VmControl } from '../migration/vm-control.ts';

const CHUNK_BYTES = 1024 * 1024;

/** Which bytes, and where to. */
export interface MemoryRange {
  readonly address: bigint;
  readonly size: bigint;
  readonly filename: string;
}

/**
 * Writes the range to the file, which is created or truncated. Throws for a range that is not all RAM (QEMU writes
 * whatever the bus answers there) and for a file that cannot be opened, in QEMU's words.
 */
export async function saveMemory(vm: VmControl, { address, size, filename }: MemoryRange): Promise<void> {
  if (address + size > BigInt(vm.ramBytes)) {
    const text = `Invalid addr 0x${address.toString(16)}/size ${size} specified: guest RAM has ${vm.ramBytes} bytes`;
    throw new HarnessError('qmp/generic', { text });
  }
  await using file = await openForWriting(filename);
  const end = Number(address + size);
  for (let at = Number(address); at < end; at += CHUNK_BYTES) {
    await file.writeFile(vm.readPhysical(at, Math.min(CHUNK_BYTES, end - at)));
  }
}

async function openForWriting(filename: string) {
  try {
    return await open(filename, 'w', 0o666);
  } catch (error) {
    throw new HarnessError(
      'qmp/generic',
      { text: `Could not open '${filename}': ${systemReason(error)}` },
      { cause: error },
    );
  }
}
