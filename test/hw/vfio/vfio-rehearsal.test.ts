/** The migration that a VFIO device's thread does for practice. */

import { expect, test } from 'vitest';
import { RamBlock } from '../../../src/hw/ram.ts';
import { rehearseVfio } from '../../../src/hw/vfio/vfio-rehearsal.ts';
import { ManualTime } from '../../../src/hw/virtual-time.ts';

test('it completes, and leaves RAM as it was', async () => {
  const ram = RamBlock.create({ name: 'ram', length: 65_536 });
  ram.write(0, Buffer.alloc(65_536, 7));
  await rehearseVfio({ ram: ram.share, time: new ManualTime() });
  expect(Buffer.from(ram.bytes).equals(Buffer.alloc(65_536, 7))).toBe(true);
});
