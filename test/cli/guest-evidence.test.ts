import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { checkGuestsInFile, guestReady, guestWrites } from '../../src/cli/guest-evidence.ts';
import { GuestHeader, hashSettings } from '../../src/hw/guest/guest-header.ts';
import { parseGuestOption } from '../../src/hw/guest/guest-options.ts';
import { guestDefinition } from '../../src/hw/guest/guest-table.ts';
import { PAGE_SIZE } from '../../src/wire/ram.ts';
import { tempDir } from '../support/temp.ts';

const SWEEP = parseGuestOption('sweep', 'g0');
const PAGES = 8;

/** RAM as a sweep leaves it when it stopped at page 3. */
function sweptRam(): Uint8Array {
  const ram = new Uint8Array(PAGES * PAGE_SIZE);
  new GuestHeader(ram).initialize({
    programId: guestDefinition('sweep').programId,
    seed: SWEEP.seed,
    pageCount: PAGES,
    settingsHash: hashSettings(SWEEP.settings),
  });
  for (let page = 0; page < PAGES; page += 1) ram[page * PAGE_SIZE] = page < 3 ? 6 : 5;
  return ram;
}

test('only the idle guest does not write', () => {
  expect(guestWrites(SWEEP)).toBe(true);
  expect(guestWrites(parseGuestOption('idle', 'g0'))).toBe(false);
});

test('a guest is ready when its own header stands in its first page', () => {
  const ram = sweptRam();
  expect(guestReady(SWEEP, ram.subarray(0, PAGE_SIZE), ram.length)).toBe(true);
  expect(guestReady(SWEEP, new Uint8Array(PAGE_SIZE), ram.length)).toBe(false);
  expect(guestReady({ ...SWEEP, seed: 7 }, ram.subarray(0, PAGE_SIZE), ram.length)).toBe(false);
});

test('the invariant is checked in a file of RAM', async () => {
  await using directory = await tempDir();
  const file = directory.file('ram');
  const ram = sweptRam();
  await writeFile(file, ram);
  expect(await checkGuestsInFile([SWEEP], file)).toEqual([
    { guest: 'g0', ok: true, detail: 'one edge, at page 3 of 8' },
  ]);
  ram[5 * PAGE_SIZE] = 9;
  await writeFile(file, ram);
  expect(await checkGuestsInFile([SWEEP], file)).toMatchObject([{ guest: 'g0', ok: false }]);
});
