/** What a guest did, seen from outside: in RAM that QMP pmemsave wrote to a file, of our machine or of a QEMU. */

import { readFile, rm } from 'node:fs/promises';
import { checkGuest } from '../../src/hw/guest/guest-check.ts';
import { parseGuestOption } from '../../src/hw/guest/guest-options.ts';
import type { GuestCheck } from '../../src/hw/guest/guest-program.ts';
import { PAGE_SIZE } from '../../src/wire/ram.ts';
import type { Peer } from './peer.ts';
import { tempDir } from './temp.ts';

/** All of a machine's RAM. */
export async function ramOf(peer: Peer): Promise<Uint8Array> {
  await using dir = await tempDir();
  const filename = dir.file('ram');
  await peer.qmp.execute('pmemsave', { val: 0, size: peer.memoryBytes, filename });
  const ram = await readFile(filename);
  await rm(filename);
  return ram;
}

/** Whether the guest, given as after `-object`, left the RAM of a stopped machine as it must. */
export async function checkGuestOf(peer: Peer, guest: string): Promise<GuestCheck> {
  return checkGuest(parseGuestOption(guest), await ramOf(peer));
}

/** The byte that a sweep counts in, of every page. */
export function sweptBytes(ram: Uint8Array): Uint8Array {
  return Uint8Array.from({ length: ram.length / PAGE_SIZE }, (_, page) => ram[page * PAGE_SIZE]!);
}
