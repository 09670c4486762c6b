/** A vCPU without a thread: the test takes its steps and cranks its clock. */

import { ManualClock } from '../../../src/base/clock.ts';
import { parseGuestOption } from '../../../src/hw/guest/guest-options.ts';
import { VcpuLoop } from '../../../src/hw/guest/vcpu-loop.ts';
import { RamBlock } from '../../../src/hw/ram.ts';
import { GateControl } from '../../../src/threads/gate.ts';
import { PAGE_SIZE } from '../../../src/wire/ram.ts';

/** RAM of whole pages. */
export function ramOfPages(pageCount: number): RamBlock {
  return RamBlock.create({ name: 'test.ram', length: pageCount * PAGE_SIZE });
}

/** A started vCPU over `ram`, and what drives it. */
export function inlineVcpu(ram: RamBlock, text: string, clock = new ManualClock()) {
  const guest = parseGuestOption(text, 'g0');
  const gate = new GateControl('inline vcpu');
  const loop = new VcpuLoop({ ram: ram.share, guest, gate: gate.share }, clock);
  gate.start();
  return {
    guest,
    gate,
    clock,
    loop,
    /** Steps, sleeping by the clock, until the guest has written `pages` pages in all. */
    runPages(pages: number) {
      while (gate.count < pages) this.stepAndWait();
    },
    /** Steps, sleeping by the clock, until `ms` milliseconds have passed. */
    runMs(ms: number) {
      const endMs = clock.nowMs() + ms;
      while (clock.nowMs() < endMs) clock.advance(Math.min(loop.step(), endMs - clock.nowMs()));
    },
    stepAndWait() {
      clock.advance(loop.step());
    },
  };
}
