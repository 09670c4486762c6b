/** Interrupt lines in shared memory: a level and a count of edges each. A device drives them, the machine reads them. */

import type { IrqLine } from './device.ts';

/** Int32 slots of one line. */
const SLOT = { LEVEL: 0, EDGES: 1 } as const;
const LINE_SLOTS = 2;

/** The interrupt lines of one device. */
export class IrqLines {
  readonly share: SharedArrayBuffer;
  readonly count: number;
  readonly #slots: Int32Array;

  /** New lines, all low, or another thread's. */
  constructor(source: { count: number } | { share: SharedArrayBuffer }) {
    this.share =
      'share' in source
        ? source.share
        : new SharedArrayBuffer(source.count * LINE_SLOTS * Int32Array.BYTES_PER_ELEMENT);
    this.#slots = new Int32Array(this.share);
    this.count = this.#slots.length / LINE_SLOTS;
  }

  level(line: number): boolean {
    return Atomics.load(this.#slots, line * LINE_SLOTS + SLOT.LEVEL) === 1;
  }

  /** How often the line went from low to high. */
  edges(line: number): number {
    return Atomics.load(this.#slots, line * LINE_SLOTS + SLOT.EDGES);
  }

  /** The device's handle on one line. */
  line(line: number): IrqLine {
    const set = (level: boolean) => {
      const before = Atomics.exchange(this.#slots, line * LINE_SLOTS + SLOT.LEVEL, level ? 1 : 0);
      if (level && before === 0) Atomics.add(this.#slots, line * LINE_SLOTS + SLOT.EDGES, 1);
    };
    return {
      set,
      pulse: () => {
        set(true);
        set(false);
      },
    };
  }
}
