/**
 * When to stop the guest (spec/control.md §7.3, spec/vfio.md §2.4, §3). Without VFIO devices it is QEMU's rule: what is left
 * fits into the downtime limit at the bandwidth of the last window, and with none yet, another look is taken. With them, the wire's own speed counts instead of a window
 * that was idle because all had been sent; and when the destination is a Switchover, the time that devices need counts too.
 */

import type { Clock } from '../base/clock.ts';
import { type AskedConnection, BacklogWatch } from './backlog-watch.ts';
import type { DowntimeEstimate } from './downtime.ts';
import { estimateDowntime } from './downtime.ts';
import type { PeerKnowledge } from './peer-extension.ts';
import type { RamSender } from './ram/ram-sender.ts';
import { type SourceStats, WINDOW_MS } from './stats.ts';
import type { SourceAck } from './vfio/switchover-ack.ts';
import { AHEAD_BYTES } from './vfio/vfio-load.ts';
import type { RateMeter, VfioSave } from './vfio/vfio-save.ts';

/** Stop the guest; wait for the ack alone; or send more. */
export type Judgement = 'switch' | 'ack' | 'send';

/** How long a device that is ready tells more than is known of it (ms): a window in which it took data throughout. */
const TELLING_MS = 2 * WINDOW_MS;

/** What is looked at of a device. */
export interface JudgedDevice
  extends Pick<
    VfioSave,
    'id' | 'idstr' | 'instanceId' | 'pendingBytes' | 'stopCopyBytes' | 'answerMs' | 'isOverChannels'
  > {
  readonly saveRate: Pick<RateMeter, 'bytesPerSecond'>;
}

/** What is looked at of all of them. */
interface JudgedSections {
  readonly vfio: readonly JudgedDevice[];
  readonly pendingBytes: number;
  pendingExact(): Promise<number>;
}

/** Judges one migration. */
export class SwitchoverJudge {
  readonly #ram: Pick<RamSender, 'pendingBytes' | 'isDirty'>;
  readonly #sections: JudgedSections;
  readonly #stats: SourceStats;
  readonly #ack: SourceAck;
  readonly #peer: PeerKnowledge;
  readonly #sync: () => Promise<void>;
  readonly #backlog: BacklogWatch;
  #estimate: DowntimeEstimate | undefined;

  constructor(deps: {
    ram: Pick<RamSender, 'pendingBytes' | 'isDirty'>;
    sections: JudgedSections;
    stats: SourceStats;
    ack: SourceAck;
    peer: PeerKnowledge;
    /** Collects dirty pages: a pass ends. */
    sync: () => Promise<void>;
    clock: Clock;
    /** Ends a wait at once. */
    signal: AbortSignal;
    connection: AskedConnection;
  }) {
    this.#ram = deps.ram;
    this.#sections = deps.sections;
    this.#stats = deps.stats;
    this.#ack = deps.ack;
    this.#peer = deps.peer;
    this.#sync = deps.sync;
    this.#backlog = new BacklogWatch(deps);
  }

  /** What the last exact look gave, on a machine with VFIO devices. */
  get estimate(): DowntimeEstimate | undefined {
    return this.#estimate;
  }

  /** Has the destination tell how far behind it is, where devices make that matter. */
  async askForBacklog(): Promise<void> {
    if (this.#sections.vfio.length > 0) await this.#backlog.ask();
  }

  async judge(isRunning: boolean): Promise<Judgement> {
    const hasDevices = this.#sections.vfio.length > 0;
    const isConverged = await (hasDevices ? this.#withDevices() : this.#asQemu());
    if (!isConverged) return 'send';
    if (!isRunning) return 'switch';
    if (!this.#ack.isGranted) return 'ack';
    const settling = hasDevices ? await this.#backlog.settle() : 'not-asked';
    if (settling === 'not-asked') return 'switch';
    // The guest ran on meanwhile, and devices, too, may have new data.
    if (settling === 'late' || !(await this.#withDevices())) return 'send';
    return this.#ack.isGranted ? 'switch' : 'ack';
  }

  /**
   * Before the bandwidth is known QEMU completes as soon as all that it knows of is sent, whatever the guest has written meanwhile.
   * Here a guest that wrote gets another pass.
   */
  async #asQemu(): Promise<boolean> {
    const { thresholdBytes, isMeasured } = this.#stats;
    const isUnknown = !isMeasured && this.#ram.pendingBytes === 0 && this.#ram.isDirty;
    if (this.#ram.pendingBytes < thresholdBytes || isUnknown) await this.#sync();
    return this.#ram.pendingBytes === 0 || this.#ram.pendingBytes < thresholdBytes;
  }

  async #withDevices(): Promise<boolean> {
    const { downtimeLimitMs, switchoverBytesPerMs: wireBytesPerMs } = this.#stats;
    const threshold = wireBytesPerMs * downtimeLimitMs;
    const knownBytes = this.#ram.pendingBytes + this.#sections.pendingBytes;
    if (knownBytes > 0 && knownBytes >= threshold) return false;
    await this.#sync();
    const stopCopyBytes = await this.#sections.pendingExact();
    const devices = this.#sections.vfio.map((device) => {
      const there = this.#peer.device(device.idstr, device.instanceId);
      return {
        id: device.id,
        bytes: device.stopCopyBytes,
        isOverChannels: device.isOverChannels,
        saveBytesPerSecond: device.saveRate.bytesPerSecond,
        loadBytesPerSecond: there?.loadBytesPerSecond ?? 0,
        aheadBytes: there?.aheadBytes ?? 0,
        answerMs: device.answerMs,
      };
    });
    const { backlog } = this.#peer;
    this.#estimate = estimateDowntime({ ramBytes: this.#ram.pendingBytes, wireBytesPerMs, backlog, devices });
    if (this.#peer.isSwitchover) return !this.#willTellMore() && this.#estimate.totalMs <= downtimeLimitMs;
    return this.#ram.pendingBytes + stopCopyBytes < threshold;
  }

  /**
   * What is left of a device's precopy data will tell more: its rate, and the wire's, which the device held up for as long as
   * it prepared.
   */
  #willTellMore(): boolean {
    return this.#sections.vfio.some(({ idstr, instanceId, pendingBytes }) => {
      const knownMs = this.#peer.knownMs(idstr, instanceId);
      return knownMs !== undefined && knownMs < TELLING_MS && pendingBytes > AHEAD_BYTES;
    });
  }
}
