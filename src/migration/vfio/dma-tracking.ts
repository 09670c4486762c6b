/**
 * What VFIO devices write into guest memory by DMA while it is being sent (spec/vfio.md §1.6, §2.5): their logs are asked for
 * whenever the dirty bitmap is synchronized, and what they tell is dirty.
 */

import { isHarnessError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RamBlock } from '../../hw/ram.ts';
import type { DmaRange } from '../../hw/vfio/dma-log.ts';
import type { MigrationWishes } from '../../hw/vfio/vfio-properties.ts';
import type { DmaReportRange } from '../../hw/vfio/vfio-service.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';

const BELOW_4_GIB = 2 ** 32;

/** A device's DMA log as migration sees it. Every method throws `vfio/refused` or `device/failed`. */
export interface DmaPort {
  readonly wishes: MigrationWishes;
  startDmaLogging(options: { pageSize: number; ranges: readonly DmaRange[] }): Promise<unknown>;
  /** Pages that were written since the last report, one bit each; undefined when none was. */
  reportDmaLog(range: DmaReportRange): Promise<Uint8Array | undefined>;
  /** Ends logging; a last report with it, so that no write is lost in between. */
  stopDmaLogging(last: DmaReportRange): Promise<Uint8Array | undefined>;
}

interface DmaTrackingOptions {
  readonly devices: readonly { readonly id: string; readonly dma?: DmaPort }[];
  readonly block: RamBlock;
  readonly log: Logger;
}

interface Tracked {
  readonly id: string;
  readonly dma: DmaPort;
}

/** The DMA logs of one outgoing migration. */
export class DmaTracking {
  readonly #block: RamBlock;
  readonly #log: Logger;
  readonly #devices: readonly Tracked[];
  readonly #whole: DmaReportRange;
  #started: Tracked[] = [];

  /**
   * Switches the logs on, before the first look at the dirty bitmap; `block` is guest memory from address 0 on. Throws what
   * a device throws, with no log left on.
   */
  static async start(deps: DmaTrackingOptions): Promise<DmaTracking> {
    const tracking = new DmaTracking(deps);
    try {
      await tracking.#start();
    } catch (error) {
      await tracking.stop();
      throw error;
    }
    return tracking;
  }

  private constructor(deps: DmaTrackingOptions) {
    this.#block = deps.block;
    this.#log = deps.log;
    this.#devices = deps.devices.flatMap(({ id, dma }) => (dma === undefined ? [] : [{ id, dma }]));
    this.#whole = { iova: 0, length: deps.block.length, pageSize: PAGE_SIZE };
  }

  async #start(): Promise<void> {
    const logging = this.#devices.filter(({ dma: { wishes } }) => wishes.tracksPages && wishes.tracksInPrecopy);
    const blind = this.#devices.filter(({ dma: { wishes } }) => !wishes.tracksPages).map(({ id }) => id);
    if (blind.length > 0) this.#log.warn({ devices: blind }, 'devices do not say what they write: all RAM counts');
    const starting = logging.map(async (device) => {
      await device.dma.startDmaLogging({ pageSize: PAGE_SIZE, ranges: rangesOf(this.#whole.length) });
      this.#started.push(device);
    });
    await Promise.allSettled(starting);
    await Promise.all(starting); // the first that failed
  }

  /**
   * Marks as dirty what devices wrote since the last time; `isLast` when they stand still. What cannot be known is taken
   * for written, as the uAPI has it.
   */
  async collect(isLast: boolean): Promise<void> {
    if (this.#devices.some(({ dma: { wishes } }) => !wishes.tracksPages || (isLast && !wishes.tracksInPrecopy))) {
      this.#markAll();
    }
    await Promise.all(this.#started.map((device) => this.#merge(device, device.dma.reportDmaLog(this.#whole))));
  }

  /** However it ended: no log stays on, and what was in them is dirty. */
  async stop(): Promise<void> {
    const started = this.#started.splice(0);
    await Promise.all(started.map((device) => this.#merge(device, device.dma.stopDmaLogging(this.#whole))));
  }

  async #merge({ id }: Tracked, report: Promise<Uint8Array | undefined>): Promise<void> {
    try {
      const bits = await report;
      if (bits !== undefined) this.#mark(bits);
    } catch (error) {
      if (!isHarnessError(error)) throw error;
      this.#log.warn({ err: error, device: id }, 'a DMA log is lost: all RAM counts as written');
      this.#markAll();
    }
  }

  #mark(bits: Uint8Array): void {
    for (let byte = 0; byte < bits.length; byte += 1) {
      for (let left = bits[byte]!, page = byte * 8; left !== 0; left >>>= 1, page += 1) {
        if ((left & 1) === 1) this.#block.markDirty(page * PAGE_SIZE, PAGE_SIZE);
      }
    }
  }

  #markAll(): void {
    this.#block.markDirty(0, this.#block.length);
  }
}

/** Guest memory as a device's log has it: below 4 GiB and above. */
function rangesOf(length: number): DmaRange[] {
  const below = Math.min(length, BELOW_4_GIB);
  const above = length - below;
  return [{ iova: 0, length: below }, ...(above > 0 ? [{ iova: BELOW_4_GIB, length: above }] : [])];
}
