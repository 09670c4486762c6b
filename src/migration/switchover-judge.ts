/**
 * When to stop the guest (spec/control.md §7.3, spec/vfio.md §2.4, §3). Without VFIO devices it is QEMU's rule: what is left
 * fits into the downtime limit at the bandwidth of the last window. With them, the wire's own speed counts instead of a window
 * that was idle because all had been sent; and when the destination is a Switchover, the time that devices need counts too.
 */

import type { DowntimeEstimate } from './downtime.ts';
import { estimateDowntime } from './downtime.ts';
import type { PeerKnowledge } from './peer-extension.ts';
import type { RamSender } from './ram/ram-sender.ts';
import type { SectionSaver } from './section-saver.ts';
import type { SourceStats } from './stats.ts';
import type { SourceAck } from './vfio/switchover-ack.ts';

/** Stop the guest; wait for the ack alone; or send more. */
export type Judgement = 'switch' | 'ack' | 'send';

/** Judges one migration. */
export class SwitchoverJudge {
  readonly #ram: Pick<RamSender, 'pendingBytes'>;
  readonly #sections: Pick<SectionSaver, 'vfio' | 'pendingBytes' | 'pendingExact'>;
  readonly #stats: SourceStats;
  readonly #ack: SourceAck;
  readonly #peer: PeerKnowledge;
  readonly #sync: () => Promise<void>;
  #estimate: DowntimeEstimate | undefined;

  constructor(deps: {
    ram: Pick<RamSender, 'pendingBytes'>;
    sections: Pick<SectionSaver, 'vfio' | 'pendingBytes' | 'pendingExact'>;
    stats: SourceStats;
    ack: SourceAck;
    peer: PeerKnowledge;
    /** Collects dirty pages: a pass ends. */
    sync: () => Promise<void>;
  }) {
    this.#ram = deps.ram;
    this.#sections = deps.sections;
    this.#stats = deps.stats;
    this.#ack = deps.ack;
    this.#peer = deps.peer;
    this.#sync = deps.sync;
  }

  /** What the last exact look gave, on a machine with VFIO devices. */
  get estimate(): DowntimeEstimate | undefined {
    return this.#estimate;
  }

  async judge(isRunning: boolean): Promise<Judgement> {
    const hasDevices = this.#sections.vfio.length > 0;
    const isConverged = await (hasDevices ? this.#withDevices() : this.#asQemu());
    if (!isConverged) return 'send';
    return this.#ack.isGranted || !isRunning ? 'switch' : 'ack';
  }

  async #asQemu(): Promise<boolean> {
    const { thresholdBytes } = this.#stats;
    if (this.#ram.pendingBytes < thresholdBytes) await this.#sync();
    return this.#ram.pendingBytes === 0 || this.#ram.pendingBytes < thresholdBytes;
  }

  async #withDevices(): Promise<boolean> {
    const { downtimeLimitMs, switchoverBytesPerMs: wireBytesPerMs } = this.#stats;
    const threshold = wireBytesPerMs * downtimeLimitMs;
    const knownBytes = this.#ram.pendingBytes + this.#sections.pendingBytes;
    if (knownBytes > 0 && knownBytes >= threshold) return false;
    await this.#sync();
    const stopCopyBytes = await this.#sections.pendingExact();
    this.#estimate = estimateDowntime({
      ramBytes: this.#ram.pendingBytes,
      wireBytesPerMs,
      devices: this.#sections.vfio.map(({ id, idstr, instanceId, stopCopyBytes: bytes, saveRate, isOverChannels }) => ({
        id,
        bytes,
        isOverChannels,
        saveBytesPerSecond: saveRate.bytesPerSecond,
        loadBytesPerSecond: this.#peer.device(idstr, instanceId)?.loadBytesPerSecond ?? 0,
      })),
    });
    if (this.#peer.isSwitchover) return this.#estimate.totalMs <= downtimeLimitMs;
    return this.#ram.pendingBytes + stopCopyBytes < threshold;
  }
}
