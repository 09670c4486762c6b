/** What must hold of a machine's guest whatever happened to a migration. */

import { expect } from 'vitest';
import { turnUntil, type WatchedVm } from './watched-vm.ts';

/** Resolves when the guest has written something. */
export function guestHasBegun({ vm }: WatchedVm): Promise<void> {
  return turnUntil(() => vm.checkGuests().every(({ detail }) => !/no guest header/.test(detail)));
}

/** The guest runs, its RAM is as it left it, and it goes on writing. */
export async function expectGuestGoesOn(watched: WatchedVm): Promise<void> {
  const { vm } = watched;
  await turnUntil(() => vm.queryStatus().status === 'running'); // a migration's status comes first, as in QEMU
  await guestHasBegun(watched);
  await vm.stop();
  expect(vm.checkGuests()).toMatchObject([{ ok: true }]);
  const before = Buffer.from(vm.ram.bytes);
  await vm.cont();
  await turnUntil(() => !before.equals(vm.ram.bytes));
}
